/* Makes the guest's memory as small as it goes, before it is frozen.
 *
 * Caches are dropped and memory is compacted; then all that is free above the kernel's watermarks
 * (agent/watermarks.h) is taken and given back once, since the kernel hands out zeroed pages and
 * leaves them zero: the host finds them and makes holes of them. A child of the agent does it, so
 * that the loop goes on and the kernel has somebody else than the agent to kill should memory run
 * out all the same.
 */
#pragma once

#include "agent/agent.h"
#include "proto/ttrpc_server.h"

/* Answers call with a kiln.guest.v1.TrimResponse, or with what went wrong. */
void trim_start(struct agent *agent, struct ttrpc_call *call);
