#include "factory/templates/slot.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "factory/templates/slot_priv.h"
#include "factory/templates/template_removal.h"

static const char *const slot_state_names[] = {
	[SLOT_ABSENT] = "absent", [SLOT_BAKING] = "baking",     [SLOT_READY] = "ready",
	[SLOT_BROKEN] = "broken", [SLOT_REMOVING] = "removing",
};
DEFINE_STRING_TABLE(slot_state, enum slot_state, slot_state_names)

static const unsigned slot_next[] = {
	[SLOT_ABSENT] = STATE(SLOT_BAKING) | STATE(SLOT_REMOVING),
	[SLOT_BAKING] = STATE(SLOT_READY) | STATE(SLOT_BROKEN) | STATE(SLOT_ABSENT),
	[SLOT_READY] = STATE(SLOT_REMOVING),
	[SLOT_BROKEN] = STATE(SLOT_BAKING) | STATE(SLOT_REMOVING),
	[SLOT_REMOVING] = STATE(SLOT_ABSENT),
};
const struct state_machine slot_states = STATE_MACHINE("template", slot_state_names, slot_next);

static const char *const roll_names[] = { "settled", "replacing", "cleaning" };
static const unsigned roll_may_follow[] = {
	[ROLL_SETTLED] = STATE(ROLL_REPLACING),
	[ROLL_REPLACING] = STATE(ROLL_CLEANING) | STATE(ROLL_SETTLED),
	[ROLL_CLEANING] = STATE(ROLL_SETTLED) | STATE(ROLL_REPLACING),
};
static const struct state_machine roll_states = STATE_MACHINE("roll", roll_names, roll_may_follow);

static void slot_set_state(struct slot *slot, enum slot_state state)
{
	state_change(&slot_states, slot->name, slot->state, state);
	slot->state = state;
}

static void slot_set_roll(struct slot *slot, enum roll_state roll)
{
	state_change(&roll_states, slot->name, slot->roll, roll);
	slot->roll = roll;
}

/* ---------------------------------------------------------------- after a rebuild */

static void slot_remove_template(struct slot *slot);
static void slot_roll(struct slot *slot);
static void slot_bake(struct slot *slot, bool anew);

static void on_cleaned(const struct template_removal *removal, void *userdata)
{
	struct slot *slot = userdata;
	bool replaced = slot->manifest && !str_equal(slot->manifest->id, removal->keep);
	enum roll_next next = slot->next;

	if (removal->number < 0)
		log_error(slot->name, "an old template cannot be removed: %s",
			  error_message(&removal->err));
	if (next != NEXT_REMOVE && replaced) { /* once more meanwhile */
		slot_set_roll(slot, ROLL_REPLACING);
		slot_roll(slot);
		return;
	}
	slot_set_roll(slot, ROLL_SETTLED);
	slot->next = NEXT_NOTHING;
	if (next == NEXT_REMOVE)
		slot_remove_template(slot);
	else if (next == NEXT_REBUILD)
		slot_bake(slot, true);
	else
		waiters_answer(&slot->rebuild_waiters, removal->number, &removal->err);
}

/* Of this template, or of all others. Claimed machines have mapped what they need; the rest may
 * still open it. */
static bool slot_has_machines(struct slot *slot, const char *template_id, bool of_others)
{
	for (struct pool_member *m = pool_next(slot->pool, NULL); m; m = pool_next(slot->pool, m)) {
		const struct vm *vm = pool_member_vm(m);
		if (vm_state(vm) != VM_CLAIMED &&
		    str_equal(vm_template_id(vm), template_id) != of_others)
			return true;
	}
	return false;
}

static bool slot_roll_is_stuck(const struct slot *slot)
{
	return slot->roll == ROLL_REPLACING && pool_roll_obstacle(slot->pool);
}

/* Who waits for a rebuild cannot tell what the old machines wait for. */
static void slot_tell_stuck(struct slot *slot)
{
	_cleanup_(error_done) struct error err = {};
	int r = error_set(&err, EIO,
			  "template %s is baked anew, but the machines of the one before stay: %s",
			  slot->name, pool_roll_obstacle(slot->pool));

	if (!slot->rebuild_error) { /* else a bake failed since, or it has been told */
		log_warning(slot->name, "%s", error_message(&err));
		slot->rebuild_error = xstrdup(error_message(&err));
	}
	if (slot->next == NEXT_REBUILD)
		slot->next = NEXT_NOTHING;
	waiters_answer(&slot->rebuild_waiters, r, &err);
}

/* Removes the old templates once nothing will be made of them; not beside a bake, which is one that
 * is not there yet. */
