/* Makes the guest's memory as small as it goes, before it is frozen.
 *
 * Caches are dropped and memory is compacted; then all that is free above the kernel's watermarks
 * (agent/watermarks.h) is taken and given back once, since the kernel hands out zeroed pages and
 * leaves them zero: the host finds them and makes holes of them. A child of the agent does it: the
 * loop goes on meanwhile, and should memory run out all the same, the kernel kills the child and
 * not the agent.
 */
#pragma once

#include "agent/agent.h"
#include "proto/ttrpc_server.h"

/* Answers call with a kiln.guest.v1.TrimResponse, or with what went wrong. */
void trim_start(struct agent *agent, struct ttrpc_call *call);
