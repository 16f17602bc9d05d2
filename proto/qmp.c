#include "proto/qmp.h"

#include <errno.h>
#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/stream.h"

#define LINE_MAX_BYTES  ((size_t)1 << 20)
#define LINE_MAX_VALUES (64 * 1024) /* a parsed one takes a few hundred bytes */

enum qmp_state {
	QMP_GREETING,    /* nothing heard from QEMU yet */
	QMP_NEGOTIATING, /* qmp_capabilities is under way */
	QMP_READY,
	QMP_ENDED, /* no stream any more; commands fail from the loop */
};

struct qmp_pending {
	struct qmp *qmp;
	json_int_t id;
	char *line; /* owned; NULL once written */
	int fds[SOCKET_MAX_FDS];
	size_t nfds; /* owned until written */
	char *name;  /* owned */
	struct loop_timer *timer;
	unsigned timeout_ms;
	qmp_reply_fn on_reply; /* may be NULL */
	void *userdata;
	TAILQ_ENTRY(qmp_pending) entry;
};

struct qmp {
	struct loop *loop;
	struct qmp_options options;
	enum qmp_state state;
	struct stream *stream;                          /* owned; NULL once ENDED */
	TAILQ_HEAD(command_list, qmp_pending) commands; /* unanswered, oldest first */
	json_int_t last_id;
	size_t searched; /* bytes of the input that have no end of a line */
	bool complained; /* of no command; told of once */
	bool failing;    /* qmp_fail_commands() is deferred */
};

DEFINE_CLEANUP(json_t *, json_decref)

/* ---------------------------------------------------------------- the end of a command */

static void command_free(void *userdata)
{
	struct qmp_pending *command = userdata;

	for (size_t i = 0; i < command->nfds; i++)
		close_fd(command->fds[i]);
	free(command->line);
	free(command->name);
	free(command);
}

/* err is NULL for success. The qmp may be freed by the callback (its memory stays until the
 * next round). */
static void command_finish(struct qmp_pending *command, json_t *result, const struct error *err)
{
	struct qmp *qmp = command->qmp;

	TAILQ_REMOVE(&qmp->commands, command, entry);
	loop_timer_free(steal_ptr(command->timer));
	if (command->on_reply)
		command->on_reply(err ? -err->number : 0, result, err, command->userdata);
	else if (err)
		log_warning(NULL, "QMP command %s failed: %s", command->name, error_message(err));
	loop_defer(qmp->loop, command_free, command);
}

static void command_on_timeout(void *userdata)
{
	struct qmp_pending *command = userdata;
	_cleanup_(error_done) struct error err = {};

	error_set(&err, ETIMEDOUT, "QEMU did not answer %s within %u ms", command->name,
		  command->timeout_ms);
	command_finish(command, NULL, &err);
}

/* Commands that callbacks give meanwhile are not of this turn: one that is repeated at every
 * failure must not keep us here. */
static void qmp_finish_commands(struct qmp *qmp, int number, const char *why)
{
	json_int_t last = qmp->last_id;
	struct qmp_pending *command;

	while ((command = TAILQ_FIRST(&qmp->commands)) && command->id <= last) {
		_cleanup_(error_done) struct error err = {};
		error_set(&err, number, "%s was not answered: %s", command->name, why);
		command_finish(command, NULL, &err);
	}
}

static void qmp_fail_commands(void *userdata)
{
	struct qmp *qmp = userdata;

	qmp->failing = false;
	qmp_finish_commands(qmp, ENOTCONN, "the monitor is gone");
}

/* The connection is over, from whichever side. */
static void qmp_end(struct qmp *qmp, int reason)
{
	qmp->state = QMP_ENDED;
	stream_free(steal_ptr(qmp->stream));
	qmp_finish_commands(qmp, ENOTCONN, reason < 0 ? strerror(-reason) : "the monitor is gone");
	if (qmp->options.on_end)
		qmp->options.on_end(qmp, reason, qmp->options.userdata);
}

/* ---------------------------------------------------------------- what QEMU says */

static void command_write(struct qmp_pending *command)
{
	stream_write(command->qmp->stream, command->line, strlen(command->line), command->fds,
		     command->nfds);
	command->nfds = 0;
	free(steal_ptr(command->line));
}

static void qmp_on_ready(struct qmp *qmp)
{
	struct qmp_pending *command;

	qmp->state = QMP_READY;
	TAILQ_FOREACH (command, &qmp->commands, entry) {
		command_write(command);
	}
	if (qmp->options.on_ready)
		qmp->options.on_ready(qmp, qmp->options.userdata);
}

