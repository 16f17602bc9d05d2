/* Pods by CRI, the calls that a kubelet makes, on the containerd of --cri (proto/cri.proto). Each
 * call returns when it was answered. */
#pragma once

#include "bench/bench.h"
#include "bench/grpc.h"

/* What they are called in containerd's configuration. */
#define CRI_KILN "kiln"
#define CRI_RUNC "runc"

/* Of containers of pods: containerd's own namespace for CRI. */
#define CRI_NAMESPACE "k8s.io"

/* The factory's cache has the image that pods run, and containerd is connected to. */
_must_check_ int cri_connect(struct bench *bench, struct grpc_client **ret_client,
			     struct error *err);

struct cri_pod;

/* A pod that does not run yet, with a name of its own. Its control groups are below one that is
 * named after the bench's namespace. client and handler are borrowed. */
struct cri_pod *cri_pod_new(struct bench *bench, struct grpc_client *client, const char *handler);
/* Stops and removes it, where that was not done. */
void cri_pod_free(struct cri_pod *pod);
DEFINE_CLEANUP(struct cri_pod *, cri_pod_free)

const char *cri_pod_id(const struct cri_pod *pod); /* containerd's; NULL before it runs */

/* RunPodSandbox: a pod with a network of CNI's. */
_must_check_ int cri_pod_run(struct cri_pod *pod, struct error *err);
/* StopPodSandbox: what runs in it is killed, its network is taken away. */
_must_check_ int cri_pod_stop(struct cri_pod *pod, struct error *err);
/* RemovePodSandbox, with all its containers. */
_must_check_ int cri_pod_remove(struct cri_pod *pod, struct error *err);
/* The address that CNI gave it; the caller frees. */
_must_check_ int cri_pod_address(struct cri_pod *pod, char **ret_address, struct error *err);

/* CreateContainer, which does not start it; command as of SPAWN_ARGV. The caller frees *ret_id. */
_must_check_ int cri_container_create(struct cri_pod *pod, const char *name, const char *image,
				      char *const *command, char **ret_id, struct error *err);
/* StartContainer */
_must_check_ int cri_container_start(struct cri_pod *pod, const char *id, struct error *err);
/* The two; for who does not measure them. */
_must_check_ int cri_container_run(struct cri_pod *pod, const char *name, const char *image,
				   char *const *command, char **ret_id, struct error *err);
/* ExecSync: returns when the command has ended. A status other than 0 is -EIO with what it wrote to
 * stderr. ret_output (stdout; the caller frees) may be NULL. */
_must_check_ int cri_container_exec(struct cri_pod *pod, const char *id, char *const *command,
				    char **ret_output, struct error *err);
