#include "shim/shim.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/param.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "proto/ttrpc_server.h"
#include "shim/bundle.h"
#include "shim/console.h"
#include "shim/hooks.h"
#include "shim/operator_service.h"
#include "shim/pod.h"
#include "shim/sandbox_service.h"
#include "shim/spec.h"
#include "shim/sysctls.h"
#include "shim/task_service.h"
#include "shim/volume_service.h"

#define DRAIN_TIMEOUT_MS  5000
#define HANGUP_TIMEOUT_MS 1000
#define FORGOTTEN_MS      60000
#define ENDING_MS         10000

struct shim {
	struct loop *loop;
	char *id;
	char *socket_path;
	char *address; /* of that socket */
	char *ns;      /* containerd's namespace */
	struct ttrpc_server *server;
	struct sandbox *sandbox;
	struct pod *pod;
	struct events *events;
	struct console *console;
	struct container_list containers;
	struct sysctls sysctls;
	char *last_bundle; /* its machine file is removed with the machine */
	size_t conns;
	bool stopping;
	bool drained; /* nothing is left to do but to let containerd hang up */
	struct loop_signal *sigterm;
	struct loop_timer *hangup;
	struct loop_timer *ending;    /* runs while containers of a sandbox that is over may end */
	size_t nending;               /* of them, that have not */
	struct loop_timer *forgotten; /* runs while there is neither container nor pod */
	uint64_t forgotten_ms;
};

static bool is_empty(const struct shim *shim)
{
	return TAILQ_EMPTY(&shim->containers) && !pod_has_machine(shim->pod);
}

static void watch_for_oblivion(struct shim *shim)
{
	if (is_empty(shim))
		loop_timer_start(shim->forgotten, shim->forgotten_ms);
	else
		loop_timer_stop(shim->forgotten);
}

static void on_machine_gone(void *userdata)
{
	struct shim *shim = userdata;

	if (shim->last_bundle)
		bundle_remove_machine(shim->last_bundle);
	free(steal_ptr(shim->last_bundle));
}

/* A container's machine file outlives it while it is the only one to name the machine. After a
 * failed first container nobody needs the machine; after a deleted one Shutdown follows, or the
 * pod's next container. Not so with a pod of the Sandbox service, whose machine it is: `delete`
 * would wait for the shim. */
static void on_container_gone(struct container *container, bool failed, void *userdata)
{
	struct shim *shim = userdata;

	container_list_remove(&shim->containers, container);
	if (is_empty(shim))
		replace_string(&shim->last_bundle, container_bundle(container));
	else
		bundle_remove_machine(container_bundle(container));
	if (failed && is_empty(shim) && !shim->stopping)
		sandbox_release(shim->sandbox, on_machine_gone, shim);
	container_unref(container);
	watch_for_oblivion(shim);
}

static void lose_containers(struct shim *shim, uint32_t exit_status)
{
	struct container *container, *next;

	for (container = TAILQ_FIRST(&shim->containers); container; container = next) {
		next = container_list_next(container);
		container_lost(container, exit_status);
	}
}

static void on_sandbox_lost(enum guest_loss loss, void *userdata)
{
	struct shim *shim = userdata;

	uint32_t status = loss == GUEST_SILENT ? PROCESS_KILLED_STATUS : PROCESS_LOST_STATUS;

	lose_containers(shim, status);
	pod_end(shim->pod, status);
	sandbox_release(shim->sandbox, NULL, NULL);
}

static void on_oom(const char *container_id, void *userdata)
{
	struct shim *shim = userdata;
	struct container *container = container_list_find(&shim->containers, container_id);

	if (container)
		container_tell_oom(container);
}

static uint64_t used_ms(void *userdata)
{
	struct shim *shim = userdata;
	struct container *container;
	uint64_t last = 0;

	for (container = TAILQ_FIRST(&shim->containers); container;
	     container = container_list_next(container))
		last = MAX(last, container_used_ms(container));
	return console_is_used(shim->console) ? clock_monotonic_ms() : last;
}