static struct qmp_pending *qmp_find_command(struct qmp *qmp, json_t *id)
{
	struct qmp_pending *command;

	if (!json_is_integer(id))
		return NULL;
	TAILQ_FOREACH (command, &qmp->commands, entry) {
		if (command->id == json_integer_value(id))
			return command;
	}
	return NULL;
}

static const char *error_sentence(json_t *error)
{
	const char *sentence = json_string_value(json_object_get(error, "desc"));

	return sentence ? sentence : "QEMU gave no reason";
}

/* A "return" or an "error". */
static void qmp_on_answer(struct qmp *qmp, json_t *id, json_t *result, json_t *error)
{
	struct qmp_pending *command = qmp_find_command(qmp, id);

	if (!command) {
		if (error && !id && !qmp->complained)
			log_warning(NULL, "QEMU complains of no command: %.200s",
				    error_sentence(error));
		qmp->complained |= error && !id;
		return;
	}
	if (!error) {
		command_finish(command, result, NULL);
		return;
	}
	_cleanup_(error_done) struct error err = {};
	error_set(&err, EIO, "%s", error_sentence(error));
	command_finish(command, NULL, &err);
}

static int qmp_on_negotiation(struct qmp *qmp, json_t *message)
{
	static const char capabilities[] = "{\"execute\":\"qmp_capabilities\"}\n";

	if (qmp->state == QMP_GREETING && json_object_get(message, "QMP")) {
		qmp->state = QMP_NEGOTIATING;
		stream_write(qmp->stream, capabilities, sizeof(capabilities) - 1, NULL, 0);
		return 0;
	}
	if (qmp->state == QMP_NEGOTIATING && json_object_get(message, "return")) {
		qmp_on_ready(qmp);
		return 0;
	}
	return -EPROTO;
}

static int qmp_on_message(struct qmp *qmp, json_t *message)
{
	json_t *result = json_object_get(message, "return");
	json_t *error = json_object_get(message, "error");
	json_t *event = json_object_get(message, "event");

	if (!json_is_object(message))
		return -EPROTO;
	if (json_is_string(event)) {
		if (qmp->options.on_event)
			qmp->options.on_event(qmp, json_string_value(event),
					      json_object_get(message, "data"),
					      qmp->options.userdata);
		return 0;
	}
	if (qmp->state != QMP_READY)
		return qmp_on_negotiation(qmp, message);
	if (result || error)
		qmp_on_answer(qmp, json_object_get(message, "id"), result, error);
	return 0;
}

/* More values than any answer of QEMU's has, counted before they take memory. */
static bool line_is_bloated(const char *line, size_t len)
{
	size_t values = 0;

	for (size_t i = 0; i < len; i++)
		values += line[i] == ',' || line[i] == '[' || line[i] == '{';
	return values > LINE_MAX_VALUES;
}

static int qmp_on_line(struct qmp *qmp, const char *line, size_t len)
{
	if (line_is_bloated(line, len))
		return -EMSGSIZE;
	if (strspn(line, " \t") == len)
		return 0;
	_cleanup_(json_decref_cleanup) json_t *message = json_loadb(line, len, 0, NULL);
	return message ? qmp_on_message(qmp, message) : -EPROTO;
}

/* Takes a whole line off the input; NULL: its end has not come. What was searched is not searched
 * again: a line that comes in small pieces must not cost more than its bytes. The caller frees. */
static char *take_line(struct qmp *qmp, struct evbuffer *input, size_t *ret_len)
{
	size_t size = evbuffer_get_length(input);
	struct evbuffer_ptr from;

	if (size == qmp->searched ||
	    evbuffer_ptr_set(input, &from, qmp->searched, EVBUFFER_PTR_SET) < 0)
		return NULL;
	struct evbuffer_ptr end = evbuffer_search_eol(input, &from, NULL, EVBUFFER_EOL_LF);
	qmp->searched = end.pos < 0 ? size : 0;
	if (end.pos < 0)
		return NULL;
	char *line = xnew_array(char, (size_t)end.pos + 1);
	evbuffer_remove(input, line, (size_t)end.pos);
	evbuffer_drain(input, 1);
	*ret_len = (size_t)end.pos;
	if (*ret_len > 0 && line[*ret_len - 1] == '\r')
		line[--*ret_len] = '\0';
	return line;
}

