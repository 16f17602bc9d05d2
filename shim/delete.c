#include "shim/delete.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/pidfd.h"
#include "base/strings.h"
#include "factory/client/reap.h"
#include "proto/task.pb-c.h"
#include "shim/bundle.h"
#include "shim/hooks.h"
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

/* What the shim left at the pod's interfaces, where CNI keeps the namespace, and what its hooks
 * began. */
static void leave_host(const struct arguments *arguments, const char *bundle)
{
	_cleanup_(spec_free_cleanup) struct spec *spec = NULL;

	if (spec_load(bundle, &spec, NULL) < 0)
		return;

	const Grpc__LinuxNamespace *network = spec_namespace(spec, "network");

	if (network && !str_empty(network->path))
		pod_network_clean(network->path);
	hooks_run_stop(spec, arguments->id, bundle);
}

static int clean(const struct arguments *arguments, const char *bundle, uint32_t *ret_pid,
		 struct error *err)
{
	_cleanup_(bundle_machine_done) struct bundle_machine machine = {};
	int r;

	r = bundle_read_machine(bundle, &machine, err);
	if (r == -ENOENT) {
		error_done(err);
		return 0;
	}
	if (r < 0)
		return r;
	*ret_pid = (uint32_t)machine.vmm_pid;
	if (!wait_for_shim(&machine) || !bundle_has_machine(bundle)) /* it ended as it should */
		return 0;
	r = reap_machine(machine.run_dir, machine.vm_id, err);
	if (r < 0)
		return r;
	leave_host(arguments, bundle);
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