/* What has not ended by now is killed with the machine. */
static void end_sandbox(void *userdata)
{
	struct shim *shim = userdata;

	loop_timer_stop(shim->ending);
	if (shim->stopping)
		return;
	lose_containers(shim, PROCESS_KILLED_STATUS);
	pod_end(shim->pod, 0);
	sandbox_release(shim->sandbox, NULL, NULL);
	watch_for_oblivion(shim);
}

static void on_one_ended(int number _unused_, const struct error *err _unused_, void *userdata)
{
	struct shim *shim = userdata;

	if (--shim->nending == 0)
		loop_timer_start(shim->ending, 0);
}

static void on_terminated(int number _unused_, const struct error *err _unused_,
			  void *userdata _unused_)
{
}

/* As a stop does it: SIGTERM, and time to end. */
static void on_over(const char *why, void *userdata)
{
	struct shim *shim = userdata;
	struct container *container;

	log_warning(shim->id, "the sandbox is ended: %s", why);
	loop_timer_start(shim->ending, ENDING_MS);
	shim->nending = 1;
	for (container = TAILQ_FIRST(&shim->containers); container;
	     container = container_list_next(container)) {
		shim->nending++;
		process_kill(container_init(container), SIGTERM, false, on_terminated, NULL);
		process_wait(container_init(container), on_one_ended, shim);
	}
	on_one_ended(0, NULL, shim);
}

static int on_accept(int fd _unused_, const struct peer *peer, void *userdata)
{
	struct shim *shim = userdata;

	if (peer->uid != 0 && peer->uid != geteuid())
		return -EACCES;
	shim->conns++;
	return 0;
}

/* Whoever looks at the sandboxes of the host again and again does not keep one alive that
 * containerd has forgotten. */
static bool on_call(struct ttrpc_call *call _unused_, const ProtobufCMessage *request,
		    void *userdata)
{
	if (!operator_service_asks(request))
		watch_for_oblivion(userdata);
	return true;
}

static void end(void *userdata)
{
	struct shim *shim = userdata;

	loop_stop(shim->loop);
}

static void on_conn_end(struct ttrpc_conn *conn, void *userdata)
{
	struct shim *shim = userdata;

	console_hang_up(shim->console, conn);
	shim->conns--;
	if (shim->drained && shim->conns == 0)
		end(shim);
}

static void on_drained(void *userdata)
{
	struct shim *shim = userdata;

	shim->drained = true;
	if (shim->conns == 0)
		end(shim);
	else
		loop_timer_start(shim->hangup, HANGUP_TIMEOUT_MS);
}

static void on_released(void *userdata)
{
	struct shim *shim = userdata;

	on_machine_gone(shim);
	events_drain(shim->events, DRAIN_TIMEOUT_MS, on_drained, shim);
}

static void stop(struct shim *shim)
{
	if (shim->stopping)
		return;
	shim->stopping = true;
	log_debug(shim->id, "shutting down");
	ttrpc_server_stop_listening(shim->server);
	shim_socket_remove(shim->socket_path);
	sandbox_release(shim->sandbox, on_released, shim);
}

static void on_sigterm(int signo _unused_, void *userdata)
{
	struct shim *shim = userdata;

	log_info(shim->id, "SIGTERM: the sandbox is ended");
	lose_containers(shim, PROCESS_LOST_STATUS);
	pod_end(shim->pod, PROCESS_LOST_STATUS);
	stop(shim);
}

static void on_forgotten(void *userdata)
{
	struct shim *shim = userdata;

	if (ttrpc_server_calls(shim->server) > 0 || !is_empty(shim)) {
		watch_for_oblivion(shim);
		return;
	}
	log_warning(shim->id,
		    "forgotten by containerd: there is no container, and nothing is asked");
	stop(shim);
}

