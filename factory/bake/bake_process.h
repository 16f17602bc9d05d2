/* The QEMU process behind a template's domain, as the kernel shows it. */
#pragma once

#include <sys/types.h>

#include "base/error.h"
#include "base/strv.h"

/* All owned; `struct bake_process p = BAKE_PROCESS_NONE;` is none. */
struct bake_process {
	pid_t pid;
	int pidfd;
	struct strv argv;
};
#define BAKE_PROCESS_NONE                                                                          \
	{                                                                                          \
		.pidfd = -EBADF                                                                    \
	}

/* Finds the QEMU that libvirt's pid file names, and makes sure that it is the one of the domain
 * called name. -ESRCH: it is gone (the pid may belong to anybody by now). */
_must_check_ int bake_process_find(const char *pid_file, const char *name,
				   struct bake_process *ret_process, struct error *err);

/* Blocks until it hardly used its CPU for a moment, at most some seconds: the guest has done
 * what it still had to do. One that never calms down is left as it is. */
_must_check_ int bake_process_wait_calm(const struct bake_process *process, struct error *err);

void bake_process_done(struct bake_process *process);
