#include "bench/cri.h"

#include "base/memory.h"
#include "bench/ctr.h"
#include "proto/cri.pb-c.h"

#define CALL_TIMEOUT_MS 120000
#define EXEC_TIMEOUT_S  60
#define PODS_NAMESPACE  "bench" /* of Kubernetes */

struct cri_pod {
	struct grpc_client *client; /* borrowed */
	const char *handler;        /* borrowed */
	char *cgroup_parent;        /* owned; absolute */
	char *name;                 /* owned */
	char *id;                   /* owned; NULL before it runs */
	bool removed;
};

/* *ret_response may be NULL: what is answered does not matter. */
static int call(struct cri_pod *pod, const char *method, const ProtobufCMessage *request,
		ProtobufCMessage **ret_response, struct error *err)
{
	ProtobufCMessage *response = NULL;

	int r = grpc_call(pod->client, &runtime__v1__runtime_service__descriptor, method, request,
			  CALL_TIMEOUT_MS, &response, err);
	if (r < 0) {
		error_wrap(err, "pod %s of %s", pod->name, pod->handler);
		return r;
	}
	if (ret_response)
		*ret_response = response;
	else
		protobuf_c_message_free_unpacked(response, NULL);
	return 0;
}

static void message_free(ProtobufCMessage **message)
{
	if (*message)
		protobuf_c_message_free_unpacked(*message, NULL);
}

static size_t count_of(char *const *words)
{
	size_t count = 0;

	while (words[count])
		count++;
	return count;
}

int cri_connect(struct bench *bench, struct grpc_client **ret_client, struct error *err)
{
	const struct bench_options *options = &bench->options;

	int r = image_prepare(options->factory, options->cri, CRI_NAMESPACE, options->pods_image,
			      err);
	return r < 0 ? r : grpc_client_new(bench->loop, options->cri, ret_client, err);
}

/* ---------------------------------------------------------------- pods */

/* What says of the pod what it is: in RunPodSandbox, and once more for each container. */
struct pod_words {
	Runtime__V1__PodSandboxMetadata metadata;
	Runtime__V1__NamespaceOption namespaces;
	Runtime__V1__LinuxSandboxSecurityContext security;
	Runtime__V1__LinuxPodSandboxConfig linux;
	Runtime__V1__PodSandboxConfig config;
};

/* As a kubelet has it where a pod's spec says nothing: a pid namespace for each container, which is
 * said of the pod and of the container. */
static void pod_describe(const struct cri_pod *pod, struct pod_words *ret_words)
{
	struct pod_words *words = ret_words;

	*words = (struct pod_words){
		.metadata = RUNTIME__V1__POD_SANDBOX_METADATA__INIT,
		.namespaces = RUNTIME__V1__NAMESPACE_OPTION__INIT,
		.security = RUNTIME__V1__LINUX_SANDBOX_SECURITY_CONTEXT__INIT,
		.linux = RUNTIME__V1__LINUX_POD_SANDBOX_CONFIG__INIT,
		.config = RUNTIME__V1__POD_SANDBOX_CONFIG__INIT,
	};
	words->metadata.name = pod->name;
	words->metadata.uid = pod->name;
	words->metadata.namespace_ = (char *)PODS_NAMESPACE;
	words->namespaces.pid = RUNTIME__V1__NAMESPACE_MODE__CONTAINER;
	words->security.namespace_options = &words->namespaces;
	words->linux.cgroup_parent = pod->cgroup_parent;
	words->linux.security_context = &words->security;
	words->config.metadata = &words->metadata;
	words->config.hostname = pod->name;
	words->config.linux = &words->linux;
}

struct cri_pod *cri_pod_new(struct bench *bench, struct grpc_client *client, const char *handler)
{
	struct cri_pod *pod = xnew(struct cri_pod);

	pod->client = client;
	pod->handler = handler;
	pod->cgroup_parent = xasprintf("/%s", bench->options.namespace_);
	pod->name = bench_id(bench);
	return pod;
}

void cri_pod_free(struct cri_pod *pod)
{
	if (!pod)
		return;
	if (pod->id && !pod->removed) {
		(void)!cri_pod_stop(pod, NULL);
		(void)!cri_pod_remove(pod, NULL);
	}
	free(pod->cgroup_parent);
	free(pod->name);
	free(pod->id);
	free(pod);
}

const char *cri_pod_id(const struct cri_pod *pod)
{
	return pod->id;
}

int cri_pod_run(struct cri_pod *pod, struct error *err)
{
	Runtime__V1__RunPodSandboxRequest request = RUNTIME__V1__RUN_POD_SANDBOX_REQUEST__INIT;
	_cleanup_(message_free) ProtobufCMessage *response = NULL;
	struct pod_words words;

	pod_describe(pod, &words);
	request.config = &words.config;
	request.runtime_handler = (char *)pod->handler;
	int r = call(pod, "RunPodSandbox", &request.base, &response, err);
	if (r == 0)
		pod->id = xstrdup(((Runtime__V1__RunPodSandboxResponse *)response)->pod_sandbox_id);
	return r;
}