static void make_parts(struct shim *shim, const struct shim_options *options)
{
	struct sandbox_options sandbox = {
		.loop = shim->loop,
		.id = options->id,
		.ns = options->ns,
		.on_lost = on_sandbox_lost,
		.on_given_up = on_machine_gone,
		.on_oom = on_oom,
		.used_ms = used_ms,
		.on_over = on_over,
		.userdata = shim,
	};
	struct ttrpc_server_options server = {
		.userdata = shim,
		.on_accept = on_accept,
		.on_call = on_call,
		.on_conn_end = on_conn_end,
	};

	shim->sandbox = sandbox_new(&sandbox);
	shim->pod = pod_new(shim->loop, shim->sandbox);
	shim->console = console_new(shim->loop, shim->sandbox, shim->ns);
	shim->events = events_new(shim->loop, options->events_address, options->ns, options->id);
	shim->sigterm = loop_signal_new(shim->loop, SIGTERM, on_sigterm, shim);
	shim->hangup = loop_timer_new(shim->loop, end, shim);
	shim->ending = loop_timer_new(shim->loop, end_sandbox, shim);
	shim->forgotten = loop_timer_new(shim->loop, on_forgotten, shim);
	shim->server = ttrpc_server_new(shim->loop, &server);
	task_service_add(shim->server);
	sandbox_service_add(shim->server);
	volume_service_add(shim->server);
	operator_service_add(shim->server);
	ttrpc_server_listen(shim->server, options->listen_fd);
}

struct shim *shim_new(const struct shim_options *options)
{
	struct shim *shim = xnew(struct shim);

	shim->loop = options->loop;
	shim->id = xstrdup(options->id);
	shim->ns = xstrdup(options->ns);
	shim->socket_path = xstrdup(options->socket_path);
	shim->address = xasprintf("unix://%s", options->socket_path);
	shim->forgotten_ms = options->forgotten_ms ? options->forgotten_ms : FORGOTTEN_MS;
	TAILQ_INIT(&shim->containers);
	make_parts(shim, options);
	watch_for_oblivion(shim);
	return shim;
}

/* What is wrong is said by Create. */
void shim_prepare(struct shim *shim, const Google__Protobuf__Any *options, const struct spec *spec)
{
	struct settings settings = {};

	pod_set_options(shim->pod, options);
	if (!spec->oci->process)
		return;
	/* What hooks do comes before a pod's network is read. */
	if (hooks_come_first(spec) || settings_load(options, &settings, NULL) < 0)
		return;
	if (settings_annotate(&settings, spec, NULL) == 0)
		sandbox_prepare(shim->sandbox, &settings, spec->oci->hostname);
	settings_done(&settings);
}

static void end_containers(struct shim *shim)
{
	struct container *container, *next;

	for (container = TAILQ_FIRST(&shim->containers); container; container = next) {
		next = container_list_next(container);
		container_end(container);
	}
}

void shim_free(struct shim *shim)
{
	struct container *container;

	if (!shim)
		return;
	shim->stopping = true;
	ttrpc_server_free(shim->server);
	console_free(shim->console);
	end_containers(shim); /* who waits for them asks the sandbox */
	sandbox_free(shim->sandbox);
	while ((container = TAILQ_FIRST(&shim->containers))) {
		container_list_remove(&shim->containers, container);
		container_unref(container);
	}
	pod_free(shim->pod); /* who waits in the sandbox, and containers that end, ask it */
	events_free(shim->events);
	loop_signal_free(shim->sigterm);
	loop_timer_free(shim->hangup);
	loop_timer_free(shim->forgotten);
	loop_timer_free(shim->ending);
	sysctls_done(&shim->sysctls);
	free(shim->last_bundle);
	free(shim->socket_path);
	free(shim->address);
	free(shim->ns);
	free(shim->id);
	free(shim);
}

