/* Asks the guest, for as long as there is one, which of its containers has run out of memory. */
#pragma once

#include "shim/agent_link.h"

struct oom_events;

/* fn is called from the loop, for each time that the kernel killed for want of memory. */
struct oom_events *oom_events_new(struct agent_link *agent,
				  void (*fn)(const char *container_id, void *userdata),
				  void *userdata);
void oom_events_free(struct oom_events *events);
