/* Whose processes a container shares, where its pid namespace is one that is there: that of its
 * pod, or that of another container (CRI's modes POD and TARGET).
 *
 * The path of the namespace does not tell them apart, because containerd makes it of a pid and the
 * pid of all that is in a machine is the VMM's. But kubelets have all containers of a pod share, or
 * ask for the processes of one in a pod whose containers have their own. So it is that of the one
 * container which has its own, and that of the pod where none has, or where another shares already.
 * Of several it cannot be told which is meant.
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

/* others are the pod's containers, without the one that asks. -EOPNOTSUPP: it cannot be told.
 * Before spec_for_guest(). */
_must_check_ int pid_sharing_choose(const struct spec *spec, const struct container_list *others,
				    struct pid_sharing *ret, struct error *err);
void pid_sharing_done(struct pid_sharing *sharing);
