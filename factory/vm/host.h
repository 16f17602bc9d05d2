/* What only root can do to a machine that is there. As in factory/vm/launch.h, a process that is
 * root does it itself (jailer NULL), a factory asks kiln-jailer. */
#pragma once

#include "base/error.h"
#include "factory/jail/jailer.h"
#include "factory/vm/journal.h"

/* uid_range_take() for a machine, of the ids in its entry. */
_must_check_ int host_take_uids(struct jailer *jailer, const char *run_dir,
				const struct journal_entry *entry, struct error *err);

/* SIGKILL, without waiting for the end. */
_must_check_ int host_kill(struct jailer *jailer, int pidfd, struct error *err);

/* As spawn_reap(): of a process that whoever does this has started. */
_must_check_ int host_reap(struct jailer *jailer, int pidfd, int *ret_status);

/* remains_remove(), remains_find_process() */
_must_check_ int host_remove(struct jailer *jailer, const char *run_dir,
			     const struct journal_entry *entry, struct error *err);
_must_check_ int host_find_process(struct jailer *jailer, const char *run_dir,
				   const struct journal_entry *entry, int *ret_pidfd);

/* The machine's control group, where it has one, lets it use so many vCPUs from now on. */
_must_check_ int host_grow(struct jailer *jailer, const struct journal_entry *entry, unsigned vcpus,
			   struct error *err);

/* The folder of the rehearsal (factory/vm/rehearsal.h) is made in a machine's share, or removed. */
_must_check_ int host_rehearse(struct jailer *jailer, const char *id, const char *share_dir,
			       bool make, struct error *err);

/* /proc/PID/smaps_rollup, opened. */
_must_check_ int host_open_memory(struct jailer *jailer, pid_t pid, int *ret_fd);