static void slot_roll(struct slot *slot)
{
	if (slot->roll != ROLL_REPLACING || slot->state != SLOT_READY || slot->stopping ||
	    slot->turn.state != TURN_OUT)
		return;
	if (slot_has_machines(slot, slot->manifest->id, true)) {
		if (slot_roll_is_stuck(slot))
			slot_tell_stuck(slot);
		return;
	}
	replace_string(&slot->rebuild_error, NULL);
	slot_set_roll(slot, ROLL_CLEANING);
	template_removal_start(slot->options.workers, slot->options.jail.jailer, slot->name,
			       slot->manifest->id, on_cleaned, slot);
}

/* ---------------------------------------------------------------- the pool's news */

static void on_pool_change(struct pool *pool, void *userdata)
{
	struct slot *slot = userdata;
	struct pool_counts counts;
	const char *shortfall;

	/* While it ends they wait for the next one. */
	if (slot->state != SLOT_READY || slot_ending(slot))
		return;
	slot_roll(slot);
	pool_counts(pool, &counts);
	shortfall = pool_shortfall(pool, counts.target);
	if (counts.parked >= counts.target) {
		waiters_answer(&slot->init_waiters, 0, NULL);
	} else if (shortfall) {
		_cleanup_(error_done) struct error err = {};
		int r = error_set(&err, EIO, "template %s is baked, but %s: %s", slot->name,
				  pool_failure(pool) ? "its clones fail" : "its pool is not filled",
				  shortfall);
		waiters_answer(&slot->init_waiters, r, &err);
	}
}

/* ---------------------------------------------------------------- baking */

static void bake_end(void *bake)
{
	bake_link_free(bake);
}

static void slot_continue_end(struct slot *slot);

/* The old template goes on. What failed is not tried again by itself until an input changes, be it
 * during the bake. */
static void rebuild_failed(struct slot *slot, const struct error *err)
{
	if (err->number != ECANCELED)
		log_error(slot->name, "rebuild failed, the template of before goes on: %s",
			  error_message(err));
	replace_string(&slot->rebuild_error, error_message(err));
	waiters_answer(&slot->rebuild_waiters, -err->number, err);
	slot_roll(slot);
}

static void bake_failed(struct slot *slot, const struct error *err)
{
	if (err->number != ECANCELED)
		metrics_count(&slot->metrics, COUNTER_BAKES_FAILED,
			      bake_phase_to_string(slot->phase));
	if (slot->state == SLOT_READY) {
		rebuild_failed(slot, err);
		return;
	}
	if (err->number == ECANCELED) {
		slot_set_state(slot, SLOT_ABSENT);
	} else {
		log_error(slot->name, "bake failed: %s", error_message(err));
		(void)error_set(&slot->broken, err->number, "%s", error_message(err));
		slot_set_state(slot, SLOT_BROKEN);
	}
	pool_give_up(slot->pool, error_message(err));
	waiters_answer(&slot->init_waiters, -err->number, err);
	waiters_answer(&slot->rebuild_waiters, -err->number, err);
}

/* A template that was found baked is no bake. */
static void bake_measure(struct slot *slot)
{
	if (slot->phase != BAKE_DONE)
		return;
	metrics_count(&slot->metrics, COUNTER_BAKES, "");
	metrics_observe_since(&slot->metrics, HISTOGRAM_BAKE, slot->bake_begun_ns);
}

static void bake_succeeded(struct slot *slot, struct template_manifest *manifest)
{
	struct template_manifest *old = slot->manifest;

	bake_measure(slot);
	template_definition_free(slot->definition);
	slot->definition = steal_ptr(slot->bake_definition);
	slot->manifest = manifest;
	replace_string(&slot->rebuild_error, NULL);
	replace_string(&slot->console, NULL);
	if (slot->state != SLOT_READY)
		slot_set_state(slot, SLOT_READY);
	log_info(slot->name,
		 old ? "template %.12s takes over from %.12s" : "template %.12s is ready",
		 manifest->id, old ? old->id : "");
	if (!slot_ending(slot)) {
		if (slot->roll == ROLL_SETTLED)
			slot_set_roll(slot, ROLL_REPLACING);
		pool_set_policy(slot->pool, &slot->definition->pool);
		if (old)
			pool_roll(slot->pool, manifest);
		else
			pool_open(slot->pool, manifest);
		input_watch_start(slot->watch, manifest);
	}
	template_manifest_free(old); /* the pool has left it */
}

