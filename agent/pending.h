/* Calls that wait for something: a queue of bounded length whose members leave by themselves
 * when nobody waits for their answer any more (deadline passed, peer gone).
 */
#pragma once

#include <stddef.h>

#include "base/list.h"
#include "proto/ttrpc_server.h"

struct pending {
	TAILQ_ENTRY(pending) link;
	struct pending_list *list;       /* borrowed */
	struct ttrpc_call *call;         /* to be answered by whoever takes it out */
	const ProtobufCMessage *request; /* borrowed from the call */
	size_t done;                     /* bytes moved so far; the queue's user counts */
};

struct pending_list {
	TAILQ_HEAD(pending_calls, pending) calls;
	size_t count;
	void (*on_cancel)(void *userdata); /* one has left by itself; may be NULL */
	void *userdata;                    /* borrowed */
};

void pending_init(struct pending_list *list, void (*on_cancel)(void *userdata), void *userdata);

/* 0: the list has the call. -EAGAIN: max are waiting already, the call is still the caller's. */
_must_check_ int pending_add(struct pending_list *list, size_t max, struct ttrpc_call *call,
			     const ProtobufCMessage *request);

static inline struct pending *pending_first(const struct pending_list *list)
{
	return TAILQ_FIRST(&list->calls);
}

/* Takes this one out; the caller must end the call. */
struct ttrpc_call *pending_leave(struct pending *pending);

/* Takes the first out; the caller must end the call. NULL where there is none. */
struct ttrpc_call *pending_take(struct pending_list *list);
