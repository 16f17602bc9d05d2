#include "factory/factory.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/socket.h"
#include "factory/service.h"
#include "factory/vm/journal.h"

#define WORKERS       2
#define WORKERS_QUEUE 64
#define STOP_MS       20000

struct factory {
	struct loop *loop;
	struct factory_config config;
	struct template_host host;
	struct counters counters;
	struct worker_pool *workers;
	struct slot *slot;
	struct ttrpc_server *server;
	struct loop_timer *stop_timer;
	int lock_fd; /* flock on RUN_DIR/factory.lock for as long as we live */
	bool stopping;
	uint64_t started_ns;
};

/* Two factories on one run folder would reap each other's machines. */
static int factory_lock(struct factory *factory, struct error *err)
{
	_cleanup_free_ char *path = path_join(factory->config.run_dir, "factory.lock");
	char pid[32];

	factory->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (factory->lock_fd < 0)
		return error_set_errno(err, errno, "cannot open %s", path);
	if (flock(factory->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		ssize_t n = read(factory->lock_fd, pid, sizeof(pid) - 1);
		pid[n > 0 ? n : 0] = '\0';
		return error_set(err, EADDRINUSE,
				 "another kiln-factory (pid %d) runs on %s: stop it first, or set "
				 "another run_dir",
				 atoi(pid), factory->config.run_dir);
	}
	int len = snprintf(pid, sizeof(pid), "%d\n", getpid());
	if (ftruncate(factory->lock_fd, 0) < 0 || pwrite(factory->lock_fd, pid, (size_t)len, 0) < 0)
		return error_set_errno(err, errno, "cannot write %s", path);
	return 0;
}

static int factory_make_dirs(const struct factory_config *config, struct error *err)
{
	_cleanup_free_ char *vms = path_join(config->run_dir, "vms");
	_cleanup_free_ char *templates = path_join(config->store, "templates");

	int r = dir_make(vms, 0700, err);
	if (r == 0)
		r = dir_make(templates, 0700, err);
	return r;
}

/* ---------------------------------------------------------------- after a crash */

static void adopt_entry(const struct journal_entry *entry, void *userdata)
{
	_cleanup_(template_manifest_free_cleanup) struct template_manifest *manifest = NULL;
	_cleanup_(error_done) struct error err = {};
	struct factory *factory = userdata;

	if (entry->state == VM_PARKED &&
	    template_manifest_load(factory->config.store, entry->template_id, &manifest, &err) < 0)
		log_info(entry->id, "its template is no more: %s", error_message(&err));
	pool_adopt(slot_pool(factory->slot), entry, manifest);
}

static int factory_recover(struct factory *factory, struct error *err)
{
	const struct factory_config *config = &factory->config;

	int r = bake_clean(config->store, config->run_dir, config->libvirt_uri, err);
	if (r < 0)
		return error_wrap(err, "cannot clean up after an earlier bake");
	return journal_scan(config->run_dir, adopt_entry, factory, err);
}

/* ---------------------------------------------------------------- start */

static int factory_make_slot(struct factory *factory, struct error *err)
{
	struct slot_options options = {
		.loop = factory->loop,
		.workers = factory->workers,
		.config = &factory->config,
		.host = &factory->host,
		.counters = &factory->counters,
	};

	int r = template_definition_load(factory->config.template_path, &options.definition, err);
	if (r < 0)
		return r;
	factory->slot = slot_new(&options);
	return 0;
}

static int factory_serve(struct factory *factory, struct error *err)
{
	int fd = -EBADF;

	int r = socket_listen_unix(factory->config.socket, 0600, &fd, err);
	if (r < 0)
		return r;
	factory->server = service_new(factory->loop, factory);
	ttrpc_server_listen(factory->server, fd);
	log_info(NULL, "serving %s, accelerator %s, %s", factory->config.socket,
		 accelerator_to_string(factory->host.accelerator), factory->host.qemu_version);
	return 0;
}

static int factory_start(struct factory *factory, struct error *err)
{
	const struct factory_config *config = &factory->config;

	if (geteuid() != 0)
		return error_set(err, EPERM,
				 "kiln-factory needs root: it mounts and runs machines");
	int r = factory_make_dirs(config, err);
	if (r == 0)
		r = factory_lock(factory, err);
	if (r == 0)
		r = template_host_probe(config->qemu, config->accelerator, &factory->host, err);
	if (r == 0)
		r = factory_make_slot(factory, err);
	if (r == 0)
		r = factory_recover(factory, err);
	if (r == 0)
		r = factory_serve(factory, err);
	if (r == 0 && config->init_on_start)
		slot_init(factory->slot, NULL, NULL);
	return r;
}

int factory_new(struct loop *loop, struct factory_config *config, struct factory **ret_factory,
		struct error *err)
{
	struct factory *factory = xnew(struct factory);

	factory->loop = loop;
	factory->config = *config;
	*config = (struct factory_config){};
	factory->lock_fd = -EBADF;
	factory->started_ns = clock_monotonic_ns();
	factory->workers = worker_pool_new(loop, WORKERS, WORKERS_QUEUE);

	int r = factory_start(factory, err);
	if (r < 0) {
		factory_free(factory);
		return r;
	}
	*ret_factory = factory;
	return 0;
}

/* ---------------------------------------------------------------- end */

static void on_stopped(int number _unused_, const struct error *err _unused_, void *userdata)
{
	struct factory *factory = userdata;

	loop_stop(factory->loop);
}

static void on_stop_deadline(void *userdata)
{
	struct factory *factory = userdata;

	log_error(NULL, "not everything ended within %u s; the next start cleans up",
		  STOP_MS / 1000);
	loop_stop(factory->loop);
}

void factory_stop(struct factory *factory)
{
	if (factory->stopping)
		return;
	factory->stopping = true;
	log_info(NULL, "stopping; claimed sandboxes go on");
	ttrpc_server_stop_listening(factory->server);
	factory->stop_timer = loop_timer_new(factory->loop, on_stop_deadline, factory);
	loop_timer_start(factory->stop_timer, STOP_MS);
	slot_stop(factory->slot, on_stopped, factory);
}

void factory_free(struct factory *factory)
{
	if (!factory)
		return;
	worker_pool_free(factory->workers);
	loop_timer_free(factory->stop_timer);
	slot_free(factory->slot);
	if (factory->server) {
		ttrpc_server_free(factory->server);
		unlink(factory->config.socket);
	}
	template_host_done(&factory->host);
	counters_done(&factory->counters);
	factory_config_done(&factory->config);
	close_fd(factory->lock_fd);
	free(factory);
}

/* ---------------------------------------------------------------- for the handlers */

const struct factory_config *factory_config(const struct factory *factory)
{
	return &factory->config;
}

const struct template_host *factory_host(const struct factory *factory)
{
	return &factory->host;
}

struct counters *factory_counters(struct factory *factory)
{
	return &factory->counters;
}

uint64_t factory_uptime_s(const struct factory *factory)
{
	return (clock_monotonic_ns() - factory->started_ns) / 1000000000;
}

struct slot *factory_next_slot(struct factory *factory, const struct slot *after)
{
	return after ? NULL : factory->slot;
}

struct slot *factory_find_slot(struct factory *factory, const char *name)
{
	if (str_empty(name) || str_equal(name, slot_name(factory->slot)))
		return factory->slot;
	return NULL;
}
