/* `start`: makes the shim's server process and prints its address, or prints the address of the
 * pod's shim that is there already.
 *
 * The containers of a pod share one shim: the annotation io.kubernetes.cri.sandbox-id in
 * config.json (or io.kubernetes.cri-o.SandboxID, or io.containerd.runc.v2.group) names the group,
 * else the container's id does. Where containerd 2.x makes a pod by the Sandbox service there may
 * be no config.json: the id is the pod's then. The socket is named after it (proto/shim_socket.h),
 * so every `start` of the group finds it.
 *
 * On success nothing but the answer (shim/bootstrap.h) goes to stdout and nothing at all to stderr:
 * containerd reads both as the answer.
 */
#pragma once

#include "base/error.h"
#include "shim/arguments.h"

/* Returns in both processes: 0 in the one that has printed the address, 1 in the server after
 * its end. Closes every inherited descriptor above 2. */
_must_check_ int start_run(const struct arguments *arguments, struct error *err);
