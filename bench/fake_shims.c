#include "bench/fake_shims.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/loop.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/strbuf.h"
#include "proto/operator.pb-c.h"
#include "proto/ttrpc_server.h"

struct fake_shims {
	pid_t *pids; /* owned */
	unsigned count;
};

/* In the child: who it is, and what its guest says. */
struct fake_shim {
	char *id;
	struct strbuf metrics;
};

/* ---------------------------------------------------------------- a shim */

static void on_inspect(struct ttrpc_call *call, const ProtobufCMessage *request _unused_,
		       void *userdata)
{
	const struct fake_shim *shim = userdata;
	Kiln__Shim__V1__SandboxInfo info = KILN__SHIM__V1__SANDBOX_INFO__INIT;
	Kiln__Shim__V1__Machine machine = KILN__SHIM__V1__MACHINE__INIT;
	Kiln__Shim__V1__Pod pod = KILN__SHIM__V1__POD__INIT;
	Kiln__Shim__V1__ContainerInfo container = KILN__SHIM__V1__CONTAINER_INFO__INIT;
	Kiln__Shim__V1__ContainerInfo *containers[] = { &container };

	machine.vm_id = machine.template_id = shim->id;
	machine.origin = (char *)"pooled";
	machine.vcpus = 1;
	machine.memory_mib = 256;
	machine.claimed_ms = clock_realtime_ns() / 1000000;
	machine.vmm_pid = (uint32_t)getpid();
	pod.name = pod.uid = shim->id;
	pod.namespace_ = (char *)"bench";
	container.id = shim->id;
	container.state = (char *)"running";
	container.bundle = (char *)"/nonexistent";
	info.sandbox_id = shim->id;
	info.namespace_ = (char *)"k8s.io";
	info.state = (char *)"running";
	info.version = (char *)KILN_VERSION;
	info.shim_pid = (uint32_t)getpid();
	info.pod = &pod;
	info.machine = &machine;
	info.containers = containers;
	info.n_containers = 1;
	ttrpc_call_reply(call, &info.base);
}

static void on_guest_metrics(struct ttrpc_call *call, const ProtobufCMessage *request _unused_,
			     void *userdata)
{
	const struct fake_shim *shim = userdata;
	Grpc__Metrics metrics = GRPC__METRICS__INIT;

	metrics.metrics = (char *)(uintptr_t)strbuf_text(&shim->metrics);
	ttrpc_call_reply(call, &metrics.base);
}

static const struct ttrpc_method methods[] = {
	{ "Inspect", on_inspect },
	{ "GuestMetrics", on_guest_metrics },
};

/* As many lines as the agent writes. */
static void write_metrics(struct fake_shim *shim)
{
	static const char *const modes[] = { "user",   "nice", "system",  "idle",
					     "iowait", "irq",  "softirq", "steal" };
	static const char *const items[] = { "MemTotal", "MemFree", "MemAvailable", "Buffers",
					     "Cached",   "Active",  "Inactive",     "AnonPages",
					     "Mapped",   "Shmem",   "Slab",         "KernelStack" };

	for (unsigned minutes = 1; minutes <= 15; minutes += minutes == 1 ? 4 : 10)
		strbuf_addf(&shim->metrics, "kiln_guest_load{minutes=\"%u\"} 0.25\n", minutes);
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		strbuf_addf(&shim->metrics, "kiln_guest_cpu_seconds_total{mode=\"%s\"} 12.34\n",
			    modes[i]);
	for (size_t i = 0; i < ARRAY_SIZE(items); i++)
		strbuf_addf(&shim->metrics, "kiln_guest_memory_bytes{item=\"%s\"} 245760000\n",
			    items[i]);
	strbuf_adds(&shim->metrics,
		    "kiln_agent_open_files 17\nkiln_agent_resident_bytes 1500000\n");
	strbuf_addf(&shim->metrics, "kiln_container_cpu_seconds_total{container=\"%s\"} 1.5\n",
		    shim->id);
	strbuf_addf(&shim->metrics, "kiln_container_memory_bytes{container=\"%s\"} 4096\n",
		    shim->id);
	strbuf_addf(&shim->metrics, "kiln_container_processes{container=\"%s\"} 1\n", shim->id);
}

static void serve(int fd, unsigned number)
{
	struct fake_shim shim = { .id = xasprintf("fake-%03u", number) };
	const struct ttrpc_service service = {
		.descriptor = &kiln__shim__v1__operator__descriptor,
		.methods = methods,
		.nmethods = ARRAY_SIZE(methods),
	};
	struct loop *loop = loop_new();
	struct ttrpc_server *server = ttrpc_server_new(
		loop, &(struct ttrpc_server_options){ .userdata = &shim });

	write_metrics(&shim);
	ttrpc_server_add(server, &service);
	ttrpc_server_listen(server, fd);
	loop_run(loop);
}

/* ---------------------------------------------------------------- all of them */

static int start_one(const char *dir, unsigned number, bool hangs, pid_t *ret_pid,
		     struct error *err)
{
	_cleanup_free_ char *path = xasprintf("%s/fake-%03u", dir, number);
	pid_t parent = getpid();
	int fd, r = socket_listen_unix(path, 0600, &fd, err);

	if (r < 0)
		return r;
	pid_t pid = fork();
	if (pid == 0) {
		signal(SIGTERM, SIG_DFL);
		signal(SIGINT, SIG_DFL);
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
			_exit(EXIT_FAILURE);
		if (!hangs)
			serve(fd, number);
		for (;;)
			pause();
	}
	close(fd);
	if (pid < 0)
		return error_set_errno(err, errno, "cannot start a shim that answers metrics");
	*ret_pid = pid;
	return 0;
}

int fake_shims_start(const char *dir, unsigned count, unsigned hanging,
		     struct fake_shims **ret_shims, struct error *err)
{
	struct fake_shims *shims = xnew(struct fake_shims);

	shims->pids = xnew_array(pid_t, count);
	for (; shims->count < count; shims->count++) {
		int r = start_one(dir, shims->count, shims->count < hanging,
				  &shims->pids[shims->count], err);
		if (r < 0) {
			fake_shims_stop(shims);
			return r;
		}
	}
	*ret_shims = shims;
	return 0;
}

void fake_shims_stop(struct fake_shims *shims)
{
	if (!shims)
		return;
	for (unsigned i = 0; i < shims->count; i++)
		kill(shims->pids[i], SIGKILL);
	for (unsigned i = 0; i < shims->count; i++)
		(void)waitpid(shims->pids[i], NULL, 0);
	free(shims->pids);
	free(shims);
}
