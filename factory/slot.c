#include "factory/slot.h"

#include <stdlib.h>

#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"

static const char *const slot_state_names[] = {
	[SLOT_ABSENT] = "absent", [SLOT_BAKING] = "baking",     [SLOT_READY] = "ready",
	[SLOT_BROKEN] = "broken", [SLOT_REMOVING] = "removing",
};
DEFINE_STRING_TABLE(slot_state, enum slot_state, slot_state_names)

struct waiter {
	slot_fn fn;
	void *userdata;
	TAILQ_ENTRY(waiter) link;
};
TAILQ_HEAD(waiter_list, waiter);

struct slot {
	struct slot_options options;
	struct template_definition *definition;
	enum slot_state state;
	struct bake *bake; /* while BAKING */
	enum bake_phase phase;
	struct template_manifest *manifest; /* while READY */
	struct error broken;
	struct pool *pool;
	struct waiter_list init_waiters; /* for READY and a full pool */
	struct waiter_list end_waiters;  /* for ABSENT, or for a stopped pool */
	bool stopping;                   /* the template stays */
};

static void slot_set_state(struct slot *slot, enum slot_state state)
{
	log_debug(slot->definition->name, "template %s -> %s", slot_state_to_string(slot->state),
		  slot_state_to_string(state));
	slot->state = state;
}

static void waiters_add(struct waiter_list *list, slot_fn fn, void *userdata)
{
	if (!fn)
		return;
	struct waiter *waiter = xnew(struct waiter);
	*waiter = (struct waiter){ .fn = fn, .userdata = userdata };
	TAILQ_INSERT_TAIL(list, waiter, link);
}

static void waiters_answer(struct waiter_list *list, int number, const struct error *err)
{
	struct waiter *waiter;

	while ((waiter = TAILQ_FIRST(list))) {
		TAILQ_REMOVE(list, waiter, link);
		waiter->fn(number, err, waiter->userdata);
		free(waiter);
	}
}

/* ---------------------------------------------------------------- the pool's news */

static void on_pool_change(struct pool *pool, void *userdata)
{
	struct slot *slot = userdata;
	struct pool_counts counts;

	if (slot->state != SLOT_READY || slot->stopping)
		return;
	pool_counts(pool, &counts);
	if (counts.parked >= counts.target) {
		waiters_answer(&slot->init_waiters, 0, NULL);
	} else if (pool_failure(pool)) {
		_cleanup_(error_done) struct error err = {};
		int r = error_set(&err, EIO, "template %s is baked, but its clones fail: %s",
				  slot->definition->name, pool_failure(pool));
		waiters_answer(&slot->init_waiters, r, &err);
	}
}

/* ---------------------------------------------------------------- baking */

static void bake_end(void *bake)
{
	bake_free(bake);
}

static void bake_failed(struct slot *slot, const struct error *err)
{
	if (err->number == ECANCELED) {
		slot_set_state(slot, SLOT_ABSENT);
	} else {
		log_error(slot->definition->name, "bake failed: %s", error_message(err));
		counters_add(slot->options.counters, COUNTER_BAKES_FAILED,
			     bake_phase_to_string(slot->phase));
		(void)error_set(&slot->broken, err->number, "%s", error_message(err));
		slot_set_state(slot, SLOT_BROKEN);
	}
	pool_drain(slot->pool, error_message(err), NULL, NULL);
	waiters_answer(&slot->init_waiters, -err->number, err);
}

static void slot_continue_end(struct slot *slot);

static void on_bake_done(struct bake *bake, int number, struct template_manifest *manifest,
			 const struct error *err, void *userdata)
{
	struct slot *slot = userdata;

	slot->bake = NULL;
	loop_defer(slot->options.loop, bake_end, bake);
	if (number < 0) {
		bake_failed(slot, err);
	} else {
		counters_add(slot->options.counters, COUNTER_BAKES, "");
		slot->manifest = manifest;
		slot_set_state(slot, SLOT_READY);
		log_info(slot->definition->name, "template %.12s is ready", manifest->id);
		if (TAILQ_EMPTY(&slot->end_waiters))
			pool_open(slot->pool, manifest);
	}
	if (!TAILQ_EMPTY(&slot->end_waiters))
		slot_continue_end(slot);
}

static void on_bake_phase(struct bake *bake _unused_, enum bake_phase phase, void *userdata)
{
	struct slot *slot = userdata;

	slot->phase = phase;
	log_info(slot->definition->name, "bake: %s", bake_phase_to_string(phase));
}

static void slot_bake(struct slot *slot)
{
	struct bake_options options = {
		.loop = slot->options.loop,
		.workers = slot->options.workers,
		.definition = slot->definition,
		.host = slot->options.host,
		.store = slot->options.config->store,
		.run_dir = slot->options.config->run_dir,
		.libvirt_uri = slot->options.config->libvirt_uri,
		.on_phase = on_bake_phase,
		.on_done = on_bake_done,
		.userdata = slot,
	};

	error_done(&slot->broken);
	slot->phase = BAKE_HASHING;
	slot_set_state(slot, SLOT_BAKING);
	slot->bake = bake_start(&options);
}

void slot_init(struct slot *slot, slot_fn fn, void *userdata)
{
	waiters_add(&slot->init_waiters, fn, userdata);
	switch (slot->state) {
	case SLOT_ABSENT:
	case SLOT_BROKEN:
		slot_bake(slot);
		break;
	case SLOT_READY:
		on_pool_change(slot->pool, slot);
		break;
	case SLOT_BAKING:
	case SLOT_REMOVING: /* goes on in removal_done */
		break;
	}
}

/* ---------------------------------------------------------------- ending */

