/* A page of the factory's HTTP socket. */
#pragma once

#include "base/error.h"

enum { PAGE_MAX = 16 << 20, PAGE_TIMEOUT_MS = 10000 };

/* Asks "unix:///path" for "/metrics", and waits for the whole page. -EPROTO: that is no page, or
 * another status than 200; -EFBIG; -ETIMEDOUT. The caller frees. */
_must_check_ int page_read(const char *address, const char *path, char **ret_body,
			   struct error *err);

/* The body in an answer of status 200; NULL: it is none. */
const char *page_body(const char *answer);
