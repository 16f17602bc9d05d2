/* An asynchronous QMP client (QEMU Machine Protocol, docs/interop/qmp-spec of QEMU 7.2).
 *
 * A command is a value that its caller holds. It ends by its callback, exactly once and never from
 * within qmp_command(), or by qmp_pending_cancel(), after which no callback comes.
 *
 * The greeting is awaited and qmp_capabilities sent by the client itself; commands given
 * before that wait in line. Commands are answered in any order by id. A line longer than
 * 1 MiB (or of more than 65536 values) and one that is no JSON object end the connection,
 * with -EMSGSIZE and -EPROTO. A VMM that a guest broke out of may say anything: an answer that
 * nobody waits for, or a second one, is nothing, and its complaints are logged once.
 */
#pragma once

#include <jansson.h>

#include "base/loop.h"

struct qmp;
struct qmp_pending; /* a command that is not answered yet */

struct qmp_options {
	/* Capabilities are negotiated; may be NULL. */
	void (*on_ready)(struct qmp *qmp, void *userdata);
	/* An event: data is its "data" object or NULL, borrowed. May be NULL. */
	void (*on_event)(struct qmp *qmp, const char *event, json_t *data, void *userdata);
	/* The monitor is gone, after every command was answered -ENOTCONN. May be NULL. */
	void (*on_end)(struct qmp *qmp, int reason, void *userdata);
	void *userdata;
};

/* number 0: result is the "return" value, borrowed. Else err holds
 * QEMU's own sentence (-EIO: refused by QEMU, -ETIMEDOUT, -ENOTCONN), borrowed. */
typedef void (*qmp_reply_fn)(int number, json_t *result, const struct error *err, void *userdata);

/* Takes fd, a connected monitor socket. */
struct qmp *qmp_new(struct loop *loop, int fd, const struct qmp_options *options);
void qmp_free(struct qmp *qmp); /* commands in flight are answered -ECANCELED first */
DEFINE_CLEANUP(struct qmp *, qmp_free)

/* Takes arguments (may be NULL). timeout_ms 0: none. A late answer is dropped. on_reply may be
 * NULL: a failure is logged then. What is returned is valid until on_reply has been called, and
 * need not be kept. */
struct qmp_pending *qmp_command(struct qmp *qmp, const char *name, json_t *arguments,
				unsigned timeout_ms, qmp_reply_fn on_reply, void *userdata);

/* The same with descriptors (taken) for add-fd and getfd. */
struct qmp_pending *qmp_command_fds(struct qmp *qmp, const char *name, json_t *arguments,
				    const int *fds, size_t nfds, unsigned timeout_ms,
				    qmp_reply_fn on_reply, void *userdata);

/* Nobody is told of the answer; QEMU does what it was sent all the same. NULL does nothing. */
void qmp_pending_cancel(struct qmp_pending *pending);
