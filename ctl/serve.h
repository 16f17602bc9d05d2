/* What commands that serve pages have in common: a server that lasts until SIGTERM or SIGINT, and
 * readers that wait for one page together, so that many cost no more than one.
 */
#pragma once

#include "factory/api/http.h"

enum { SERVE_READERS_MAX = 64 };

struct serve_readers {
	struct http_request *items[SERVE_READERS_MAX];
	size_t count;
};

/* One too many is answered here (503). */
_must_check_ bool serve_readers_add(struct serve_readers *readers, struct http_request *request);
void serve_readers_answer(struct serve_readers *readers, int status, const char *type,
			  const char *body);

struct serve_options {
	int fd; /* listens; taken */
	const struct http_page *pages;
	size_t npages;
	bool loopback;               /* as http_loopback_names_only() */
	void (*end)(void *userdata); /* answers who waits still */
	void *userdata;              /* of the pages, too */
};

/* Turns the loop until one of the signals. */
void serve_run(struct loop *loop, const struct serve_options *options);
