/* containerd.task.v2.Task, as containerd 1.3 and later call it, and the same as
 * containerd.task.v3.Task for 2.0 and later.
 *
 * All methods are served but Checkpoint, which is refused. Codes: NOT_FOUND for an unknown task or
 * exec and for signals to a finished one, ALREADY_EXISTS, FAILED_PRECONDITION for the wrong state,
 * INVALID_ARGUMENT for a bundle that is wrong, UNAVAILABLE without machine or agent.
 *
 * The pid of a process is the VMM's, or in a pod that of a thread which stands for its container
 * (shim/pid_sharing.h): the host has no other. Pids alone has the guest's numbers,
 * of all processes there are. Kill with `all` reaches these, too. Stats are the guest's, in the
 * words of the host's cgroups (shim/stats.h); those of a pod's sandbox container are the machine's.
 */
#pragma once

struct ttrpc_server;

/* The server's userdata is the struct shim. */
void task_service_add(struct ttrpc_server *server);
