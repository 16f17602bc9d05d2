/* The socket of a sandbox's shim, by which containerd reaches it, and kiln-ctl for an operator.
 *
 * It is SHIM_DIR/<SHA-256 of containerd's address, namespace and the sandbox's id>, mode 0600:
 * root's alone, and the shim refuses others as well. It is there before the shim takes calls, and
 * goes with it. Whoever looks for a sandbox by its id asks all that are there
 * (kiln.shim.v1.Operator). A shim that does not answer is known by its command line, whose words
 * make the socket's name.
 *
 * A killed shim leaves its socket. Who finds nobody behind one removes it (socket_remove_dead() of
 * base/socket.h).
 */
#pragma once

#define SHIM_DIR "/run/kiln/shims"

/* containerd_address: of its gRPC socket, as it tells the shim. The caller frees. */
char *shim_socket_path(const char *containerd_address, const char *ns, const char *sandbox_id);
