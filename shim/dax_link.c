#include "shim/dax_link.h"

#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/list.h"
#include "base/memory.h"
#include "base/stream.h"

enum { ANSWER_TIMEOUT_MS = 5000 };

/* Sent and not answered; the VMM answers in their order. */
struct asked {
	TAILQ_ENTRY(asked) link;
	uint32_t window;
	dax_link_fn fn;
	void *userdata;
};

struct dax_link {
	struct loop *loop;
	char *path;
	struct stream *stream;       /* NULL: not connected */
	struct loop_timer *patience; /* while somebody waits for the VMM */
	TAILQ_HEAD(asked_list, asked) asked;
	struct error lost; /* why the stream is gone, until those who waited know */
};

/* ---------------------------------------------------------------- answers */

static void answer_first(struct dax_link *link, int number, const struct error *err)
{
	struct asked *asked = TAILQ_FIRST(&link->asked);

	TAILQ_REMOVE(&link->asked, asked, link);
	if (TAILQ_EMPTY(&link->asked))
		loop_timer_stop(link->patience);
	else
		loop_timer_start(link->patience, ANSWER_TIMEOUT_MS);
	asked->fn(number, err, asked->userdata);
	free(asked);
}

static void answer_from_vmm(struct dax_link *link, int number)
{
	_cleanup_(error_done) struct error err = {};

	if (number < 0)
		(void)error_set(&err, -number, "DAX window %u did not take it: %s",
				TAILQ_FIRST(&link->asked)->window, strerror(-number));
	answer_first(link, number, &err);
}

/* A callback may ask for more, which is refused in its turn. */
static void answer_all_lost(void *userdata)
{
	struct dax_link *link = userdata;
	_cleanup_(error_done) struct error err = {};

	error_move(&err, &link->lost);
	while (!TAILQ_EMPTY(&link->asked))
		answer_first(link, -err.number, &err);
}

static void lose(struct dax_link *link, int number, const char *why)
{
	stream_free(steal_ptr(link->stream));
	if (link->lost.number)
		return; /* the answers are on their way */
	(void)error_set(&link->lost, number, "the VMM did not take an image by %s: %s", link->path,
			why);
	loop_defer(link->loop, answer_all_lost, link);
}

static void on_data(struct stream *stream _unused_, struct evbuffer *input, void *userdata)
{
	struct dax_link *link = userdata;
	struct dax_window_answer answer;

	while (evbuffer_get_length(input) >= sizeof(answer)) {
		evbuffer_remove(input, &answer, sizeof(answer));
		if (TAILQ_EMPTY(&link->asked) || answer.number > 0 || answer.number < -4095) {
			lose(link, EPROTO, "it answered what nobody asked");
			return;
		}
		answer_from_vmm(link, answer.number);
	}
}

static void on_end(struct stream *stream _unused_, int reason, void *userdata)
{
	lose(userdata, ENOTCONN, reason < 0 ? strerror(-reason) : "it closed the connection");
}

static void on_timeout(void *userdata)
{
	lose(userdata, ETIMEDOUT, "no answer");
}

/* ---------------------------------------------------------------- requests */

static void connect_vmm(struct dax_link *link)
{
	const struct stream_options options = { .on_data = on_data,
						.on_end = on_end,
						.userdata = link };
	_cleanup_(error_done) struct error err = {};
	int fd;

	if (socket_connect(link->path, &fd, &err) < 0)
		lose(link, err.number, error_message(&err));
	else
		link->stream = stream_new(link->loop, fd, &options);
}

void dax_link_put(struct dax_link *link, const struct dax_window_request *request, int fd,
		  dax_link_fn fn, void *userdata)
{
	struct asked *asked = xnew(struct asked);

	*asked = (struct asked){ .window = request->window, .fn = fn, .userdata = userdata };
	TAILQ_INSERT_TAIL(&link->asked, asked, link);
	if (!link->stream && !link->lost.number)
		connect_vmm(link);
	if (!link->stream) {
		close_fd(fd);
		return; /* answered with the others */
	}
	if (TAILQ_FIRST(&link->asked) == asked)
		loop_timer_start(link->patience, ANSWER_TIMEOUT_MS);
	stream_write(link->stream, request, sizeof(*request), &fd, 1);
}

struct dax_link *dax_link_new(struct loop *loop, const char *vm_dir)
{
	struct dax_link *link = xnew(struct dax_link);

	link->loop = loop;
	link->path = path_join(vm_dir, DAX_WINDOW_SOCKET);
	link->patience = loop_timer_new(loop, on_timeout, link);
	TAILQ_INIT(&link->asked);
	return link;
}

static void free_link(void *userdata)
{
	struct dax_link *link = userdata;

	loop_timer_free(link->patience);
	error_done(&link->lost);
	free(link->path);
	free(link);
}

void dax_link_free(struct dax_link *link)
{
	struct asked *asked;

	if (!link)
		return;
	stream_free(steal_ptr(link->stream));
	loop_timer_stop(link->patience);
	while ((asked = TAILQ_FIRST(&link->asked))) {
		TAILQ_REMOVE(&link->asked, asked, link);
		free(asked);
	}
	loop_defer(link->loop, free_link, link);
}
