/* The shim's server process: one pod, its containers, its machine.
 *
 *   SERVING   answers containerd on its socket
 *   STOPPING  Shutdown with no container left or at once (`now`), or SIGTERM: the machine is
 *             released, events are delivered (for a bounded time), containerd hangs up; then the
 *             loop ends
 *
 * A shim that has neither container nor pod, and is asked nothing for a while, is forgotten by a
 * containerd that died or gave up between two calls: it stops by itself.
 *
 * Owns everything: server, sandbox, containers, event publisher. No threads.
 */
#pragma once

#include "base/loop.h"
#include "shim/container.h"

struct pod;
struct shim;
struct spec;

struct shim_options {
	struct loop *loop;
	int listen_fd;              /* taken */
	const char *socket_path;    /* of listen_fd: removed at the end */
	const char *id;             /* of the group: the sandbox */
	const char *ns;             /* containerd's namespace */
	const char *events_address; /* containerd's ttRPC socket; may be NULL */
	uint64_t forgotten_ms;      /* 0: a minute */
};

struct shim *shim_new(const struct shim_options *options);

/* Claims the machine for the first container before containerd asks for it: options (may be NULL)
 * and spec are what its Create will bring. A spec without process is a pod's, of which
 * CreateSandbox will say more: nothing is claimed then, and options are kept for it. */
void shim_prepare(struct shim *shim, const Google__Protobuf__Any *options, const struct spec *spec);

void shim_free(struct shim *shim);
DEFINE_CLEANUP(struct shim *, shim_free)

/* What its service does; see shim/task_service.c. */

_must_check_ int shim_create(struct shim *shim,
			     const Containerd__Task__V2__CreateTaskRequest *request,
			     container_done_fn done, void *userdata,
			     struct container **ret_container, struct error *err);

/* A container that exists for containerd: -ENOENT else. Borrowed. */
_must_check_ int shim_find(struct shim *shim, const char *id, struct container **ret_container,
			   struct error *err);

/* The disk of a direct volume that one of the containers has, where the guest has mounted it (the
 * caller frees), and the agent to ask. -ENOENT. Borrowed. */
_must_check_ int shim_find_volume(struct shim *shim, const char *path, struct disk **ret_disk,
				  char **ret_guest_path, struct agent_link **ret_agent,
				  struct error *err);

/* containerd has given up on a creation under way: takes it back. Else nothing. */
void shim_abort(struct shim *shim, const char *id);

/* Ignored while there are containers, or a pod of the Sandbox service. */
void shim_shutdown(struct shim *shim);

/* What its Operator service tells of; see shim/operator_service.c. Borrowed. */

struct sandbox *shim_sandbox(const struct shim *shim); /* always */
const char *shim_namespace(const struct shim *shim);   /* containerd's */
const struct container_list *shim_containers(const struct shim *shim);
struct console *shim_console(const struct shim *shim);

/* What its Sandbox service does; see shim/sandbox_service.c. */

struct pod *shim_pod(const struct shim *shim); /* always; borrowed */

/* Its containers are a pod's: the Sandbox service has made it, or its sandbox container is there.
 */
bool shim_has_pod(const struct shim *shim);

/* Stops the pod, if there is one: its containers are killed, its machine is given back. */
void shim_end_pod(struct shim *shim);

/* The same, and the shim ends. */
void shim_end(struct shim *shim);

/* As containerd was told; of a container that is not there the VMM's. */
uint32_t shim_task_pid(const struct shim *shim, const char *id);