/* The end of a bake, of one that never began too. */
static void bake_over(struct slot *slot, struct template_manifest *manifest,
		      const struct error *err)
{
	bake_queue_leave(slot->options.bakes, &slot->turn);
	if (manifest)
		bake_succeeded(slot, manifest);
	else
		bake_failed(slot, err);
	template_definition_free(steal_ptr(slot->bake_definition));
	if (slot_ending(slot))
		slot_continue_end(slot);
}

static void on_bake_done(struct bake_link *bake, int number, struct template_manifest *manifest,
			 const struct error *err, void *userdata)
{
	struct slot *slot = userdata;

	if (number < 0) {
		free(slot->console);
		slot->console = bake_link_console(bake);
	}
	slot->bake = NULL;
	loop_defer(slot->options.loop, bake_end, bake);
	bake_over(slot, manifest, err);
}

static void on_bake_phase(struct bake_link *bake _unused_, enum bake_phase phase, void *userdata)
{
	struct slot *slot = userdata;

	slot->phase = phase;
	log_info(slot->name, "bake: %s", bake_phase_to_string(phase));
}

/* The definition is read again: what was written since is what is meant. */
static int load_definition(struct slot *slot, struct template_definition **ret, struct error *err)
{
	_cleanup_(template_definition_free_cleanup) struct template_definition *definition = NULL;
	const char *path = slot->definition_path;

	int r = template_definition_load(path, &definition, err);
	if (r == 0 && !str_equal(definition->name, slot->name))
		r = error_set(err, ESTALE, "%s defines the template \"%s\" now, not \"%s\"", path,
			      definition->name, slot->name);
	if (r == 0)
		*ret = steal_ptr(definition);
	return r;
}

bool slot_reload_policy(struct slot *slot)
{
	_cleanup_(template_definition_free_cleanup) struct template_definition *definition = NULL;
	_cleanup_(error_done) struct error err = {};
	struct pool_policy *policy = &slot->definition->pool;

	if (load_definition(slot, &definition, &err) < 0 || !definition) {
		log_warning(slot->name, "its pool stays as it was: %s", error_message(&err));
		return false;
	}
	/* It takes over when the bake is done, and was read before. */
	if (slot->bake_definition)
		slot->bake_definition->pool = definition->pool;
	if (pool_policy_equal(policy, &definition->pool))
		return false;
	*policy = definition->pool;
	pool_set_policy(slot->pool, policy);
	return true;
}

static void note_tried(struct slot *slot)
{
	const struct template_inputs *inputs = input_watch_inputs(slot->watch);

	template_inputs_done(&slot->tried);
	if (inputs)
		template_inputs_copy(inputs, &slot->tried);
}

static void on_turn(void *userdata)
{
	_cleanup_(error_done) struct error err = {};
	struct slot *slot = userdata;

	note_tried(slot);
	if (load_definition(slot, &slot->bake_definition, &err) < 0) {
		bake_over(slot, NULL, &err);
		return;
	}
	const struct bake_link_options options = {
		.loop = slot->options.loop,
		.jailer = slot->options.jail.jailer,
		.name = slot->name,
		.store = slot->options.config->store,
		.anew = slot->bake_anew,
		.on_phase = on_bake_phase,
		.on_done = on_bake_done,
		.userdata = slot,
	};
	slot->bake_begun_ns = clock_monotonic_ns();
	slot->bake = bake_link_start(&options);
}

static void slot_bake(struct slot *slot, bool anew)
{
	error_done(&slot->broken);
	slot->phase = BAKE_HASHING;
	slot->bake_anew = anew;
	if (slot->state != SLOT_READY)
		slot_set_state(slot, SLOT_BAKING);
	bake_queue_enter(slot->options.bakes, &slot->turn);
}

/* Also beside an old template whose machines stay: what was baked last may be what is wrong. */
static bool slot_may_rebuild(const struct slot *slot)
{
	return slot->turn.state == TURN_OUT &&
	       (slot->roll == ROLL_SETTLED || slot_roll_is_stuck(slot));
}

/* The template that a bake of the same inputs would make anew: machines of it may be parked. */
static bool slot_other_generation_is_used(struct slot *slot)
{
	char id[DIGEST_HEX_SIZE];

	template_inputs_id(slot->name, &slot->manifest->inputs, !slot->manifest->generation, id);
	return slot_has_machines(slot, id, false);
}

static void on_look(struct input_watch *watch, void *userdata)
{
	const struct template_definition *definition = input_watch_definition(watch);
	const struct template_inputs *inputs = input_watch_inputs(watch);
	struct slot *slot = userdata;

	if (slot->state != SLOT_READY || slot_ending(slot) || !slot_may_rebuild(slot) || !inputs ||
	    str_empty(input_watch_stale(watch)) || !input_watch_settled(watch) ||
	    definition->on_stale != ON_STALE_REBUILD || template_inputs_equal(inputs, &slot->tried))
		return;
	log_info(slot->name, "rebuilding: %s", input_watch_stale(watch));
	slot_bake(slot, false);
}

