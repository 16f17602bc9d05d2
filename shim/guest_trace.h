/* The agent's steps, fetched into the shim's trace (base/trace.h); nothing while that is off. */
#pragma once

#include "shim/agent_link.h"

/* Has the agent keep its steps. */
void guest_trace_begin(struct agent_link *agent);

/* Fetches them; fn is called once, also where the agent does not answer. Only with trace_on. */
void guest_trace_end(struct agent_link *agent, void (*fn)(void *userdata), void *userdata);
