#include "shim/hooks.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timerfd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/spawn.h"
#include "base/strings.h"
#include "base/strv.h"
#include "base/worker.h"
#include "shim/netns.h"

enum { MOMENTS = HOOKS_STOP + 1 };

/* What a program is told of the container; all borrowed. */
struct subject {
	const Grpc__Spec *oci; /* its version and annotations */
	const char *id;
	const char *bundle;
};

struct hooks {
	struct worker_pool *pool; /* owned; one thread, so that moments follow one another */
	char *container_id;
	char *bundle;
	char *netns;                 /* of the spec; NULL: a new one */
	Grpc__Spec *oci;             /* owned: hooks, annotations, version */
	struct netns_keeper *keeper; /* owned; the worker's. NULL before CREATE */
	bool freed;                  /* its owner waits for the worker */
};

/* A moment under way. */
struct run {
	struct hooks *hooks;
	enum hooks_moment moment;
	hooks_fn fn;
	void *userdata;
	struct error error; /* the worker's */
};

static bool have_first(const Grpc__Hooks *lists)
{
	return lists && lists->n_prestart + lists->n_createruntime > 0;
}

bool hooks_come_first(const struct spec *spec)
{
	return have_first(spec->oci->hooks);
}

bool hooks_have_first(const struct hooks *hooks)
{
	return have_first(hooks->oci->hooks);
}

/* A copy of what is needed of it. */
static Grpc__Spec *copy_spec(const Grpc__Spec *oci)
{
	Grpc__Spec part = GRPC__SPEC__INIT;

	part.version = oci->version;
	part.hooks = oci->hooks;
	part.annotations = oci->annotations;
	part.n_annotations = oci->n_annotations;

	size_t len = grpc__spec__get_packed_size(&part);
	_cleanup_free_ uint8_t *bytes = xcalloc(1, len + 1);

	grpc__spec__pack(&part, bytes);
	return grpc__spec__unpack(NULL, len, bytes);
}

struct hooks *hooks_new(struct loop *loop, const struct spec *spec, const char *container_id,
			const char *bundle)
{
	const Grpc__Hooks *lists = spec->oci->hooks;
	const Grpc__LinuxNamespace *network = spec_namespace(spec, "network");

	if (!lists ||
	    lists->n_prestart + lists->n_createruntime + lists->n_poststart + lists->n_poststop ==
		    0)
		return NULL;

	struct hooks *hooks = xnew(struct hooks);

	hooks->container_id = xstrdup(container_id);
	hooks->bundle = xstrdup(bundle);
	if (network && !str_empty(network->path))
		hooks->netns = xstrdup(network->path);
	hooks->oci = copy_spec(spec->oci);
	hooks->pool = worker_pool_new(loop, 1, MOMENTS);
	return hooks;
}

void hooks_free(struct hooks *hooks)
{
	if (!hooks)
		return;
	hooks->freed = true;
	worker_pool_free(hooks->pool);
	netns_keeper_free(hooks->keeper);
	grpc__spec__free_unpacked(hooks->oci, NULL);
	free(hooks->netns);
	free(hooks->bundle);
	free(hooks->container_id);
	free(hooks);
}

char *hooks_netns(const struct hooks *hooks)
{
	return netns_keeper_path(hooks->keeper);
}

pid_t hooks_pid(const struct hooks *hooks)
{
	return netns_keeper_id(hooks->keeper);
}

/* ---------------------------------------------------------------- one program; blocks */

/* pid 0: there is none any more. */
static json_t *make_state(const struct subject *subject, const char *status, pid_t pid)
{
	const Grpc__Spec *oci = subject->oci;
	json_t *annotations = json_object();

	for (size_t i = 0; i < oci->n_annotations; i++)
		json_object_set_new(annotations, oci->annotations[i]->key,
				    json_string(oci->annotations[i]->value));

	json_t *state = json_pack("{ss ss ss ss so}", "ociVersion",
				  str_empty(oci->version) ? "1.0.2" : oci->version, "id",
				  subject->id, "status", status, "bundle", subject->bundle,
				  "annotations", annotations);

	if (pid > 0)
		json_object_set_new(state, "pid", json_integer(pid));
	return state;
}

static int open_state(const struct subject *subject, const char *status, pid_t pid, int *ret_fd,
		      struct error *err)
{
	json_t *state = make_state(subject, status, pid);
	_cleanup_free_ char *text = json_dumps(state, JSON_COMPACT);
	_cleanup_close_ int fd = memfd_create("state", MFD_CLOEXEC);

