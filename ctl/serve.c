#include "ctl/serve.h"

#include <signal.h>

bool serve_readers_add(struct serve_readers *readers, struct http_request *request)
{
	if (readers->count == SERVE_READERS_MAX) {
		http_reply(request, 503, HTTP_TEXT, "too many wait for this page\n");
		return false;
	}
	readers->items[readers->count++] = request;
	return true;
}

void serve_readers_answer(struct serve_readers *readers, int status, const char *type,
			  const char *body)
{
	for (size_t i = 0; i < readers->count; i++)
		http_reply(readers->items[i], status, type, body);
	readers->count = 0;
}

static void on_end(int signo _unused_, void *userdata)
{
	loop_stop(userdata);
}

void serve_run(struct loop *loop, const struct serve_options *options)
{
	struct loop_signal *term = loop_signal_new(loop, SIGTERM, on_end, loop);
	struct loop_signal *interrupt = loop_signal_new(loop, SIGINT, on_end, loop);
	struct http *http = http_new(loop, options->fd, options->pages, options->npages,
				     HTTP_DEADLINE_MS, options->userdata);

	if (options->loopback)
		http_loopback_names_only(http);
	loop_run(loop);
	options->end(options->userdata);
	http_free(http);
	loop_signal_free(term);
	loop_signal_free(interrupt);
}
