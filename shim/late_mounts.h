/* What the host mounts below a volume while a container has it (rslave, rshared).
 *
 * Such a mount comes to the VMM by itself, but as it is on the host: its files belong to users that
 * are none of the machine's, and a folder of root's alone is closed to it. So each is replaced, as
 * soon as the kernel tells that there is something new, by the same with the machine's ids
 * (shim/idmap.h). One whose file system knows no idmapped mounts stays as it is, with a warning.
 */
#pragma once

#include <sys/types.h>

#include "base/loop.h"
#include "base/strv.h"
#include "shim/idmap.h"

struct late_mounts;

struct late_mounts_options {
	struct loop *loop;         /* borrowed */
	pid_t vmm_pid;             /* whose mounts they are */
	int vmm_pidfd;             /* ditto; copied */
	const struct idmap *idmap; /* copied */
	struct strv *points;       /* where the volumes are; taken */
};

_must_check_ int late_mounts_new(const struct late_mounts_options *options,
				 struct late_mounts **ret_mounts, struct error *err);
void late_mounts_free(struct late_mounts *mounts);
