/* Task events on their way to containerd.
 *
 * One at a time and in order of publishing, as containerd demands (create, start, exit, delete;
 * exec-added, exec-started, exit), by Forward of containerd.services.events.ttrpc.v1.Events on
 * the socket named in TTRPC_ADDRESS. While containerd is away (restart) events wait, at most
 * EVENTS_MAX of them; beyond that the oldest is dropped, and the log says so. An event whose
 * answer was lost is sent again: delivery is at least once.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "base/loop.h"

#define EVENTS_MAX 1024

struct events;

/* address: containerd's ttRPC socket; NULL or "": events go nowhere. id: for the log. */
struct events *events_new(struct loop *loop, const char *address, const char *ns, const char *id);
void events_free(struct events *events);
DEFINE_CLEANUP(struct events *, events_free)

/* event is one of containerd.events.Task*, borrowed; its type gives the topic. */
void events_publish(struct events *events, const ProtobufCMessage *event);

/* Calls fn once when nothing waits any more, or after timeout_ms; from the loop. */
void events_drain(struct events *events, uint64_t timeout_ms, void (*fn)(void *userdata),
		  void *userdata);
