/* The guest's clock, set over the agent channel. A guest that was stopped has stood still.
 *
 * The time is on its way while it passes: the guest's clock is then behind by no more than the
 * call took. On a busy host the first call after a stop can take 100 ms, so a slow one is
 * followed by another, until one was quick.
 */
#pragma once

#include "proto/ttrpc_client.h"

/* Sends the first, and the rest by itself as long as agent (borrowed) lives; what goes wrong is
 * logged for object. */
void guest_clock_set(struct ttrpc_client *agent, const char *object);
