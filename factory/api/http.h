/* An HTTP server for a handful of pages to read, on one listening socket.
 *
 * GET and HEAD only: another method gets 405, another path 404. Headers, bodies and connections are
 * bounded (the numbers are in http.c). A request has one deadline, from the accept of its
 * connection (or the answer before it) to its last byte, however slowly the bytes come, and so has
 * the reading of its answer. When all connections are taken, a new one takes the place of the one
 * that has been waited for longest: who says nothing keeps nobody out. A request is answered
 * exactly once by http_reply(), at once or later; also one whose client has gone. http_free() comes
 * after the last answer.
 *
 * Every answer tells browsers to keep nothing, to run nothing, to guess no other type, and to load
 * styles and pictures from this server alone. A foreign site whose name resolves to 127.0.0.1 (DNS
 * rebinding) could still read the pages by a browser of this host: http_loopback_names_only().
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"

#define HTTP_TEXT "text/plain; charset=utf-8"
#define HTTP_JSON "application/json"
#define HTTP_HTML "text/html; charset=utf-8"
#define HTTP_CSS  "text/css; charset=utf-8"
#define HTTP_SVG  "image/svg+xml"

struct http;
struct http_request;

struct http_page {
	const char *path;
	void (*fn)(struct http_request *request, void *userdata);
};

#define HTTP_DEADLINE_MS 10000

/* fd is taken; pages are borrowed. */
struct http *http_new(struct loop *loop, int fd, const struct http_page *pages, size_t npages,
		      unsigned deadline_ms, void *userdata);
void http_free(struct http *http); /* NULL does nothing */

/* From now on a request whose host (of its Host header or URI) is not "127.0.0.1" or "localhost",
 * with whichever port, gets 421. */
void http_loopback_names_only(struct http *http);

void http_reply(struct http_request *request, int status, const char *type, const char *body);

/* A listening socket on 127.0.0.1. */
_must_check_ int http_listen_loopback(uint16_t port, int *ret_fd, struct error *err);