	json_decref(state);
	if (!text || fd < 0 || write_full(fd, text, strlen(text)) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return error_set(err, EIO, "the container's state cannot be written for a hook");
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* Readable once the time is over; -EBADF: there is no bound. */
static int open_clock(int64_t seconds)
{
	const struct itimerspec end = { .it_value.tv_sec = seconds };
	int fd = seconds > 0 ? timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC) : -EBADF;

	if (fd >= 0)
		timerfd_settime(fd, 0, &end, NULL);
	return fd;
}

/* args are its argv from the first on, as of execv(3): Docker's hook tells by args[0] what it is.
 */
static int run_hook(const Grpc__Hook *hook, const char *bundle, int state_fd, struct error *err)
{
	_cleanup_(strv_done) struct strv argv = {}, env = {};
	_cleanup_close_ int clock = open_clock(hook->timeout);
	_cleanup_free_ char *output = NULL;
	const struct spawn_fd fds[] = { { state_fd, 0 } };
	int status = 0;

	if (hook->path[0] != '/')
		return error_set(err, EINVAL, "the hook \"%s\" is no absolute path", hook->path);
	for (size_t i = 0; i < hook->n_args; i++)
		strv_add(&argv, hook->args[i]);
	if (argv.count == 0)
		strv_add(&argv, hook->path);
	for (size_t i = 0; i < hook->n_env; i++)
		strv_add(&env, hook->env[i]);

	const struct spawn_options options = {
		.argv = argv.items,
		.program = hook->path,
		.env = env.count > 0 ? env.items : NULL,
		.cwd = bundle,
		.fds = fds,
		.nfds = ARRAY_SIZE(fds),
	};
	int r = spawn_run(&options, clock, &status, &output, err);

	if (r == -ECANCELED)
		return error_set(err, ETIMEDOUT, "the hook %s did not end within its %ld s",
				 hook->path, (long)hook->timeout);
	if (r == -ENOENT) /* to containerd "not found" is a task */
		return error_set(err, EINVAL, "the hook %s is not there", hook->path);
	return r < 0 ? r : spawn_status_error(hook->path, status, output, err);
}

static int run_list(Grpc__Hook *const *list, size_t count, const struct subject *subject,
		    const char *status, pid_t pid, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++) {
		_cleanup_close_ int state_fd = -EBADF;

		r = open_state(subject, status, pid, &state_fd, err);
		if (r == 0)
			r = run_hook(list[i], subject->bundle, state_fd, err);
	}
	return r;
}

void hooks_run_stop(const struct spec *spec, const char *container_id, const char *bundle)
{
	const struct subject subject = { spec->oci, container_id, bundle };
	const Grpc__Hooks *lists = spec->oci->hooks;

	if (lists)
		(void)!run_list(lists->poststop, lists->n_poststop, &subject, "stopped", 0, NULL);
}

/* ---------------------------------------------------------------- beside the loop */

static int run_moment(struct hooks *hooks, enum hooks_moment moment, struct error *err)
{
	const struct subject subject = { hooks->oci, hooks->container_id, hooks->bundle };
	const Grpc__Hooks *lists = hooks->oci->hooks;
	int r = 0;

	if (moment == HOOKS_STOP)
		return run_list(lists->poststop, lists->n_poststop, &subject, "stopped", 0, err);
	if (!hooks->keeper)
		r = netns_keep(hooks->netns, &hooks->keeper, err);
	if (r < 0)
		return r;

	pid_t pid = netns_keeper_id(hooks->keeper);

	if (moment == HOOKS_START)
		return run_list(lists->poststart, lists->n_poststart, &subject, "running", pid,
				err);
	r = run_list(lists->prestart, lists->n_prestart, &subject, "creating", pid, err);
	return r < 0 ? r
		     : run_list(lists->createruntime, lists->n_createruntime, &subject, "creating",
				pid, err);
}

static void run_job(void *data)
{
	struct run *run = data;

	(void)!run_moment(run->hooks, run->moment, &run->error);
}

static void on_run(void *data, _unused_ void *owner)
{
	_cleanup_free_ struct run *run = data;
	const struct hooks *hooks = run->hooks;

	if (run->fn && !hooks->freed)
		run->fn(-run->error.number, &run->error, run->userdata);
	else if (run->error.number)
		log_warning(hooks->container_id, "%s", error_message(&run->error));
	error_done(&run->error);
}

void hooks_run(struct hooks *hooks, enum hooks_moment moment, hooks_fn fn, void *userdata)
{
	struct run *run = xnew(struct run);
	const struct worker_job job = { .run = run_job, .done = on_run, .data = run };

	*run = (struct run){ .hooks = hooks, .moment = moment, .fn = fn, .userdata = userdata };
	if (worker_submit(hooks->pool, &job) < 0)
		abort(); /* each moment comes once */
}
