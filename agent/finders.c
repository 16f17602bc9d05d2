#include "agent/finders.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/pending.h"
#include "agent/uevents.h"
#include "base/memory.h"

enum { WAITING_MAX = 64 };

struct finders {
	struct loop *loop;
	finders_look_fn look;
	const ProtobufCMessage *response; /* borrowed */
	struct pending_list calls;
	int uevents;              /* owned; open while there are calls: what comes costs memory */
	struct loop_watch *watch; /* owned; of uevents */
};

static void stop_listening(void *userdata)
{
	struct finders *finders = userdata;

	if (finders->calls.count > 0)
		return;
	loop_watch_free(steal_ptr(finders->watch));
	finders->uevents = close_fd(finders->uevents);
}

static void look(struct finders *finders)
{
	struct pending *pending, *next;

	TAILQ_FOREACH_SAFE (pending, &finders->calls.calls, link, next) {
		_cleanup_(error_done) struct error err = {};
		int r = finders->look(pending->request, &err);

		if (r == 0)
			ttrpc_call_reply(pending_leave(pending), finders->response);
		else if (r != -EAGAIN)
			ttrpc_call_fail(pending_leave(pending), &err);
	}
	stop_listening(finders);
}

static void on_uevent(int fd, unsigned events _unused_, void *userdata)
{
	uevents_drain(fd);
	look(userdata);
}

static int listen_to_events(struct finders *finders)
{
	if (finders->watch)
		return 0;
	finders->uevents = uevents_open();
	if (finders->uevents < 0)
		return finders->uevents;
	finders->watch = loop_watch_new(finders->loop, finders->uevents, LOOP_READ, on_uevent,
					finders);
	return 0;
}

void finders_add(struct finders *finders, struct ttrpc_call *call, const ProtobufCMessage *request)
{
	int r = listen_to_events(finders); /* before the first look */

	if (r < 0)
		ttrpc_call_fail_code(call, TTRPC_UNAVAILABLE, "no events of devices: %s",
				     strerror(-r));
	else if (pending_add(&finders->calls, WAITING_MAX, call, request) < 0)
		ttrpc_call_fail_code(call, TTRPC_RESOURCE_EXHAUSTED,
				     "%d calls wait for devices already", WAITING_MAX);
	else
		look(finders);
}

struct finders *finders_new(struct loop *loop, finders_look_fn look_,
			    const ProtobufCMessage *response)
{
	struct finders *finders = xnew(struct finders);

	finders->loop = loop;
	finders->look = look_;
	finders->response = response;
	finders->uevents = -EBADF;
	pending_init(&finders->calls, stop_listening, finders);
	return finders;
}

void finders_free(struct finders *finders)
{
	struct ttrpc_call *call;

	if (!finders)
		return;
	while ((call = pending_take(&finders->calls)))
		ttrpc_call_drop(call);
	loop_watch_free(finders->watch);
	close_fd(finders->uevents);
	free(finders);
}