int cri_pod_stop(struct cri_pod *pod, struct error *err)
{
	Runtime__V1__StopPodSandboxRequest request = RUNTIME__V1__STOP_POD_SANDBOX_REQUEST__INIT;

	request.pod_sandbox_id = pod->id;
	return call(pod, "StopPodSandbox", &request.base, NULL, err);
}

int cri_pod_remove(struct cri_pod *pod, struct error *err)
{
	Runtime__V1__RemovePodSandboxRequest request =
		RUNTIME__V1__REMOVE_POD_SANDBOX_REQUEST__INIT;

	request.pod_sandbox_id = pod->id;
	int r = call(pod, "RemovePodSandbox", &request.base, NULL, err);
	pod->removed = r == 0;
	return r;
}

int cri_pod_address(struct cri_pod *pod, char **ret_address, struct error *err)
{
	Runtime__V1__PodSandboxStatusRequest request =
		RUNTIME__V1__POD_SANDBOX_STATUS_REQUEST__INIT;
	_cleanup_(message_free) ProtobufCMessage *response = NULL;

	request.pod_sandbox_id = pod->id;
	int r = call(pod, "PodSandboxStatus", &request.base, &response, err);
	if (r < 0)
		return r;
	const Runtime__V1__PodSandboxStatus *status =
		((Runtime__V1__PodSandboxStatusResponse *)response)->status;
	if (!status || !status->network || str_empty(status->network->ip))
		return error_set(err, ENOENT, "pod %s of %s has no address", pod->name,
				 pod->handler);
	*ret_address = xstrdup(status->network->ip);
	return 0;
}

/* ---------------------------------------------------------------- containers */

int cri_container_create(struct cri_pod *pod, const char *name, const char *image,
			 char *const *command, char **ret_id, struct error *err)
{
	Runtime__V1__CreateContainerRequest request = RUNTIME__V1__CREATE_CONTAINER_REQUEST__INIT;
	Runtime__V1__ContainerConfig config = RUNTIME__V1__CONTAINER_CONFIG__INIT;
	Runtime__V1__ContainerMetadata metadata = RUNTIME__V1__CONTAINER_METADATA__INIT;
	Runtime__V1__ImageSpec spec = RUNTIME__V1__IMAGE_SPEC__INIT;
	Runtime__V1__LinuxContainerConfig linux = RUNTIME__V1__LINUX_CONTAINER_CONFIG__INIT;
	Runtime__V1__LinuxContainerSecurityContext security =
		RUNTIME__V1__LINUX_CONTAINER_SECURITY_CONTEXT__INIT;
	_cleanup_(message_free) ProtobufCMessage *response = NULL;
	struct pod_words words;

	pod_describe(pod, &words);
	metadata.name = (char *)name;
	spec.image = (char *)image;
	config.metadata = &metadata;
	config.image = &spec;
	security.namespace_options = &words.namespaces;
	linux.security_context = &security;
	config.linux = &linux;
	config.command = (char **)command;
	config.n_command = count_of(command);
	request.pod_sandbox_id = pod->id;
	request.config = &config;
	request.sandbox_config = &words.config;
	int r = call(pod, "CreateContainer", &request.base, &response, err);
	if (r == 0)
		*ret_id = xstrdup(((Runtime__V1__CreateContainerResponse *)response)->container_id);
	return r;
}

int cri_container_start(struct cri_pod *pod, const char *id, struct error *err)
{
	Runtime__V1__StartContainerRequest request = RUNTIME__V1__START_CONTAINER_REQUEST__INIT;

	request.container_id = (char *)id;
	return call(pod, "StartContainer", &request.base, NULL, err);
}

int cri_container_run(struct cri_pod *pod, const char *name, const char *image,
		      char *const *command, char **ret_id, struct error *err)
{
	_cleanup_free_ char *id = NULL;

	int r = cri_container_create(pod, name, image, command, &id, err);
	if (r == 0)
		r = cri_container_start(pod, id, err);
	if (r == 0)
		*ret_id = steal_ptr(id);
	return r;
}

int cri_container_exec(struct cri_pod *pod, const char *id, char *const *command, char **ret_output,
		       struct error *err)
{
	Runtime__V1__ExecSyncRequest request = RUNTIME__V1__EXEC_SYNC_REQUEST__INIT;
	_cleanup_(message_free) ProtobufCMessage *response = NULL;

	request.container_id = (char *)id;
	request.cmd = (char **)command;
	request.n_cmd = count_of(command);
	request.timeout = EXEC_TIMEOUT_S;
	int r = call(pod, "ExecSync", &request.base, &response, err);
	if (r < 0)
		return r;
	const Runtime__V1__ExecSyncResponse *answer = (Runtime__V1__ExecSyncResponse *)response;
	if (answer->exit_code != 0)
		return error_set(err, EIO, "%s in pod %s of %s: status %d: %.*s", command[0],
				 pod->name, pod->handler, answer->exit_code,
				 (int)answer->stderr.len, (const char *)answer->stderr.data);
	if (ret_output)
		*ret_output = xstrndup((const char *)answer->stdout.data, answer->stdout.len);
	return 0;
}
