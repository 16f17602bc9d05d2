/* The share folder as the guest has it: where and how it is mounted, for the claimer that asks
 * for it and for the rehearsal that does the same before. */
#pragma once

#include "factory/guest/storages.h"

#define GUEST_SHARE_TAG "kilnShared"
#define GUEST_LOWER_TAG "kilnLower"
#define GUEST_LOWER_DIR "lower" /* in share/: what GUEST_LOWER_TAG leads to, read-only */

#define GUEST_SHARE "/run/kata-containers/shared/containers" /* in the guest */

/* The share of this tag, which stays mounted at the sandbox's end for the next one (kiln.keep,
 * agent/storage.h). */
void guest_share_add(struct storages *list, const char *tag);
