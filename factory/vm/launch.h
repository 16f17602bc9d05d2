/* A machine's VMM, from the names of its files to the running process: folder with listening
 * sockets and log, control group, jail, QEMU.
 *
 * All of it needs root. A process that is root does it itself (a claimer without a factory, and
 * kiln-jailer); a factory has a connection to kiln-jailer and asks for it, by the same functions.
 * What is made is in the journal before, and remains_remove() takes it away, also what a launch
 * that failed has left. */
#pragma once

#include "base/error.h"
#include "factory/jail/jail.h"
#include "factory/store/template.h"
#include "factory/vm/clone_files.h"

/* All borrowed, while launch_new() runs. */
struct launch_options {
	const char *run_dir;
	const char *id;
	const struct template_manifest *manifest;
	const char *scratch_dir; /* for the copy of the scratch disk */
	struct jail_settings jail;
	uint32_t uid;               /* first of the machine's; 0: it is root, without a jail */
	const char *cgroup;         /* the machine's; NULL: none */
	const struct vm_size *boot; /* NULL: a clone */
	bool merge_pages;           /* KSM may merge its pages with others' */
};

struct launch;

/* Where this process is root: makes everything but the process. */
_must_check_ int launch_new(const struct launch_options *options, struct launch **ret_launch,
			    struct error *err);
void launch_free(struct launch *launch); /* NULL does nothing */
DEFINE_CLEANUP(struct launch *, launch_free)

/* The files of the template; where has_copies is set the copies have to be made before
 * launch_run(). Owned by the launch. */
struct clone_files *launch_files(struct launch *launch);

struct launched {
	pid_t pid;
	uint64_t start_time; /* as process_start_time() has it */
	int pidfd;           /* the caller's */
	uint32_t guest_cid;  /* factory/vm/guest_cid.h; 0: none */
};

/* Once. On failure there is no process. */
_must_check_ int launch_run(struct launch *launch, struct launched *ret, struct error *err);

/* The most vCPUs that a machine with a control group can grow to, as root noted at its launch. */
_must_check_ int launch_read_max_vcpus(const char *run_dir, const char *id, unsigned *ret_vcpus,
				       struct error *err);
