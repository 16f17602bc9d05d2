/* A second process in a machine's jail (factory/jail/jail.h), beside its VMM: the host's half of a
 * device. It has the VMM's ids, root, namespaces (a copy of the mounts) and control group, and so
 * what the guest could have by breaking out of the VMM; it ends with the machine at the latest
 * (factory/vm/remains.h).
 */
#pragma once

#include "base/error.h"
#include "factory/jail/cgroup.h"

struct jail_join {
	int vmm_pidfd; /* borrowed */
	int doors[CGROUP_DOORS];
	size_t ndoors;
};

/* RUN_DIR and id name the machine. -EOPNOTSUPP: it is shut in nothing ("uid_first": 0). */
_must_check_ int jail_join_init(struct jail_join *join, const char *run_dir, const char *vm_id,
				int vmm_pidfd, struct error *err);
void jail_join_done(struct jail_join *join);

/* For spawn(): in_child, with the struct jail_join as data. The process is root among the machine's
 * ids, with the capabilities that files are served with, and SETUID, SETGID, MKNOD, SYS_CHROOT and
 * SETPCAP, with which it can shut itself in further. None of them counts outside of these ids. */
_must_check_ int jail_join_enter(void *data, const char **ret_what);
