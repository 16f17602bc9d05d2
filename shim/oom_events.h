/* Asks the guest, for as long as there is one, which of its containers has run out of memory.
 *
 * Each becomes an event of containerd's, which costs the whole node: a guest that tells of them
 * without end is asked once in OOM_PACE_MS, after the first OOM_BURST of them. */
#pragma once

#include "base/loop.h"
#include "shim/agent_link.h"

enum { OOM_BURST = 16, OOM_PACE_MS = 1000 };

struct oom_events;

/* fn is called from the loop, for each time that the kernel killed for want of memory. */
struct oom_events *oom_events_new(struct loop *loop, struct agent_link *agent,
				  void (*fn)(const char *container_id, void *userdata),
				  void *userdata);
void oom_events_free(struct oom_events *events);