static int check_create(const struct shim *shim,
			const Containerd__Task__V2__CreateTaskRequest *request, struct error *err)
{
	if (!id_is_valid(request->id))
		return error_set(err, EINVAL, "\"%s\" is no valid container id", request->id);
	if (container_list_find(&shim->containers, request->id))
		return error_set(err, EEXIST, "container %s already exists", request->id);
	if (request->bundle[0] != '/')
		return error_set(err, EINVAL, "bundle \"%s\" is not an absolute path",
				 request->bundle);
	if (shim->stopping)
		return error_set(err, EBUSY, "the shim is shutting down");
	return 0;
}

int shim_create(struct shim *shim, const Containerd__Task__V2__CreateTaskRequest *request,
		container_done_fn done, void *userdata, struct container **ret_container,
		struct error *err)
{
	struct container_options options = {
		.loop = shim->loop,
		.sandbox = shim->sandbox,
		.events = shim->events,
		.shim_address = shim->address,
		.ns = shim->ns,
		.sysctls = &shim->sysctls,
		.others = &shim->containers,
		.has_pod = pod_has_machine(shim->pod),
		.request = request,
		.on_gone = on_container_gone,
		.userdata = shim,
	};
	struct container *container;
	int r;

	r = check_create(shim, request, err);
	if (r < 0)
		return r;
	r = container_new(&options, &container, err);
	if (r < 0)
		return r;
	container_list_add(&shim->containers, container);
	watch_for_oblivion(shim);
	container_create(container, done, userdata);
	*ret_container = container;
	return 0;
}

int shim_find(struct shim *shim, const char *id, struct container **ret_container,
	      struct error *err)
{
	struct container *container = container_list_find(&shim->containers, id);

	if (!container || container_state(container) == CONTAINER_CREATING)
		return error_set(err, ENOENT, "container %s: not found", id);
	*ret_container = container;
	return 0;
}

int shim_find_volume(struct shim *shim, const char *path, struct disk **ret_disk,
		     char **ret_guest_path, struct agent_link **ret_agent, struct error *err)
{
	struct container *container;

	for (container = TAILQ_FIRST(&shim->containers); container;
	     container = container_list_next(container)) {
		struct disk *disk = container_find_volume(container, path, ret_guest_path);
		if (!disk)
			continue;
		*ret_disk = disk;
		*ret_agent = sandbox_agent(shim->sandbox);
		return 0;
	}
	return error_set(err, ENOENT, "sandbox %s does not have the volume %s", shim->id, path);
}

void shim_abort(struct shim *shim, const char *id)
{
	struct container *container = container_list_find(&shim->containers, id);

	if (container)
		container_abort(container);
}

void shim_shutdown(struct shim *shim)
{
	if (is_empty(shim))
		stop(shim);
}

struct pod *shim_pod(const struct shim *shim)
{
	return shim->pod;
}

struct sandbox *shim_sandbox(const struct shim *shim)
{
	return shim->sandbox;
}

const char *shim_namespace(const struct shim *shim)
{
	return shim->ns;
}

struct console *shim_console(const struct shim *shim)
{
	return shim->console;
}

const struct container_list *shim_containers(const struct shim *shim)
{
	return &shim->containers;
}

bool shim_has_pod(const struct shim *shim)
{
	struct container *container;

	for (container = TAILQ_FIRST(&shim->containers); container;
	     container = container_list_next(container))
		if (container_is_sandbox(container))
			return true;
	return pod_has_machine(shim->pod);
}

void shim_end_pod(struct shim *shim)
{
	if (!pod_has_machine(shim->pod))
		return;
	lose_containers(shim, PROCESS_KILLED_STATUS);
	pod_end(shim->pod, 0);
	sandbox_release(shim->sandbox, NULL, NULL);
	watch_for_oblivion(shim);
}

void shim_end(struct shim *shim)
{
	shim_end_pod(shim);
	lose_containers(shim, PROCESS_KILLED_STATUS);
	stop(shim);
}

uint32_t shim_task_pid(const struct shim *shim, const char *id)
{
	const struct container *container = container_list_find(&shim->containers, id);
	uint32_t pid = container ? process_pid(container_init(container)) : 0;

	return pid ? pid : (uint32_t)sandbox_vmm_pid(shim->sandbox);
}
