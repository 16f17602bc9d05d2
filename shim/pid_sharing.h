/* Whose processes a container shares, where its pid namespace is one that is there: that of its
 * pod, or that of another container (CRI's modes POD and TARGET).
 *
 * The path of the namespace has a pid that containerd was told: of a pod's sandbox the VMM's, of
 * each container in it the number of a thread of the shim's, which is its own
 * (shim/container_create.c). What the target shares with others is shared with them, too. Outside
 * of pods all have the VMM's pid: it is the one container which has it, and of several it cannot be
 * told which is meant.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "shim/spec.h"

struct container_list;

struct pid_sharing {
	bool with_pod;
	char *with; /* owned; a container's id; NULL: with none alone */
};

/* others are the pod's containers, without the one that asks. -EOPNOTSUPP: it cannot be told;
 * -EBUSY: the target has no processes. Before spec_for_guest(). */
_must_check_ int pid_sharing_choose(const struct spec *spec, const struct container_list *others,
				    struct pid_sharing *ret, struct error *err);
void pid_sharing_done(struct pid_sharing *sharing);