struct removal {
	char *store;
	char id[DIGEST_HEX_SIZE];
	int number;
	struct error err;
};

static void removal_run(void *data)
{
	struct removal *removal = data;

	removal->number = template_remove(removal->store, removal->id, &removal->err);
}

static void removal_done(void *data, void *owner)
{
	struct removal *removal = data;
	struct slot *slot = owner;

	if (removal->number < 0)
		log_error(slot->definition->name, "template cannot be removed: %s",
			  error_message(&removal->err));
	slot_set_state(slot, SLOT_ABSENT);
	waiters_answer(&slot->end_waiters, removal->number, &removal->err);
	error_done(&removal->err);
	free(removal->store);
	free(removal);
	if (!TAILQ_EMPTY(&slot->init_waiters))
		slot_bake(slot);
}

static void slot_remove_template(struct slot *slot)
{
	struct removal *removal = xnew(struct removal);
	struct worker_job job = {
		.run = removal_run, .done = removal_done, .data = removal, .owner = slot
	};

	removal->store = xstrdup(slot->options.config->store);
	memcpy(removal->id, slot->manifest->id, sizeof(removal->id));
	template_manifest_free(steal_ptr(slot->manifest));
	slot_set_state(slot, SLOT_REMOVING);
	if (worker_submit(slot->options.workers, &job) < 0) {
		removal_run(removal);
		removal_done(removal, slot);
	}
}

static void on_pool_drained(void *userdata)
{
	struct slot *slot = userdata;

	if (slot->state == SLOT_READY && !slot->stopping) {
		slot_remove_template(slot);
		return;
	}
	if (slot->state == SLOT_BROKEN)
		slot_set_state(slot, SLOT_ABSENT);
	waiters_answer(&slot->end_waiters, 0, NULL);
}

static void slot_continue_end(struct slot *slot)
{
	_cleanup_(error_done) struct error err = {};
	int r = error_set(&err, ECANCELED, "template %s is being %s", slot->definition->name,
			  slot->stopping ? "stopped" : "destroyed");

	waiters_answer(&slot->init_waiters, r, &err);
	pool_drain(slot->pool, error_message(&err), on_pool_drained, slot);
}

static void slot_end(struct slot *slot)
{
	if (slot->state == SLOT_BAKING)
		bake_cancel(slot->bake); /* goes on in on_bake_done */
	else if (slot->state != SLOT_REMOVING)
		slot_continue_end(slot);
}

void slot_destroy(struct slot *slot, slot_fn fn, void *userdata)
{
	waiters_add(&slot->end_waiters, fn, userdata);
	slot_end(slot);
}

void slot_stop(struct slot *slot, slot_fn fn, void *userdata)
{
	waiters_add(&slot->end_waiters, fn, userdata);
	slot->stopping = true;
	slot_end(slot);
}

/* ---------------------------------------------------------------- the slot */

struct slot *slot_new(const struct slot_options *options)
{
	struct slot *slot = xnew(struct slot);

	slot->options = *options;
	slot->definition = options->definition;
	TAILQ_INIT(&slot->init_waiters);
	TAILQ_INIT(&slot->end_waiters);
	struct pool_options pool = {
		.loop = options->loop,
		.name = slot->definition->name,
		.run_dir = options->config->run_dir,
		.counters = options->counters,
		.target = (unsigned)slot->definition->pool_size,
		.clones_at_once = (unsigned)options->config->clones_at_once,
		.max_vms = (unsigned)options->config->max_vms,
		.max_waiting = (unsigned)options->config->max_waiting,
		.on_change = on_pool_change,
		.userdata = slot,
	};
	slot->pool = pool_new(&pool);
	return slot;
}

void slot_free(struct slot *slot)
{
	if (!slot)
		return;
	pool_free(slot->pool);
	template_manifest_free(slot->manifest);
	template_definition_free(slot->definition);
	error_done(&slot->broken);
	free(slot);
}

int slot_accepts(const struct slot *slot, uint32_t vcpus, uint32_t memory_mib, struct error *err)
{
	const struct template_definition *d = slot->definition;

	if (vcpus > d->vcpus || memory_mib > d->memory_mib)
		return error_set(err, EBUSY,
				 "no template fits: %u vCPUs and %u MiB are wanted, template %s "
				 "has %lu and %lu",
				 vcpus, memory_mib, d->name, (unsigned long)d->vcpus,
				 (unsigned long)d->memory_mib);
	switch (slot->state) {
	case SLOT_READY:
	case SLOT_BAKING:
		return 0;
	case SLOT_BROKEN:
		return error_set(err, ENOTCONN, "template %s is broken: %s", d->name,
				 error_message(&slot->broken));
	case SLOT_ABSENT:
	case SLOT_REMOVING:
		break;
	}
	return error_set(err, ENOTCONN, "template %s is %s: run `kiln-ctl factory init`", d->name,
			 slot_state_to_string(slot->state));
}

const char *slot_name(const struct slot *slot)
{
	return slot->definition->name;
}

enum slot_state slot_state(const struct slot *slot)
{
	return slot->state;
}

const char *slot_phase(const struct slot *slot)
{
	return slot->state == SLOT_BAKING ? bake_phase_to_string(slot->phase) : "";
}

const char *slot_error(const struct slot *slot)
{
	if (slot->state == SLOT_BROKEN)
		return error_message(&slot->broken);
	const char *failure = pool_failure(slot->pool);
	return failure ? failure : "";
}

const struct template_manifest *slot_manifest(const struct slot *slot)
{
	return slot->manifest;
}

struct pool *slot_pool(struct slot *slot)
{
	return slot->pool;
}