static void qmp_on_data(struct stream *stream _unused_, struct evbuffer *input, void *userdata)
{
	struct qmp *qmp = userdata;
	int r = 0;

	while (r == 0 && qmp->state != QMP_ENDED) {
		size_t len;
		_cleanup_free_ char *line = take_line(qmp, input, &len);
		if (!line) {
			r = qmp->searched > LINE_MAX_BYTES ? -EMSGSIZE : 0;
			break;
		}
		r = len > LINE_MAX_BYTES ? -EMSGSIZE : qmp_on_line(qmp, line, len);
	}
	if (r < 0 && qmp->state != QMP_ENDED)
		qmp_end(qmp, r);
}

static void qmp_on_stream_end(struct stream *stream _unused_, int reason, void *userdata)
{
	qmp_end(userdata, reason);
}

/* ---------------------------------------------------------------- the caller's side */

struct qmp *qmp_new(struct loop *loop, int fd, const struct qmp_options *options)
{
	struct qmp *qmp = xnew(struct qmp);
	struct stream_options stream_options = {
		.on_data = qmp_on_data,
		.on_end = qmp_on_stream_end,
		.userdata = qmp,
		/* Room for the longest line and one wake-up's bytes after it. */
		.input_max = LINE_MAX_BYTES + STREAM_READ_MAX,
	};

	qmp->loop = loop;
	if (options)
		qmp->options = *options;
	qmp->state = QMP_GREETING;
	TAILQ_INIT(&qmp->commands);
	qmp->stream = stream_new(loop, fd, &stream_options);
	return qmp;
}

void qmp_free(struct qmp *qmp)
{
	if (!qmp)
		return;
	qmp->state = QMP_ENDED;
	qmp->options.on_end = NULL;
	stream_free(steal_ptr(qmp->stream));
	while (!TAILQ_EMPTY(&qmp->commands))
		qmp_finish_commands(qmp, ECANCELED, "its monitor was closed");
	loop_defer(qmp->loop, free, qmp);
}

static char *command_line(json_int_t id, const char *name, json_t *taken_arguments)
{
	_cleanup_(json_decref_cleanup) json_t *arguments = taken_arguments;
	_cleanup_(json_decref_cleanup) json_t *object = json_pack(
		"{s:s, s:I, s:O*}", "execute", name, "id", id, "arguments", arguments);
	_cleanup_free_ char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

	return text ? xasprintf("%s\n", text) : NULL;
}

struct qmp_pending *qmp_command(struct qmp *qmp, const char *name, json_t *arguments,
				unsigned timeout_ms, qmp_reply_fn on_reply, void *userdata)
{
	return qmp_command_fds(qmp, name, arguments, NULL, 0, timeout_ms, on_reply, userdata);
}

struct qmp_pending *qmp_command_fds(struct qmp *qmp, const char *name, json_t *arguments,
				    const int *fds, size_t nfds, unsigned timeout_ms,
				    qmp_reply_fn on_reply, void *userdata)
{
	struct qmp_pending *command = xnew(struct qmp_pending);

	if (nfds > SOCKET_MAX_FDS)
		abort();
	command->qmp = qmp;
	command->id = ++qmp->last_id;
	command->line = command_line(command->id, name, arguments);
	if (!command->line)
		abort(); /* the caller's own text, and it is not UTF-8 */
	command->name = xstrdup(name);
	if (nfds > 0)
		memcpy(command->fds, fds, nfds * sizeof(fds[0]));
	command->nfds = nfds;
	command->timeout_ms = timeout_ms;
	command->on_reply = on_reply;
	command->userdata = userdata;
	TAILQ_INSERT_TAIL(&qmp->commands, command, entry);

	if (qmp->state == QMP_ENDED) {
		if (!qmp->failing)
			loop_defer(qmp->loop, qmp_fail_commands, qmp);
		qmp->failing = true;
		return command;
	}
	if (timeout_ms > 0) {
		command->timer = loop_timer_new(qmp->loop, command_on_timeout, command);
		loop_timer_start(command->timer, timeout_ms);
	}
	if (qmp->state == QMP_READY)
		command_write(command);
	return command;
}

void qmp_pending_cancel(struct qmp_pending *command)
{
	if (!command)
		return;
	TAILQ_REMOVE(&command->qmp->commands, command, entry);
	loop_timer_free(steal_ptr(command->timer));
	loop_defer(command->qmp->loop, command_free, command);
}
