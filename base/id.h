/* Fresh identifiers. */
#pragma once

#include <stddef.h>

#define ID_HEX_SIZE 33 /* 32 hex digits and the terminator */

/* 128 random bits as lower-case hex. */
void id_random_hex(char ret_id[static ID_HEX_SIZE]);

/* Fills data from getrandom(2); aborts where the kernel has none to give. */
void random_bytes(void *data, size_t len);