/* With unchanged inputs the template would be found baked: then it is baked anew. */
void slot_rebuild(struct slot *slot, slot_fn fn, void *userdata)
{
	if (slot->state != SLOT_READY || slot_ending(slot)) {
		slot_make_ready(slot, fn, userdata);
		return;
	}
	waiters_add(&slot->rebuild_waiters, fn, userdata);
	if (slot_may_rebuild(slot))
		slot_bake(slot, !slot_other_generation_is_used(slot));
	else if (slot->roll != ROLL_SETTLED)
		slot->next = NEXT_REBUILD; /* there is room for one beside it */
}

/* Those who wait for a template that will not be there. */
static void refuse_waiters(struct slot *slot, struct error *ret_why)
{
	int r = error_set(ret_why, ECANCELED, "template %s is being %s", slot->name,
			  slot->stopping ? "stopped" : "destroyed");

	waiters_answer(&slot->init_waiters, r, ret_why);
	waiters_answer(&slot->rebuild_waiters, r, ret_why);
}

void slot_make_ready(struct slot *slot, slot_fn fn, void *userdata)
{
	_cleanup_(error_done) struct error why = {};

	waiters_add(&slot->init_waiters, fn, userdata);
	if (slot->stopping)
		refuse_waiters(slot, &why);
	if (slot_ending(slot))
		return; /* goes on in on_removed */
	switch (slot->state) {
	case SLOT_ABSENT:
	case SLOT_BROKEN:
		slot_bake(slot, false);
		break;
	case SLOT_READY:
		pool_retry(slot->pool);
		on_pool_change(slot->pool, slot);
		break;
	case SLOT_BAKING:
	case SLOT_REMOVING:
		break;
	}
}

/* ---------------------------------------------------------------- ending */

static void on_removed(const struct template_removal *removal, void *userdata)
{
	struct slot *slot = userdata;
	_cleanup_(error_done) struct error why = {};

	if (removal->number < 0)
		log_error(slot->name, "template cannot be removed: %s",
			  error_message(&removal->err));
	slot_set_state(slot, SLOT_ABSENT);
	if (slot->stopping)
		refuse_waiters(slot, &why);
	waiters_answer(&slot->end_waiters, removal->number, &removal->err);
	if (!waiters_empty(&slot->init_waiters))
		slot_bake(slot, false);
}

static void slot_remove_template(struct slot *slot)
{
	if (slot->roll == ROLL_CLEANING) {
		slot->next = NEXT_REMOVE;
		return;
	}
	template_manifest_free(steal_ptr(slot->manifest));
	slot_set_state(slot, SLOT_REMOVING);
	template_removal_start(slot->options.workers, slot->options.jail.jailer, slot->name, NULL,
			       on_removed, slot);
}

static void on_pool_drained(void *userdata)
{
	struct slot *slot = userdata;

	/* Also where we have not baked: an earlier factory may have left one in the store. */
	if (slot->state == SLOT_REMOVING)
		return; /* asked for twice */
	if (!slot->stopping)
		slot_remove_template(slot);
	else
		waiters_answer(&slot->end_waiters, 0, NULL);
}

static void slot_continue_end(struct slot *slot)
{
	_cleanup_(error_done) struct error err = {};

	refuse_waiters(slot, &err);
	if (slot->roll == ROLL_REPLACING)
		slot_set_roll(slot, ROLL_SETTLED);
	if (slot->next == NEXT_REBUILD || slot->stopping)
		slot->next = NEXT_NOTHING;
	replace_string(&slot->rebuild_error, NULL);
	input_watch_stop(slot->watch);
	(slot->stopping ? pool_stop : pool_close)(slot->pool, error_message(&err), on_pool_drained,
						  slot);
}

static void slot_end(struct slot *slot)
{
	_cleanup_(error_done) struct error err = {};

	if (slot->bake) {
		bake_link_cancel(slot->bake); /* goes on in bake_over */
	} else if (slot->turn.state == TURN_WAITING) {
		(void)error_set(&err, ECANCELED, "cancelled");
		bake_over(slot, NULL, &err);
	} else if (slot->state != SLOT_REMOVING) {
		slot_continue_end(slot);
	}
}

void slot_destroy(struct slot *slot, slot_fn fn, void *userdata)
{
	waiters_add(&slot->end_waiters, fn, userdata);
	slot_end(slot);
	FAULT_POINT("destroy.draining");
}

