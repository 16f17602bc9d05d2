#include "factory/core/factory.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/pidfd.h"
#include "base/trace.h"
#include "factory/base/footprint.h"
#include "factory/store/choice.h"
#include "factory/templates/definitions.h"
#include "factory/vm/host.h"
#include "factory/vm/journal.h"

#define WORKERS       2
#define WORKERS_QUEUE 64
#define STOP_MS       20000

struct factory {
	struct loop *loop;
	struct factory_config config;
	struct template_host host;
	struct metrics metrics; /* what concerns no template */
	struct worker_pool *workers;
	struct host_room room;
	struct jail_settings jail;
	struct slot **slots; /* owned, by the path of their definition */
	size_t nslots;
	struct bake_queue *bakes;
	struct orphans *orphans;
	size_t slots_ending; /* while stopping */
	struct footprint *footprint;
	struct images *images; /* NULL: none */
	struct loop_timer *stop_timer;
	struct access *access;
	bool activated;             /* its socket is the service manager's */
	int lock_fd, store_lock_fd; /* RUN_DIR/factory.lock, STORE/lock: for as long as we live */
	bool stopping;
	uint64_t started_ns;
};

/* ---------------------------------------------------------------- after a crash */

/* A machine of a template that is configured no more is looked after in the first pool: without
 * a manifest a parked one is not taken up. */
static void adopt_entry(const struct journal_entry *entry, void *userdata)
{
	_cleanup_(template_manifest_free_cleanup) struct template_manifest *manifest = NULL;
	_cleanup_(error_done) struct error err = {};
	struct factory *factory = userdata;
	struct slot *slot = factory_find_slot(factory, entry->template_name);

	if (entry->state == VM_PARKED && !slot)
		log_info(entry->id, "its template %s is configured no more", entry->template_name);
	else if (entry->state == VM_PARKED &&
		 template_manifest_load(factory->config.store, entry->template_id, &manifest,
					&err) < 0)
		log_info(entry->id, "its template is no more: %s", error_message(&err));
	pool_adopt(slot_pool(slot ? slot : factory->slots[0]), entry, manifest);
}

static bool is_configured(const char *name, void *userdata)
{
	return factory_find_slot(userdata, name) != NULL;
}

static int factory_recover(struct factory *factory, struct error *err)
{
	const struct factory_config *config = &factory->config;

	int r = orphans_new(factory->workers, factory->jail.jailer, config->store, is_configured,
			    factory, &factory->orphans, err);
	return r < 0 ? r : journal_scan(config->run_dir, adopt_entry, factory, err);
}

/* ---------------------------------------------------------------- start */

static void factory_make_images(struct factory *factory)
{
	const struct factory_config *config = &factory->config;

	if (config->image_cache[0] == '\0')
		return;
	factory->images = images_new(factory->loop, config->image_cache, factory->jail.jailer,
				     config->image_cache_mib << 20, &factory->metrics);
}

static int factory_make_slots(struct factory *factory, struct error *err)
{
	_cleanup_(definitions_done) struct definitions definitions = {};
	struct slot_options options = {
		.loop = factory->loop,
		.workers = factory->workers,
		.config = &factory->config,
		.host = &factory->host,
		.room = &factory->room,
		.jail = factory->jail,
	};

	int r = definitions_load(factory->config.templates, &definitions, err);
	if (r < 0)
		return r;
	options.bakes = factory->bakes = bake_queue_new(factory->loop);
	factory->slots = xnew_array(struct slot *, definitions.count);
	for (size_t i = 0; i < definitions.count; i++) {
		options.definition = steal_ptr(definitions.items[i]);
		factory->slots[factory->nslots++] = slot_new(&options);
	}
	return 0;
}

/* Who may use it: the file is root's, and kiln-jailer's to change. */
static int factory_open_socket(const struct factory *factory, const struct access *access,
			       struct error *err)
{
	struct socket_access of = access_of_socket(access);
	const struct jailer_request request = {
		.verb = JAILER_SOCKET,
		.number = of.group,
		.mode = of.mode,
	};

	return jailer_call(factory->jail.jailer, &request, NULL, 0, NULL, err);
}

