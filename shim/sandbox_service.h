/* containerd.runtime.sandbox.v1.Sandbox, which containerd 2.x calls where a runtime's sandboxer is
 * "shim": the pod is made by it (shim/pod.h), and no pause container runs. SandboxMetrics are the
 * guest's as a whole, in the words of the host's cgroups (shim/stats.h). */
#pragma once

struct ttrpc_server;

/* The server's userdata is the struct shim. */
void sandbox_service_add(struct ttrpc_server *server);
