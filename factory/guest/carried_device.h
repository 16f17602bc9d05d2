/* The devices of the images that a template carries (factory/store/carried.h), and their names. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define CARRIED_MAX      14
#define CARRIED_PCI_SLOT 0x10 /* of the first; they follow one another */
#define CARRIED_NAME_MAX 128

/* 1 to CARRIED_NAME_MAX of [A-Za-z0-9._/:@+-], a letter or digit first. */
bool carried_name_is_valid(const char *name);
char *carried_device(size_t index); /* "/dev/pmem1"; the caller frees */