/* Machines and their claimers are other users', and known by what /proc shows of them. */
static int check_sight(struct error *err)
{
	uint64_t start_time;
	int r = process_start_time(1, &start_time);

	if (r != -EACCES && r != -EPERM)
		return 0;
	return error_set(err, EACCES,
			 "/proc is mounted with hidepid= and hides the processes of other users: "
			 "which shims and machines live could not be told (`mount -o "
			 "remount,hidepid=0 /proc`, or give it the factory's group as gid=)");
}

static int factory_start(struct factory *factory, struct error *err)
{
	const struct factory_config *config = &factory->config;
	const struct template_host_choice choice = { config->accelerator, config->channel,
						     config->vhost_net };

	int r = check_sight(err);
	if (r == 0)
		r = access_new(config->allow_uids, config->allow_groups, &factory->access, err);
	if (r == 0 && !factory->activated)
		r = factory_open_socket(factory, factory->access, err);
	if (r == 0)
		r = template_host_probe(config->qemu, &choice, &factory->host, err);
	if (r == 0)
		r = factory_make_slots(factory, err);
	if (r == 0)
		r = factory_recover(factory, err);
	if (r == 0)
		factory_make_images(factory);
	return r;
}

/* For the footprint. */
static void list_machines(struct measurement *measurement, void *userdata)
{
	struct factory *factory = userdata;

	for (size_t i = 0; i < factory->nslots; i++) {
		struct pool *pool = slot_pool(factory->slots[i]);
		struct pool_member *member = NULL;

		while ((member = pool_next(pool, member)))
			measurement_add(measurement, slot_name(factory->slots[i]),
					vm_pid(pool_member_vm(member)));
	}
}

/* What may change live. */
static void room_configure(struct host_room *room, const struct factory_config *config)
{
	room->max_vms = config->max_vms;
	room->min_free_mib = config->min_free_mib;
	room->max_boots = config->boots_at_once;
	room->max_size.vcpus = (uint32_t)config->max_vcpus;
	room->max_size.memory_mib = (uint32_t)config->max_memory_mib;
}

static int open_memory(pid_t pid, int *ret_fd, void *userdata)
{
	const struct factory *factory = userdata;

	return host_open_memory(factory->jail.jailer, pid, ret_fd);
}

int factory_new(struct loop *loop, struct factory_config *config, struct factory_means *means,
		struct factory **ret_factory, struct error *err)
{
	struct factory *factory = xnew(struct factory);

	factory->loop = loop;
	factory->config = *config;
	room_configure(&factory->room, config);
	*config = (struct factory_config){};
	factory->lock_fd = steal_fd(&means->run_lock);
	factory->store_lock_fd = steal_fd(&means->store_lock);
	factory->activated = means->activated;
	factory->jail = (struct jail_settings){
		.first_uid = (uint32_t)factory->config.uid_first,
		.cgroup = means->cgroups ? factory->config.cgroup : NULL,
		.jailer = means->jailer,
	};
	jailer_watch(means->jailer, loop);
	factory->started_ns = clock_monotonic_ns();
	factory->workers = worker_pool_new(loop, WORKERS, WORKERS_QUEUE);
	factory->footprint = footprint_new(loop, list_machines, open_memory, factory);

	int r = factory_start(factory, err);
	if (r < 0) {
		factory_free(factory);
		return r;
	}
	*ret_factory = factory;
	return 0;
}

/* ---------------------------------------------------------------- a new configuration */

int factory_reconfigure(struct factory *factory, struct factory_config *fresh,
			struct reload_report *ret_report, struct error *err)
{
	_cleanup_(access_free_cleanup) struct access *access = NULL;
	struct slot *slot = NULL;

