/* The system call filter of a container: linux.seccomp of its spec, compiled by libseccomp.
 *
 * All of the specification's filters is done but SCMP_ACT_NOTIFY, which wants a program of the host
 * to decide; that, and every word that is not known, is refused by name. As with runc
 *
 *   - names of system calls that are not known are left out where the rule allows more than the
 *     default: then the default holds for them. Else they are refused
 *   - a system call that is newer than all that the profile names is ENOSYS, so that libc tries an
 *     older one, unless the default lets it pass
 *   - conditions on one argument more than once are alternatives
 *   - architectures that this machine cannot run mean nothing; system calls by one that is not
 *     listed kill
 *
 * containerd's usual profile takes libseccomp 33 million instructions to compile, which is long in
 * an emulated guest. So the shim does it (shim/seccomp.h) and sends what came out in the profile's
 * place; the agent compiles what others send.
 *
 * Source: the OCI runtime specification 1.2, config-linux.md, "Seccomp".
 */
#pragma once

#include <linux/filter.h>

#include "base/error.h"
#include "proto/oci.pb-c.h"

/* Part of what a program is kept by: it grows when a profile is compiled to another program. */
#define SECCOMP_COMPILER "2"

struct seccomp_program {
	struct sock_filter *items; /* owned */
	unsigned short count;      /* 0: there is no filter */
	unsigned flags;            /* SECCOMP_FILTER_FLAG_* */
};

/* -EINVAL, -EOPNOTSUPP: what is wrong where. profile may be NULL. Where it has been compiled, that
 * is taken as it is. */
_must_check_ int seccomp_profile_compile(const Grpc__LinuxSeccomp *profile,
					 struct seccomp_program *ret, struct error *err);
void seccomp_program_done(struct seccomp_program *program);

/* For this process and what it becomes. Needs no_new_privs or CAP_SYS_ADMIN. */
_must_check_ int seccomp_program_load(const struct seccomp_program *program);
