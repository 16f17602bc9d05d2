/* The host's half of virtio-fs for one machine (factory/guest/guest_volumes.h): QEMU's virtiofsd,
 * which serves the machine's share to its guest, and the device, which is plugged into the running
 * machine.
 *
 * The daemon is shut in as the machine's VMM is (factory/client/jail_join.h) and shuts itself in
 * further: its root is the share, it keeps only the capabilities that files are served with,
 * SETUID, SETGID and MKNOD, over the machine's ids, and a seccomp profile. A guest that takes it
 * over has what one that takes over the VMM has: its own share, and files of its own ids.
 *
 *   writes        go through: they are on the host, with its errors, when write(2) returns.
 *                 Those by a shared mapping are when they are synced
 *   what is read  is kept by the guest while the host says, at each look, that the file has not
 *                 changed
 *   locks         enum virtiofs_locks
 *
 * Without the daemon the guest's calls would wait for ever, so its end is the sandbox's.
 */
#pragma once

#include "base/error.h"
#include "base/loop.h"
#include "proto/qmp.h"

struct virtiofs;

enum virtiofs_locks {
	VIRTIOFS_LOCKS_GUEST, /* hold in the guest, between all its containers */
	VIRTIOFS_LOCKS_HOST,  /* hold for all that use the file; but virtiofsd refuses to wait for
			       * one  (F_SETLKW, flock(2) without LOCK_NB: EOPNOTSUPP) */
};

/* All borrowed; strings are copied. */
struct virtiofs_options {
	struct loop *loop;
	const char *vm_dir; /* RUN_DIR/vms/ID: for its log and, in passing, its socket */
	const char *share_dir;
	int vmm_pidfd;
	enum virtiofs_locks locks;
	struct qmp *qmp; /* of the machine; to be freed before virtiofs_stop() */
	/* Once, from the loop: the daemon has ended, or the device could not be plugged in. */
	void (*on_end)(const struct error *why, void *userdata);
	void *userdata;
};

/* Starts the daemon and has QEMU plug the device in, which is not waited for: the guest's agent
 * waits for the device. */
_must_check_ int virtiofs_start(const struct virtiofs_options *options,
				struct virtiofs **ret_virtiofs, struct error *err);

/* Kills the daemon; no callback follows. NULL does nothing. */
void virtiofs_stop(struct virtiofs *virtiofs);