	int r = access_new(fresh->allow_uids, fresh->allow_groups, &access, err);
	if (r == 0 && !factory->activated)
		r = factory_open_socket(factory, access, err);
	if (r < 0)
		return r;
	access_free(factory->access);
	factory->access = steal_ptr(access);
	reload_merge(&factory->config, fresh, ret_report);
	room_configure(&factory->room, &factory->config);
	trace_init("factory", factory->config.trace, NULL);
	log_set_level((enum log_level)factory->config.log_level);
	log_set_format((enum log_format)factory->config.log_format);
	if (factory->images)
		images_set_limit(factory->images, factory->config.image_cache_mib << 20);
	while ((slot = factory_next_slot(factory, slot)))
		pool_set_limits(slot_pool(slot), (unsigned)factory->config.clones_at_once,
				(unsigned)factory->config.max_waiting);
	while ((slot = factory_next_slot(factory, slot)))
		if (slot_reload_policy(slot))
			strv_take(&ret_report->changed, xasprintf("pool of %s", slot_name(slot)));
	return 0;
}

/* ---------------------------------------------------------------- end */

static void on_stopped(int number _unused_, const struct error *err _unused_, void *userdata)
{
	struct factory *factory = userdata;

	if (--factory->slots_ending == 0)
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
	factory->stop_timer = loop_timer_new(factory->loop, on_stop_deadline, factory);
	loop_timer_start(factory->stop_timer, STOP_MS);
	if (factory->images)
		images_stop(factory->images);
	factory->slots_ending = factory->nslots;
	for (size_t i = 0; i < factory->nslots; i++) {
		/* Who waits is told at once, not when a bake has been cancelled. */
		pool_stop(slot_pool(factory->slots[i]), "the factory is stopping", NULL, NULL);
		slot_stop(factory->slots[i], on_stopped, factory);
	}
}

bool factory_stopping(const struct factory *factory)
{
	return factory->stopping;
}

static void slots_end(struct factory *factory)
{
	for (size_t i = 0; i < factory->nslots; i++)
		slot_free(factory->slots[i]);
	factory->nslots = 0;
	free(steal_ptr(factory->slots));
	bake_queue_free(steal_ptr(factory->bakes));
}

/* Who waits for a measurement is shown templates, machines and images: so it is the first to end,
 * and ends before it is taken from us. */
void factory_end(struct factory *factory)
{
	if (!factory)
		return;
	footprint_free(factory->footprint);
	factory->footprint = NULL;
	images_free(steal_ptr(factory->images));
	worker_pool_free(steal_ptr(factory->workers));
	loop_timer_free(steal_ptr(factory->stop_timer));
	slots_end(factory);
	orphans_free(steal_ptr(factory->orphans));
}

void factory_free(struct factory *factory)
{
	if (!factory)
		return;
	factory_end(factory);
	access_free(factory->access);
	template_host_done(&factory->host);
	metrics_done(&factory->metrics);
	factory_config_done(&factory->config);
	close_fd(factory->lock_fd);
	close_fd(factory->store_lock_fd);
	free(factory);
}

/* ---------------------------------------------------------------- for the handlers */

const struct factory_config *factory_config(const struct factory *factory)
{
	return &factory->config;
}

struct access *factory_access(struct factory *factory)
{
	return factory->access;
}

/* Other than at the start, KVM, vsock or vhost-net that was configured may have gone: bakes will
 * say so. */
const struct template_host *factory_look_at_host(struct factory *factory)
{
	const struct template_host_choice choice = { factory->config.accelerator,
						     factory->config.channel,
						     factory->config.vhost_net };
	_cleanup_(error_done) struct error err = {};

	if (template_host_choose(&factory->host, &choice, &err) < 0)
		log_debug(NULL, "%s", error_message(&err));
	return &factory->host;
}

struct worker_pool *factory_workers(struct factory *factory)
{
	return factory->workers;
}

struct metrics *factory_metrics(struct factory *factory)
{
	return &factory->metrics;
}

struct orphans *factory_orphans(struct factory *factory)
{
	return factory->orphans;
}

struct footprint *factory_footprint(struct factory *factory)
{
	return factory->footprint;
}

struct images *factory_images(struct factory *factory)
{
	return factory->images;
}

uint64_t factory_uptime_s(const struct factory *factory)
{
	return (clock_monotonic_ns() - factory->started_ns) / 1000000000;
}

struct slot *factory_next_slot(struct factory *factory, const struct slot *after)
{
	size_t i = 0;

