#include "factory/bake/bake_link.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "factory/jail/jailer_job.h"

enum { CHUNK = 16 * 1024, LINE_MAX_BYTES = 1 << 20, ABANDON_MS = 15 * 1000 };

struct bake_link {
	struct bake_link_options options;
	int fd; /* -EBADF: it could not be begun */
	struct loop_watch *watch;
	struct strbuf text; /* what came without the end of its line */
	char id[DIGEST_HEX_SIZE];
	char *console; /* of a failed one; NULL: not known yet */
	struct error refusal;
	bool over; /* on_done was called */
	bool freed;
};

static void destroy(struct bake_link *bake)
{
	loop_watch_free(bake->watch);
	close_fd(bake->fd);
	strbuf_done(&bake->text);
	error_done(&bake->refusal);
	free(bake->console);
	free(bake);
}

/* Takes manifest. */
static void finish(struct bake_link *bake, struct template_manifest *manifest,
		   const struct error *err)
{
	bake->over = true;
	loop_watch_free(steal_ptr(bake->watch));
	bake->options.on_done(bake, err ? -err->number : 0, manifest, err, bake->options.userdata);
}

/* ---------------------------------------------------------------- what it tells */

static void take_id(struct bake_link *bake, const json_t *line)
{
	const char *id = json_string_value(json_object_get(line, "id"));

	if (id && template_id_is_valid(id))
		memcpy(bake->id, id, sizeof(bake->id));
}

static void take_end(struct bake_link *bake, const json_t *line)
{
	_cleanup_(error_done) struct error err = {};
	const char *console = json_string_value(json_object_get(line, "console"));
	struct template_manifest *manifest = NULL;
	int r = jailer_job_error(line, &err);

	bake->console = xstrdup(console ? console : "");
	if (r == 0)
		r = template_manifest_load(bake->options.store, bake->id, &manifest, &err);
	finish(bake, manifest, r < 0 ? &err : NULL);
}

static void take_line(struct bake_link *bake, const char *text, size_t len)
{
	json_t *line = json_loadb(text, len, 0, NULL);
	const char *name = json_string_value(json_object_get(line, "phase"));
	int phase = name ? bake_phase_from_string(name) : -EINVAL;

	take_id(bake, line);
	if (phase >= 0)
		bake->options.on_phase(bake, (enum bake_phase)phase, bake->options.userdata);
	else if (line)
		take_end(bake, line);
	json_decref(line);
}

static void take_lines(struct bake_link *bake)
{
	_cleanup_free_ char *text = strbuf_steal(&bake->text);
	char *line = text, *end;

	while (!bake->over && (end = strchr(line, '\n'))) {
		take_line(bake, line, (size_t)(end - line));
		line = end + 1;
	}
	strbuf_adds(&bake->text, line);
}

static void on_readable(int fd, unsigned events _unused_, void *userdata)
{
	_cleanup_(error_done) struct error err = {};
	struct bake_link *bake = userdata;
	char data[CHUNK];
	ssize_t n = read(fd, data, sizeof(data));

	if (n > 0 && bake->text.len < LINE_MAX_BYTES) {
		strbuf_add(&bake->text, data, (size_t)n);
		take_lines(bake);
		return;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	error_set(&err, ECONNRESET, "the bake's process ended without a word");
	finish(bake, NULL, &err);
}

/* ---------------------------------------------------------------- begin and end */

static void on_refused(void *userdata)
{
	struct bake_link *bake = userdata;

	if (bake->freed)
		destroy(bake);
	else
		finish(bake, NULL, &bake->refusal);
}

struct bake_link *bake_link_start(const struct bake_link_options *options)
{
	struct jailer_request request = { .verb = JAILER_BAKE,
					  .flags = options->anew ? JAILER_ANEW : 0 };
	struct bake_link *bake = xnew(struct bake_link);

	bake->options = *options;
	bake->fd = -EBADF;
	strv_add(&request.text, options->name);
	if (jailer_begin_job(options->jailer, &request, &bake->fd, &bake->refusal) == 0)
		bake->watch = loop_watch_new(options->loop, bake->fd, LOOP_READ, on_readable, bake);
	else
		loop_defer(options->loop, on_refused, bake);
	jailer_request_done(&request);
	return bake;
}

void bake_link_cancel(struct bake_link *bake)
{
	if (bake->fd >= 0)
		(void)shutdown(bake->fd, SHUT_WR);
}

void bake_link_free(struct bake_link *bake)
{
	if (!bake)
		return;
	bake->freed = true;
	if (bake->over || bake->fd >= 0)
		destroy(bake);
}

void bake_link_abandon(struct bake_link *bake)
{
	uint64_t deadline = clock_monotonic_ms() + ABANDON_MS;
	uint64_t now;

	if (!bake)
		return;
	bake_link_cancel(bake);
	while (bake->fd >= 0 && (now = clock_monotonic_ms()) < deadline) {
		struct pollfd polled = { .fd = bake->fd, .events = POLLIN };
		char data[CHUNK];
		if (poll(&polled, 1, (int)(deadline - now)) > 0 &&
		    read(bake->fd, data, sizeof(data)) == 0)
			break;
	}
	bake_link_free(bake);
}

char *bake_link_console(const struct bake_link *bake)
{
	struct jailer_request request = { .verb = JAILER_CONSOLE };
	struct jailer_reply reply = {};

	if (bake->console || bake->id[0] == '\0')
		return xstrdup(bake->console ? bake->console : "");
	memcpy(request.template_id, bake->id, sizeof(request.template_id));
	if (jailer_call(bake->options.jailer, &request, NULL, 0, &reply, NULL) < 0)
		return xstrdup("");
	char *text = steal_ptr(reply.text);
	jailer_reply_done(&reply);
	return text;
}
