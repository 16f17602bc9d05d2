/* What kind of thing a bind mount of a container's configuration shows.
 *
 *   HOST     a folder or file of the host: shown through the share
 *   FOLDER   what only the pod uses: a folder in the guest, made at the first container's start.
 *            An emptyDir (…/volumes/kubernetes.io~empty-dir/NAME), or an anonymous volume of
 *            nerdctl (…/volumes/NS/64 hex digits/_data) that is empty and whose container is
 *            removed at its end (`run --rm`): another one's data must be there after a restart
 *   MEMORY   the same as a tmpfs: an emptyDir of the medium Memory, and what is on /dev/shm if its
 *            source is a tmpfs. Two containers that map a file there see each other's stores
 *   NONE     no bind mount, or something the guest has of its own: /proc, /sys and what is below,
 *            /dev, its device nodes, the folders that hold them, devpts, mqueue
 *
 * A sub-path of an emptyDir (…/volume-subpaths/NAME/…) is a folder of that emptyDir. What is on a
 * hugetlbfs, as an emptyDir of the medium HugePages, is none of these, and refused. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "proto/oci.pb-c.h"
#include "shim/mountinfo.h"

enum volume_kind { VOLUME_NONE, VOLUME_HOST, VOLUME_FOLDER, VOLUME_MEMORY };

/* Of a FOLDER or MEMORY. */
struct volume_home {
	char *path; /* on the host, of the whole volume; owned */
	char *sub;  /* the folder in it that is shown, "" for all; owned */
};

bool mount_has_option(const Grpc__Mount *mount, const char *name);

/* A tmpfs of its own on /dev/shm. */
bool volume_is_shm(const Grpc__Mount *mount);

/* Looks at the host's files. *ret_home is filled for FOLDER and MEMORY; else untouched. -EINVAL:
 * a sub-path of an emptyDir that is not found in it. -EOPNOTSUPP: a hugetlbfs. */
_must_check_ int volume_classify(const Grpc__Spec *oci, const Grpc__Mount *mount,
				 const struct mountinfo *info, enum volume_kind *ret_kind,
				 struct volume_home *ret_home, struct error *err);
void volume_home_done(struct volume_home *home);
