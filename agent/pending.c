#include "agent/pending.h"

#include "base/memory.h"

void pending_init(struct pending_list *list, void (*on_cancel)(void *userdata), void *userdata)
{
	TAILQ_INIT(&list->calls);
	list->count = 0;
	list->on_cancel = on_cancel;
	list->userdata = userdata;
}

struct ttrpc_call *pending_leave(struct pending *pending)
{
	struct ttrpc_call *call = pending->call;

	TAILQ_REMOVE(&pending->list->calls, pending, link);
	pending->list->count--;
	free(pending);
	return call;
}

static void on_call_cancelled(struct ttrpc_call *call _unused_, void *userdata)
{
	struct pending *pending = userdata;
	struct pending_list *list = pending->list;

	ttrpc_call_drop(pending_leave(pending));
	if (list->on_cancel)
		list->on_cancel(list->userdata);
}

int pending_add(struct pending_list *list, size_t max, struct ttrpc_call *call,
		const ProtobufCMessage *request)
{
	if (list->count >= max)
		return -EAGAIN;

	struct pending *pending = xnew(struct pending);

	pending->list = list;
	pending->call = call;
	pending->request = request;
	TAILQ_INSERT_TAIL(&list->calls, pending, link);
	list->count++;
	ttrpc_call_on_cancel(call, on_call_cancelled, pending);
	return 0;
}

struct ttrpc_call *pending_take(struct pending_list *list)
{
	struct pending *first = pending_first(list);

	return first ? pending_leave(first) : NULL;
}
