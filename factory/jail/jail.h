/* What a clone's VMM is shut in, so that a guest that breaks out of it is nobody and nowhere:
 *
 *   users    a user namespace with 65536 ids of its own (factory/jail/uid_range.h); on the host
 *            it is an unprivileged user. Inside it is root with the few capabilities virtio-9p
 *            serves files with, over files of its own ids only
 *   files    a root of its own on a tmpfs: QEMU with its libraries and firmware, the template's
 *            folder, all read-only, and the machine's share. What is mounted into the share
 *            later appears there too
 *   network  a network namespace with nothing but its taps (factory/jail/tap.h), which leave it
 *            when it is claimed; IPC and UTS namespaces; no sockets but
 *            Unix ones
 *   limits   a control group (factory/jail/cgroup.h)
 *
 * The child (base/spawn.h) does all of it itself, with the names it had on the host: paths mean
 * the same in and out. The one thing its parent must do for it is to write its id maps.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/strv.h"
#include "factory/jail/tap.h"

struct jailer;

/* Of a host; all borrowed. */
struct jail_settings {
	uint32_t first_uid; /* of all ranges; 0: no jail, VMMs are root in the host's namespaces */
	const char *cgroup; /* the machines' groups are in this one; NULL: they have none */
	/* Does what needs root (factory/jail/jailer.h); NULL: this process is root, and does it. */
	struct jailer *jailer;
};

/* All borrowed, and needed until the child runs. */
struct jail_options {
	const char *dir;          /* of the machine; covered by the new root while that is made */
	const char *share_dir;    /* below it */
	const char *template_dir; /* NULL: it maps nothing of it */
	const char *memory;       /* the template's RAM; NULL: its RAM is its own */
	const struct strv *libraries; /* that it is started with (factory/vm/preload.h) */
	const char *qemu_binary;
	const char *kernel; /* and initramfs, of a machine that is booted; else NULL */
	const char *initrd;
	const char *cgroup; /* of the machine; NULL: none */
	const struct taps *taps;
	uint32_t uid; /* first of its range */
	bool kvm;
};

struct jail;

_must_check_ int jail_new(const struct jail_options *options, struct jail **ret_jail,
			  struct error *err);
void jail_free(struct jail *jail);
DEFINE_CLEANUP(struct jail *, jail_free)

/* The hooks of spawn(); data is the jail. */
int jail_enter(void *data, const char **ret_what);
_must_check_ int jail_admit(void *data, pid_t pid, struct error *err);

/* The share becomes a mount of its own, from which mounts below it reach the machine. */
_must_check_ int jail_share_make(const char *share_dir, struct error *err);
