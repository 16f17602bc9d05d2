/* The share folder as the guest has it: where and how it is mounted, for the claimer that asks
 * for it and for the rehearsal that does the same before. */
#pragma once

#include "proto/agent.pb-c.h"

#define GUEST_SHARE "/run/kata-containers/shared/containers" /* in the guest */

/* Fills a storage of CreateSandbox; tag is borrowed, the rest is static. */
void guest_share_storage(Grpc__Storage *storage, const char *tag);

/* Has the agent leave it mounted at the sandbox's end, for the next one (agent/storage.h). */
void guest_share_keep(Grpc__Storage *storage);
