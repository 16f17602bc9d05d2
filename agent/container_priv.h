/* Inside of a container, shared by container.c (its life, its processes) and container_control.c
 * (what is asked of it as a whole). */
#pragma once

#include "agent/cgroup.h"
#include "agent/container.h"
#include "agent/oom_watch.h"
#include "agent/pending.h"
#include "base/list.h"
#include "base/strv.h"
#include "base/trace.h"

/* A process and the call that started it. */
struct member {
	TAILQ_ENTRY(member) link;
	struct container *container; /* borrowed */
	struct process *process;     /* owned */
	struct ttrpc_call *call;     /* CreateContainer, StartContainer or ExecProcess; or NULL */
	bool failed;                 /* an exec that never started: failure says why */
	struct error failure;        /* owned */
};

struct container {
	struct agent *agent; /* borrowed */
	char *id;            /* owned */
	char *init_exec_id;  /* owned; another name of the first process */
	enum container_state state;
	struct cgroup *cgroup;                   /* owned; NULL where there are none */
	struct seccomp_program filter;           /* owned */
	TAILQ_HEAD(member_list, member) members; /* owned; the first process and the execs */
	size_t nmembers;
	struct member *init;             /* in members; NULL until it is cloned */
	struct storage_list *storages;   /* the sandbox's; borrowed */
	struct strv mount_points;        /* owned; what it uses of storages */
	struct error failure;            /* owned; why it was never created */
	struct trace_span span;          /* of the call under way */
	struct ttrpc_call *failed_call;  /* gets failure when the container is gone */
	struct pending_list removers;    /* owned; RemoveContainer */
	struct loop_timer *remove_timer; /* owned; NULL until it is removed */
	struct loop_watch *cgroup_watch; /* owned; NULL until the cgroup is waited for */
	int cgroup_events;               /* owned; of cgroup_watch */
	bool is_paused;                  /* or about to be; what the last of pausers wants */
	struct pending_list pausers;     /* owned; PauseContainer and ResumeContainer */
	struct oom_watch *oom;           /* owned; NULL where there is no cgroup */
	bool shares_processes;           /* its first process is not that of a pid namespace */
	bool gone;
	void (*on_gone)(struct container *container, void *userdata);
	void (*on_oom)(struct container *container, void *userdata);
	void *userdata; /* borrowed */
};

/* Has container_step() called when the last process leaves the cgroup, or it is frozen, or thawed.
 */
_must_check_ int container_watch_cgroup(struct container *container);
