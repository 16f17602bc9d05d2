/* Base64 (RFC 4648), as JSON carries bytes. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

/* With padding; the caller frees. */
char *base64_encode(const void *data, size_t len);

/* The plain and the URL-safe alphabet, padding optional, no white space. The caller frees
 * *ret_data, which is NULL for no bytes. -EINVAL for anything else. */
_must_check_ int base64_decode(const char *text, size_t len, uint8_t **ret_data, size_t *ret_len);