	while (after && i < factory->nslots && factory->slots[i++] != after)
		;
	return i < factory->nslots ? factory->slots[i] : NULL;
}

struct slot *factory_find_slot(struct factory *factory, const char *name)
{
	for (size_t i = 0; i < factory->nslots; i++)
		if (str_equal(name, slot_name(factory->slots[i])))
			return factory->slots[i];
	return NULL;
}

/* Where no offer fits (err says so): one to boot from. */
static int choose_boot(const struct factory *factory, const struct template_offer *offers,
		       size_t count, const struct template_wish *wish, struct vm_size *ret_boot,
		       struct error *err)
{
	int best = template_choose_boot(offers, count, wish);

	if (factory->room.max_boots == 0)
		return error_set(err, EBUSY, "%s; none is booted (boots_at_once is 0)",
				 err->message);
	if (best < 0)
		return error_set(err, EBUSY,
				 "%s; none can be booted: for that a template of its kind must be "
				 "ready, with kernel and initrd as they were when it was baked",
				 err->message);
	error_done(err);
	*ret_boot = vm_size_raise(&offers[best].size, &wish->size);
	return best;
}

static int choose_slot(struct factory *factory, struct slot **slots, size_t nslots,
		       const struct template_wish *wish, struct slot **ret_slot,
		       struct vm_size *ret_boot, struct error *err)
{
	_cleanup_free_ struct template_offer *offers = xnew_array(struct template_offer, nslots);

	for (size_t i = 0; i < nslots; i++)
		slot_offer(slots[i], &offers[i]);
	/* Of one template its own state is the better answer. */
	if (nslots == 1 && template_fit(&offers[0], wish) != FIT_NONE) {
		*ret_slot = slots[0];
		return slot_accepts(slots[0], err);
	}
	int best = template_choose(offers, nslots, wish, err);
	if (best == -EBUSY)
		best = choose_boot(factory, offers, nslots, wish, ret_boot, err);
	if (best < 0)
		return best;
	*ret_slot = slots[best];
	return 0;
}

int factory_choose_slot(struct factory *factory, const char *name, const struct template_wish *wish,
			struct slot **ret_slot, struct vm_size *ret_boot, struct error *err)
{
	struct slot *slot = factory_find_slot(factory, name);

	*ret_boot = (struct vm_size){};
	if (!slot && !str_empty(name))
		return error_set(err, ENOENT, "no template is named \"%.128s\"", name);
	int r = host_room_check_size(&factory->room, &wish->size, err);
	if (r < 0)
		return r;
	return slot ? choose_slot(factory, &slot, 1, wish, ret_slot, ret_boot, err)
		    : choose_slot(factory, factory->slots, factory->nslots, wish, ret_slot,
				  ret_boot, err);
}

/* ---------------------------------------------------------------- all templates at once */

/* Counts what is under way for one request; the first failure is the answer. */
struct together {
	size_t left;
	slot_fn fn;
	void *userdata;
	struct error err;
};

static void together_one_done(int number, const struct error *err, void *userdata)
{
	struct together *together = userdata;

	if (number < 0 && together->err.number == 0)
		(void)error_set(&together->err, number, "%s", error_message(err));
	if (--together->left > 0)
		return;
	if (together->fn)
		together->fn(-together->err.number, &together->err, together->userdata);
	error_done(&together->err);
	free(together);
}

static void for_all_slots(struct factory *factory,
			  void (*begin)(struct slot *slot, slot_fn fn, void *userdata), slot_fn fn,
			  void *userdata)
{
	struct together *together = xnew(struct together);

	together->left = factory->nslots + 1; /* one of them may be done at once */
	together->fn = fn;
	together->userdata = userdata;
	for (size_t i = 0; i < factory->nslots; i++)
		begin(factory->slots[i], together_one_done, together);
	together_one_done(0, NULL, together);
}

void factory_init_all(struct factory *factory, slot_fn fn, void *userdata)
{
	for_all_slots(factory, slot_make_ready, fn, userdata);
}

void factory_destroy_all(struct factory *factory, slot_fn fn, void *userdata)
{
	for_all_slots(factory, slot_destroy, fn, userdata);
}