/* A removal that has not begun does not begin any more. */
static void refuse_destroyers(struct slot *slot)
{
	_cleanup_(error_done) struct error why = {};
	int r = error_set(&why, ECANCELED, "the factory is stopping, template %s stays",
			  slot->name);

	if (slot->state != SLOT_REMOVING)
		waiters_answer(&slot->end_waiters, r, &why);
}

void slot_stop(struct slot *slot, slot_fn fn, void *userdata)
{
	refuse_destroyers(slot);
	waiters_add(&slot->end_waiters, fn, userdata);
	slot->stopping = true;
	slot_end(slot);
}

/* ---------------------------------------------------------------- the slot */

static struct input_watch *slot_new_watch(struct slot *slot)
{
	const struct input_watch_options options = {
		.loop = slot->options.loop,
		.workers = slot->options.workers,
		.name = slot->name,
		.path = slot->definition_path,
		.store = slot->options.config->store,
		.qemu = slot->options.config->qemu,
		.accelerator = slot->options.config->accelerator,
		.channel = slot->options.config->channel,
		.vhost_net = slot->options.config->vhost_net,
		.host = slot->options.host,
		.on_look = on_look,
		.userdata = slot,
	};

	return input_watch_new(&options);
}

struct slot *slot_new(const struct slot_options *options)
{
	struct slot *slot = xnew(struct slot);

	slot->options = *options;
	slot->definition = options->definition;
	slot->name = xstrdup(options->definition->name);
	slot->definition_path = xstrdup(options->definition->path);
	slot->word_path = xasprintf("%s/pools/%s.json", options->config->run_dir, slot->name);
	slot->turn = (struct bake_turn){ .fn = on_turn, .userdata = slot };
	struct pool_options pool = {
		.loop = options->loop,
		.name = slot->name,
		.run_dir = options->config->run_dir,
		.word = slot->word_path,
		.jail = options->jail,
		.metrics = &slot->metrics,
		.room = options->room,
		.policy = slot->definition->pool,
		.clones_at_once = (unsigned)options->config->clones_at_once,
		.max_waiting = (unsigned)options->config->max_waiting,
		.lease_grace_ms = options->config->lease_grace_s * 1000,
		.merge_pages = options->config->merge_pages,
		.scratch_dir = options->config->scratch_dir,
		.on_change = on_pool_change,
		.userdata = slot,
	};
	slot->pool = pool_new(&pool);
	slot->watch = slot_new_watch(slot);
	return slot;
}

void slot_free(struct slot *slot)
{
	_cleanup_(error_done) struct error why = {};

	if (!slot)
		return;
	bake_link_abandon(slot->bake);
	slot->stopping = true;
	refuse_waiters(slot, &why);
	waiters_answer(&slot->end_waiters, -why.number, &why);
	pool_free(slot->pool);
	template_manifest_free(slot->manifest);
	template_definition_free(slot->definition);
	template_definition_free(slot->bake_definition);
	template_inputs_done(&slot->tried);
	input_watch_free(slot->watch);
	error_done(&slot->broken);
	free(slot->rebuild_error);
	free(slot->console);
	free(slot->definition_path);
	free(slot->word_path);
	free(slot->name);
	metrics_done(&slot->metrics);
	free(slot);
}

struct metrics *slot_metrics(struct slot *slot)
{
	return &slot->metrics;
}

const char *slot_name(const struct slot *slot)
{
	return slot->name;
}

enum slot_state slot_state(const struct slot *slot)
{
	return slot->state;
}

const char *slot_phase(const struct slot *slot)
{
	if (slot->turn.state == TURN_WAITING)
		return "queued";
	return slot->bake ? bake_phase_to_string(slot->phase) : "";
}

const char *slot_stale(const struct slot *slot)
{
	return input_watch_stale(slot->watch);
}

const char *slot_rebuild_error(const struct slot *slot)
{
	return slot->rebuild_error ? slot->rebuild_error : "";
}

bool slot_rebuilding(const struct slot *slot)
{
	return slot->state == SLOT_READY &&
	       (slot->turn.state != TURN_OUT || slot->roll != ROLL_SETTLED);
}

const struct template_inputs *slot_inputs(const struct slot *slot)
{
	return input_watch_inputs(slot->watch);
}

const struct template_definition *slot_definition(const struct slot *slot)
{
	return slot->definition;
}

char *slot_console(const struct slot *slot)
{
	if (slot->bake)
		return bake_link_console(slot->bake);
	if (slot->console)
		return xstrdup(slot->console);
	return slot->manifest ? bake_console_of(slot->manifest) : xstrdup("");
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
