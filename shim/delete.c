#include "shim/delete.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/pidfd.h"
#include "base/socket.h"
#include "base/strings.h"
#include "factory/client/reap.h"
#include "proto/task.pb-c.h"
#include "proto/ttrpc_client.h"
#include "shim/bundle.h"
#include "shim/hooks.h"
#include "shim/pod_cgroup.h"
#include "shim/pod_network.h"
#include "shim/spec.h"
#include "shim/timestamp.h"

static int print_response(uint32_t pid, struct error *err)
{
	Containerd__Task__V2__DeleteResponse response = CONTAINERD__TASK__V2__DELETE_RESPONSE__INIT;
	Google__Protobuf__Timestamp now = timestamp_from_ns(clock_realtime_ns());
	uint8_t data[64];
	size_t len;

	response.pid = pid;
	response.exit_status = 128 + SIGKILL;
	response.exited_at = &now;
	len = containerd__task__v2__delete_response__get_packed_size(&response);
	if (len > sizeof(data))
		return error_set(err, EOVERFLOW, "the response has %zu bytes", len);
	containerd__task__v2__delete_response__pack(&response, data);
	if (write_full(STDOUT_FILENO, data, len) < 0)
		return error_set_errno(err, errno, "cannot write the response");
	return 0;
}

/* False where nobody answers, or not in time; a refusal is an answer. */
static bool ask(struct ttrpc_client *client, struct loop *loop, const char *method,
		const ProtobufCMessage *request)
{
	const struct ttrpc_call_options call = {
		.service = &containerd__task__v2__task__descriptor,
		.method = method,
		.request = request,
		.timeout_ms = DELETE_WAIT_MS,
	};
	ProtobufCMessage *response = NULL;
	int r = ttrpc_client_call_wait(client, loop, &call, &response, NULL, NULL, NULL);

	if (response)
		protobuf_c_message_free_unpacked(response, NULL);
	return r != -ETIMEDOUT && ttrpc_client_connected(client);
}

/* As containerd would have, had it not lost the shim or given up on the container. */
static void ask_to_end(struct ttrpc_client *client, struct loop *loop, const char *id)
{
	Containerd__Task__V2__KillRequest kill_request = CONTAINERD__TASK__V2__KILL_REQUEST__INIT;
	Containerd__Task__V2__WaitRequest wait_request = CONTAINERD__TASK__V2__WAIT_REQUEST__INIT;
	Containerd__Task__V2__DeleteRequest delete_request =
		CONTAINERD__TASK__V2__DELETE_REQUEST__INIT;
	Containerd__Task__V2__ShutdownRequest shutdown_request =
		CONTAINERD__TASK__V2__SHUTDOWN_REQUEST__INIT;

	kill_request.id = wait_request.id = delete_request.id = shutdown_request.id = (char *)id;
	kill_request.signal = SIGKILL;
	kill_request.all = true;
	(void)(ask(client, loop, "Kill", &kill_request.base) &&
	       ask(client, loop, "Wait", &wait_request.base) &&
	       ask(client, loop, "Delete", &delete_request.base) &&
	       ask(client, loop, "Shutdown", &shutdown_request.base));
}

/* A shim that is about to end has closed its socket already. */
static void tell_shim(const char *bundle, const char *id)
{
	_cleanup_free_ char *address = bundle_read_address(bundle);
	int fd;

	if (!address || socket_connect(address, &fd, NULL) < 0)
		return;

	_cleanup_(loop_free_cleanup) struct loop *loop = loop_new();
	struct ttrpc_client *client = ttrpc_client_new(loop, fd, NULL);

	ask_to_end(client, loop, id);
	ttrpc_client_free(client);
}

/* True once the shim has ended; blocks. */
static bool wait_for_shim(const struct bundle_machine *machine)
{
	_cleanup_close_ int pidfd = -EBADF;
	struct pollfd poll_fd;

	if (process_open(machine->shim_pid, machine->shim_start_time, &pidfd) < 0)
		return true;
	poll_fd = (struct pollfd){ .fd = pidfd, .events = POLLIN };
	return poll(&poll_fd, 1, DELETE_WAIT_MS) > 0;
}

/* What the shim left at the pod's interfaces, where CNI keeps the namespace, in the pod's control
 * group, and what its hooks began. */
static void leave_host(const struct arguments *arguments, const char *bundle, const char *vm_id)
{
	_cleanup_(spec_free_cleanup) struct spec *spec = NULL;
	_cleanup_free_ char *group = NULL;

	if (spec_load(bundle, &spec, NULL) < 0)
		return;

	const Grpc__LinuxNamespace *network = spec_namespace(spec, "network");

	if (network && !str_empty(network->path))
		pod_network_clean(network->path, vm_id);
	if (spec->oci->linux && pod_cgroup_find(spec->oci->linux->cgroupspath, &group, NULL) == 0 &&
	    group)
		pod_cgroup_leave(group, vm_id);
	hooks_run_stop(spec, arguments->id, bundle);
}

static int clean(const struct arguments *arguments, const char *bundle, uint32_t *ret_pid,
		 struct error *err)
{
	_cleanup_(bundle_machine_done) struct bundle_machine machine = {};
	int r;

	r = bundle_read_machine(bundle, &machine, err);
	tell_shim(bundle, arguments->id);
	if (r == -ENOENT) {
		error_done(err);
		return 0;
	}
	if (r < 0)
		return r;
	*ret_pid = (uint32_t)machine.vmm_pid;
	/* It is gone where the pod's other containers go on, or the shim ended as it should. */
	if (!bundle_has_machine(bundle) || !wait_for_shim(&machine) || !bundle_has_machine(bundle))
		return 0;
	r = reap_machine(machine.run_dir, machine.vm_id, err);
	if (r < 0)
		return r;
	leave_host(arguments, bundle, machine.vm_id);
	bundle_remove_machine(bundle);
	return 0;
}

int delete_run(const struct arguments *arguments, struct error *err)
{
	_cleanup_free_ char *bundle = *arguments->bundle ? xstrdup(arguments->bundle)
							 : getcwd(NULL, 0);
	uint32_t pid = 0;
	int r;

	r = bundle ? clean(arguments, bundle, &pid, err) : 0;
	if (r < 0)
		return r;
	if (bundle)
		bundle_remove_dead_socket(bundle);
	return print_response(pid, err);
}
