/* One container: its configuration, its files in the share, its processes.
 *
 *   state     what it is                                        leaves by
 *   CREATING  a machine is claimed or the agent builds it       its answer: CREATED; else GONE
 *   CREATED   the agent has it; its processes have their own    container_delete()
 *             states (shim/process.h)
 *   REMOVING  the agent removes it                              its answer: GONE
 *   GONE      unmounted, its events published, out of the list
 *
 * A pod's sandbox container has a machine, and nothing in it: no root, no process (shim/process.h,
 * stand-in).
 *
 * Reference counted: the shim's list holds one, every call in flight one.
 */
#pragma once

#include "base/list.h"
#include "base/state.h"
#include "proto/task.pb-c.h"
#include "shim/process.h"
#include "shim/sandbox.h"

enum container_state {
	CONTAINER_CREATING,
	CONTAINER_CREATED,
	CONTAINER_REMOVING,
	CONTAINER_GONE,
};
DECLARE_STRING_TABLE(container_state, enum container_state);
extern const struct state_machine container_states;

struct container;
struct container_list;
struct pid_sharing;

struct container_options {
	struct loop *loop;
	struct sandbox *sandbox;
	struct events *events;
	const char *shim_address;            /* outlives it */
	const char *ns;                      /* containerd's; outlives it */
	struct sysctls *sysctls;             /* the pod's; outlives it */
	const struct container_list *others; /* of the pod; borrowed until it is made */
	bool has_pod; /* of the Sandbox service: namespaces with a path are the pod's */
	const Containerd__Task__V2__CreateTaskRequest *request; /* borrowed until created */
	/* GONE; failed: it was never created. Drops the list's reference. */
	void (*on_gone)(struct container *container, bool failed, void *userdata);
	void *userdata;
};

typedef void (*container_done_fn)(int number, const struct error *err, void *userdata);

/* Reads the bundle and opens the FIFOs. */
_must_check_ int container_new(const struct container_options *options,
			       struct container **ret_container, struct error *err);
struct container *container_ref(struct container *container);
void container_unref(struct container *container);
DEFINE_CLEANUP(struct container *, container_unref)

/* Exactly one call of done, never from within. After a failure the container is GONE. */
void container_create(struct container *container, container_done_fn done, void *userdata);

/* Nobody waits for the creation any more: what is made is taken back. done gets -ECANCELED. */
void container_abort(struct container *container);

/* The shim ends: nobody waits for its creation or for its processes any more. It may leave the list
 * meanwhile. */
void container_end(struct container *container);

/* Starts a process of it. The pod's network is then what its engine has made of it until now. */
void container_start(struct container *container, struct process *process, process_done_fn done,
		     void *userdata);

/* In CREATED. -EBUSY while the first process lives, and done is not called then; one that was
 * never started is killed. Ends all execs. */
_must_check_ int container_delete(struct container *container, container_done_fn done,
				  void *userdata, struct error *err);

/* The machine is gone, or is being ended: every process exits, with this status. A creation under
 * way fails with -ECONNRESET, so that the container may be GONE after it. */
void container_lost(struct container *container, uint32_t exit_status);

struct process *container_init(const struct container *container); /* the first; borrowed */
/* exec_id "" is the first process. -ENOENT; borrowed. */
_must_check_ int container_find(struct container *container, const char *exec_id,
				struct process **ret_process, struct error *err);
_must_check_ int container_add_exec(struct container *container,
				    const Containerd__Task__V2__ExecProcessRequest *request,
				    struct error *err);
/* -EBUSY while it lives. */
_must_check_ int container_delete_exec(struct container *container, struct process *process,
				       struct error *err);

/* When a client last used it, CLOCK_MONOTONIC: one of its processes, or an exec that is
 * gone; one that is being made, now. */
uint64_t container_used_ms(const struct container *container);

/* It stands for its pod (CRI's sandbox container, which runs a pause program elsewhere): the guest
 * does not know it. */
bool container_is_sandbox(const struct container *container);

/* One of its processes was killed for want of memory. */
void container_tell_oom(const struct container *container);

/* The guest has stopped its processes, or lets them go on. */
void container_set_paused(struct container *container, bool paused);
bool container_is_paused(const struct container *container);

/* What an Update asks for. -EBUSY: the machine has less (shim/limits.h). */
_must_check_ int container_check_update(const struct container *container,
					const Grpc__LinuxResources *resources, struct error *err);
/* The guest has done it. */
void container_updated(struct container *container, const Grpc__LinuxResources *resources);

/* Whose processes it has; borrowed. */
const struct pid_sharing *container_pid_sharing(const struct container *container);

struct agent_link *container_agent(const struct container *container); /* borrowed */
enum container_state container_state(const struct container *container);
const char *container_id(const struct container *container);
const char *container_bundle(const struct container *container);

/* The disk of a direct volume it has (shim/container_disks.h). */
struct disk *container_find_volume(const struct container *container, const char *path,
				   char **ret_guest_path);

/* The shim's list of its containers. */
TAILQ_HEAD(container_list, container);
void container_list_add(struct container_list *list, struct container *container);
void container_list_remove(struct container_list *list, struct container *container);
struct container *container_list_find(const struct container_list *list, const char *id);
struct container *container_list_next(struct container *container);
