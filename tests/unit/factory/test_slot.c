/* A slot's life with bakes, a pool and a watch that do what the test says: their functions are
 * defined below, so the linker does not take the real ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/memory.h"
#include "factory/bake/bake_link.h"
#include "factory/jail/jailer_job.h"
#include "factory/templates/input_watch.h"
#include "factory/templates/slot.h"
#include "tests/unit/state_table.h"

#define DEADLINE_MS 10000

struct bake_link {
	struct bake_link_options options;
};

struct pool {
	struct pool_options options;
	void (*on_drained)(void *userdata);
	void *drained_data;
};

struct input_watch {
	struct input_watch_options options;
};

struct answer {
	bool done;
	int number;
};

static struct {
	struct loop *loop;
	struct worker_pool *workers;
	struct bake_queue *bakes;
	struct factory_config config;
	struct template_host host;
	struct slot *slot;
	struct bake_link *bake; /* under way */
	unsigned baked;
	struct pool *pool;
	struct input_watch *watch;
	char opened[4], rolled[4]; /* ids */
	bool old_machine;          /* something of the template before is parked */
	char *kept;                /* by the last removal */
	uint64_t defined;          /* target of the pool, as the definition says now */
	uint64_t target;           /* that the pool was given */
	unsigned parked;           /* of one that is wanted */
	const char *shortfall, *roll_obstacle;
	char old_id[DIGEST_HEX_SIZE]; /* of what is parked of the template before */
	bool removed;
	/* what the watch says */
	const char *stale;
	bool settled;
	enum on_stale on_stale;
	struct template_inputs inputs;
} play;

/* ---------------------------------------------------------------- the played parts */

int template_definition_load(const char *path _unused_, struct template_definition **ret,
			     struct error *err _unused_)
{
	*ret = xnew(struct template_definition);
	(*ret)->name = xstrdup("default");
	(*ret)->pool.target = play.defined;
	return 0;
}

void template_definition_free(struct template_definition *definition)
{
	if (definition)
		free(definition->name);
	free(definition);
}

int jailer_job(struct jailer *jailer _unused_, const struct jailer_request *request,
	       int cancel_fd _unused_, json_t **ret_answer, struct error *err _unused_)
{
	assert_int_equal(request->verb, JAILER_FORGET);
	assert_string_equal(request->text.items[0], "default");
	play.removed = true;
	replace_string(&play.kept, request->text.count > 1 ? request->text.items[1] : NULL);
	*ret_answer = json_object();
	return 0;
}

struct bake_link *bake_link_start(const struct bake_link_options *options)
{
	assert_null(play.bake);
	play.bake = xnew(struct bake_link);
	play.bake->options = *options;
	play.baked++;
	return play.bake;
}

static void bake_finish(int number, const char *id)
{
	_cleanup_(error_done) struct error err = {};
	struct bake_link *bake = steal_ptr(play.bake);
	struct template_manifest *manifest = NULL;

	if (number < 0) {
		(void)error_set(&err, number, "played");
	} else {
		manifest = xnew(struct template_manifest);
		strcpy(manifest->id, id);
		for (int i = 0; i < TEMPLATE_INPUTS; i++)
			manifest->inputs.values[i] = xstrdup("baked");
	}
	bake->options.on_done(bake, number, manifest, &err, bake->options.userdata);
}

void bake_link_cancel(struct bake_link *bake)
{
	assert_ptr_equal(bake, play.bake);
	bake_finish(-ECANCELED, NULL);
}

void bake_link_free(struct bake_link *bake)
{
	free(bake);
}

void bake_link_abandon(struct bake_link *bake)
{
	assert_ptr_equal(bake, play.bake);
	free(steal_ptr(play.bake));
}

char *bake_link_console(const struct bake_link *bake _unused_)
{
	return xstrdup("the console of a bake");
}

char *bake_console_of(const struct template_manifest *manifest)
{
	return xstrdup(manifest->id);
}

static const char *const bake_phase_names[] = { [BAKE_HASHING] = "hashing" };
DEFINE_STRING_TABLE(bake_phase, enum bake_phase, bake_phase_names)

struct pool *pool_new(const struct pool_options *options)
{
	play.pool = xnew(struct pool);
	play.pool->options = *options;
	return play.pool;
}

void pool_free(struct pool *pool)
{
	free(pool);
}

void pool_open(struct pool *pool _unused_, const struct template_manifest *manifest)
{
	strcpy(play.opened, manifest->id);
}

void pool_roll(struct pool *pool _unused_, const struct template_manifest *manifest)
{
	strcpy(play.rolled, manifest->id);
}

void pool_give_up(struct pool *pool _unused_, const char *reason _unused_)
{
}

void pool_close(struct pool *pool, const char *reason _unused_, void (*fn)(void *), void *userdata)
{
	pool->on_drained = fn;
	pool->drained_data = userdata;
}

void pool_stop(struct pool *pool, const char *reason, void (*fn)(void *), void *userdata)
{
	pool_close(pool, reason, fn, userdata);
}

static void pool_news(void)
{
	play.pool->options.on_change(play.pool, play.pool->options.userdata);
}

void pool_counts(const struct pool *pool _unused_, struct pool_counts *ret_counts)
{
	*ret_counts = (struct pool_counts){ .target = 1, .parked = play.parked };
}

void pool_set_policy(struct pool *pool _unused_, const struct pool_policy *policy)
{
	play.target = policy->target;
}

const char *pool_failure(const struct pool *pool _unused_)
{
	return NULL;
}

const char *pool_shortfall(const struct pool *pool _unused_, unsigned count)
{
	assert_int_equal(count, 1);
	return play.shortfall;
}

void pool_retry(struct pool *pool _unused_)
{
}

bool pool_is_broken(const struct pool *pool _unused_)
{
	return false;
}

struct pool_member *pool_next(struct pool *pool _unused_, struct pool_member *after)
{
	return play.old_machine && !after ? (struct pool_member *)&play : NULL;
}

struct vm *pool_member_vm(const struct pool_member *member)
{
	return (struct vm *)(uintptr_t)member;
}

enum vm_state vm_state(const struct vm *vm _unused_)
{
	return VM_PARKED;
}

const char *vm_template_id(const struct vm *vm _unused_)
{
	return play.old_id;
}

const char *pool_roll_obstacle(const struct pool *pool _unused_)
{
	return play.roll_obstacle;
}

struct input_watch *input_watch_new(const struct input_watch_options *options)
{
	play.watch = xnew(struct input_watch);
	play.watch->options = *options;
	return play.watch;
}

void input_watch_free(struct input_watch *watch)
{
	free(watch);
}

void input_watch_start(struct input_watch *watch _unused_,
		       const struct template_manifest *manifest _unused_)
{
	play.stale = "";
}

void input_watch_stop(struct input_watch *watch _unused_)
{
}

const char *input_watch_stale(const struct input_watch *watch _unused_)
{
	return play.stale;
}

const struct template_inputs *input_watch_inputs(const struct input_watch *watch _unused_)
{
	return &play.inputs;
}

bool input_watch_settled(const struct input_watch *watch _unused_)
{
	return play.settled;
}

const struct template_definition *input_watch_definition(const struct input_watch *watch _unused_)
{
	static struct template_definition definition;

	definition.on_stale = (int)play.on_stale;
	return &definition;
}

const struct template_host *input_watch_host(const struct input_watch *watch _unused_)
{
	return &play.host;
}

/* ---------------------------------------------------------------- the fixture */

static int setup(void **state _unused_)
{
	memset(&play, 0, sizeof(play));
	play.stale = "";
	play.parked = 1;
	strcpy(play.old_id, "old");
	play.config.store = (char *)"/nowhere";
	play.loop = loop_new();
	play.workers = worker_pool_new(play.loop, 1, 4);
	play.bakes = bake_queue_new(play.loop);
	struct slot_options options = {
		.loop = play.loop,
		.workers = play.workers,
		.config = &play.config,
		.host = &play.host,
		.bakes = play.bakes,
	};
	assert_int_equal(template_definition_load("", &options.definition, NULL), 0);
	options.definition->path = NULL;
	play.slot = slot_new(&options);
	return 0;
}

static int teardown(void **state _unused_)
{
	worker_pool_free(play.workers);
	slot_free(play.slot);
	bake_queue_free(play.bakes);
	loop_free(play.loop);
	template_inputs_done(&play.inputs);
	free(play.kept);
	return 0;
}

static void turn(void)
{
	bool never = false;

	(void)loop_run_until(play.loop, &never, 1);
}

static void on_answer(int number, const struct error *err _unused_, void *userdata)
{
	*(struct answer *)userdata = (struct answer){ .done = true, .number = number };
}

static void await(const struct answer *answer)
{
	assert_true(loop_run_until(play.loop, &answer->done, DEADLINE_MS));
}

/* Bakes "old" and waits until what was there before is cleaned away. */
static void make_ready(void)
{
	slot_make_ready(play.slot, NULL, NULL);
	turn();
	assert_non_null(play.bake);
	assert_false(play.bake->options.anew);
	bake_finish(0, "old");
	assert_string_equal(play.opened, "old");
	pool_news();
	while (slot_rebuilding(play.slot))
		turn();
	assert_string_equal(play.kept, "old");
	play.removed = false;
}

/* ---------------------------------------------------------------- the tests */

static void test_rebuild_removes_the_old_after_its_machines(void **state _unused_)
{
	struct answer answer = {};

	make_ready();
	slot_rebuild(play.slot, on_answer, &answer);
	assert_string_equal(slot_phase(play.slot), "queued");
	turn();
	assert_true(play.bake->options.anew);
	assert_int_equal(slot_state(play.slot), SLOT_READY);
	play.old_machine = true;
	bake_finish(0, "new");
	assert_string_equal(play.rolled, "new");
	assert_string_equal(slot_manifest(play.slot)->id, "new");
	pool_news();
	turn();
	assert_false(play.removed);
	assert_true(slot_rebuilding(play.slot));
	play.old_machine = false;
	pool_news();
	await(&answer);
	assert_int_equal(answer.number, 0);
	assert_string_equal(play.kept, "new");
	assert_false(slot_rebuilding(play.slot));
}

static void test_failed_rebuild_changes_nothing(void **state _unused_)
{
	struct answer answer = {};

	make_ready();
	slot_rebuild(play.slot, on_answer, &answer);
	turn();
	bake_finish(-EIO, NULL);
	assert_int_equal(answer.number, -EIO);
	assert_int_equal(slot_state(play.slot), SLOT_READY);
	assert_string_equal(slot_manifest(play.slot)->id, "old");
	assert_string_equal(slot_rebuild_error(play.slot), "played");
	assert_string_equal(play.rolled, "");
	_cleanup_free_ char *console = slot_console(play.slot);
	assert_string_equal(console, "the console of a bake");
}

/* Asked for while the pool still goes over: it is another one, after that. */
static void test_rebuild_during_the_rolling(void **state _unused_)
{
	struct answer answer = {};

	make_ready();
	slot_rebuild(play.slot, NULL, NULL);
	turn();
	play.old_machine = true;
	bake_finish(0, "new");
	slot_rebuild(play.slot, on_answer, &answer);
	turn();
	assert_int_equal(play.baked, 2);
	play.old_machine = false;
	pool_news();
	while (!play.bake)
		turn();
	assert_false(answer.done);
	bake_finish(0, "neo");
	pool_news();
	await(&answer);
	assert_string_equal(play.kept, "neo");
}

/* The template that was baked is no good, say: its clones fail. */
static void begin_a_stuck_rebuild(struct answer *answer)
{
	make_ready();
	slot_rebuild(play.slot, on_answer, answer);
	turn();
	play.old_machine = true;
	bake_finish(0, "new");
	pool_news();
	assert_false(answer->done);
	play.roll_obstacle = "they fail";
	pool_news();
}

static void test_another_rebuild_where_the_old_machines_stay(void **state _unused_)
{
	struct answer answer = {}, second = {};

	begin_a_stuck_rebuild(&answer);
	assert_int_equal(answer.number, -EIO);
	assert_non_null(strstr(slot_rebuild_error(play.slot), "stay: they fail"));
	slot_rebuild(play.slot, on_answer, &second);
	turn();
	assert_true(play.bake->options.anew);
	/* What is being baked is not to be cleaned away, nor is this one told what the first was.
	 */
	play.old_machine = false;
	pool_news();
	assert_false(play.removed);
	assert_false(second.done);
	play.roll_obstacle = NULL;
	bake_finish(0, "neo");
	pool_news();
	await(&second);
	assert_int_equal(second.number, 0);
	assert_string_equal(play.kept, "neo");
	assert_string_equal(slot_rebuild_error(play.slot), "");
}

static void test_a_failed_bake_beside_old_machines(void **state _unused_)
{
	struct answer answer = {}, second = {};

	begin_a_stuck_rebuild(&answer);
	slot_rebuild(play.slot, on_answer, &second);
	turn();
	play.old_machine = false;
	play.roll_obstacle = NULL;
	bake_finish(-EIO, NULL);
	assert_int_equal(second.number, -EIO);
	while (slot_rebuilding(play.slot))
		turn();
	assert_string_equal(play.kept, "new");
}

/* Of the same inputs there are two templates at most. */
static void test_no_bake_over_what_is_parked(void **state _unused_)
{
	struct answer answer = {};

	begin_a_stuck_rebuild(&answer);
	template_inputs_id("default", &slot_manifest(play.slot)->inputs, 1, play.old_id);
	slot_rebuild(play.slot, NULL, NULL);
	turn();
	assert_false(play.bake->options.anew);
	bake_finish(-EIO, NULL);
	pool_news();
	assert_string_equal(slot_rebuild_error(play.slot), "played"); /* more than that they stay */
}

static void look(void)
{
	play.watch->options.on_look(play.watch, play.watch->options.userdata);
	turn();
}

static void test_stale_is_rebuilt_by_policy_and_once(void **state _unused_)
{
	make_ready();
	play.stale = "kernel changed";
	play.settled = true;
	for (int i = 0; i < TEMPLATE_INPUTS; i++)
		replace_string(&play.inputs.values[i], "now");
	look();
	assert_null(play.bake); /* keep */
	play.on_stale = ON_STALE_REBUILD;
	play.settled = false;
	look();
	assert_null(play.bake); /* in the middle of being written */
	play.settled = true;
	look();
	assert_non_null(play.bake);
	assert_false(play.bake->options.anew);
	look(); /* one is enough */
	bake_finish(-EIO, NULL);
	look();
	assert_null(play.bake); /* the same inputs would fail again */
	replace_string(&play.inputs.values[INPUT_KERNEL], "half mended");
	look();
	assert_non_null(play.bake);
	replace_string(&play.inputs.values[INPUT_KERNEL], "mended");
	look();
	bake_finish(-ESTALE, NULL);
	look();
	assert_non_null(play.bake); /* these have not been tried */
	bake_finish(0, "new");
	play.stale = "kernel changed"; /* as the watch sees it, and the bake did not */
	look();
	assert_null(play.bake);
	play.stale = "";
	assert_string_equal(slot_rebuild_error(play.slot), "");
	assert_string_equal(play.rolled, "new");
}

static void test_init_waits_while_enough_is_on_its_way(void **state _unused_)
{
	struct answer refused = {}, done = {};

	make_ready();
	play.parked = 0;
	slot_make_ready(play.slot, on_answer, &refused);
	pool_news();
	assert_false(refused.done);
	play.shortfall = "it is paused";
	pool_news();
	assert_int_equal(refused.number, -EIO);
	play.shortfall = NULL;
	slot_make_ready(play.slot, on_answer, &done);
	assert_false(done.done);
	play.parked = 1;
	pool_news();
	assert_true(done.done);
	assert_int_equal(done.number, 0);
}

static void drained(void)
{
	void (*fn)(void *) = steal_ptr(play.pool->on_drained);

	assert_non_null(fn);
	fn(play.pool->drained_data);
}

static void test_destroy_during_a_rebuild(void **state _unused_)
{
	struct answer rebuild = {}, destroy = {};

	make_ready();
	slot_rebuild(play.slot, on_answer, &rebuild);
	turn();
	slot_destroy(play.slot, on_answer, &destroy);
	assert_int_equal(rebuild.number, -ECANCELED);
	assert_null(play.bake);
	drained();
	await(&destroy);
	assert_int_equal(slot_state(play.slot), SLOT_ABSENT);
	assert_true(play.removed);
	assert_null(play.kept);
}

static void on_other_turn(void *userdata)
{
	(void)userdata;
}

static void test_no_claim_waits_for_one_that_is_destroyed(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};
	struct template_offer offer;
	struct answer answer = {};

	make_ready();
	assert_int_equal(slot_accepts(play.slot, NULL), 0);
	slot_destroy(play.slot, on_answer, &answer);
	assert_int_equal(slot_state(play.slot), SLOT_READY); /* its machines are still ending */
	assert_int_equal(slot_accepts(play.slot, &err), -ENOTCONN);
	assert_non_null(strstr(error_message(&err), "is being destroyed"));
	slot_offer(play.slot, &offer);
	assert_int_equal(offer.readiness, 0);
	drained();
	await(&answer);
}

static void test_destroy_while_queued(void **state _unused_)
{
	struct answer init = {}, destroy = {};
	struct bake_turn other = { .fn = on_other_turn };

	bake_queue_enter(play.bakes, &other);
	turn();
	slot_make_ready(play.slot, on_answer, &init);
	turn();
	assert_null(play.bake); /* somebody else bakes */
	slot_destroy(play.slot, on_answer, &destroy);
	assert_int_equal(init.number, -ECANCELED);
	drained();
	await(&destroy);
	bake_queue_leave(play.bakes, &other);
	turn();
	assert_null(play.bake);
	assert_int_equal(slot_state(play.slot), SLOT_ABSENT);
}

/* Of a broken template machines may be left, whose end takes its time. */
static void test_init_while_a_broken_one_is_destroyed(void **state _unused_)
{
	struct answer destroy = {}, init = {};

	slot_make_ready(play.slot, NULL, NULL);
	turn();
	bake_finish(-EIO, NULL);
	assert_int_equal(slot_state(play.slot), SLOT_BROKEN);
	slot_destroy(play.slot, on_answer, &destroy);
	slot_make_ready(play.slot, on_answer, &init);
	turn();
	assert_null(play.bake);
	drained();
	await(&destroy);
	assert_int_equal(destroy.number, 0);
	turn();
	assert_false(init.done);
	bake_finish(0, "new");
	pool_news();
	await(&init);
	assert_int_equal(init.number, 0);
}

/* What was asked for while the template was being destroyed. */
static void expect_baked_after(const struct answer *destroy, const struct answer *init)
{
	drained();
	await(destroy);
	turn();
	bake_finish(0, "new");
	pool_news();
	await(init);
	assert_int_equal(init->number, 0);
}

static void test_init_while_an_absent_one_is_destroyed(void **state _unused_)
{
	struct answer destroy = {}, init = {};

	slot_destroy(play.slot, on_answer, &destroy);
	slot_rebuild(play.slot, on_answer, &init);
	turn();
	assert_null(play.bake);
	expect_baked_after(&destroy, &init);
}

/* The pool that is ending is not the one that is waited for. */
static void test_init_while_a_ready_one_is_destroyed(void **state _unused_)
{
	struct answer destroy = {}, init = {};

	make_ready();
	slot_destroy(play.slot, on_answer, &destroy);
	slot_make_ready(play.slot, on_answer, &init);
	pool_news();
	assert_false(init.done);
	expect_baked_after(&destroy, &init);
}

static void test_nothing_is_baked_after_a_stop(void **state _unused_)
{
	struct answer stop = {}, init = {}, late = {};

	slot_stop(play.slot, on_answer, &stop);
	slot_make_ready(play.slot, on_answer, &init);
	assert_true(init.done);
	assert_int_equal(init.number, -ECANCELED);
	drained();
	await(&stop);
	slot_rebuild(play.slot, on_answer, &late);
	assert_true(late.done);
	assert_int_equal(late.number, -ECANCELED);
	turn();
	assert_null(play.bake);
	assert_int_equal(slot_state(play.slot), SLOT_ABSENT);
}

/* The template is served again at the next start. */
static void test_stop_overtakes_a_destroy(void **state _unused_)
{
	struct answer destroy = {}, stop = {};

	make_ready();
	slot_destroy(play.slot, on_answer, &destroy);
	slot_stop(play.slot, on_answer, &stop);
	assert_true(destroy.done);
	assert_int_equal(destroy.number, -ECANCELED);
	drained();
	await(&stop);
	assert_int_equal(stop.number, 0);
	assert_false(play.removed);
	assert_int_equal(slot_state(play.slot), SLOT_READY);
}

/* It waits for the files of the template before. */
static void test_stop_overtakes_a_destroy_that_waits(void **state _unused_)
{
	struct answer rebuild = {}, destroy = {}, stop = {};

	make_ready();
	slot_rebuild(play.slot, on_answer, &rebuild);
	turn();
	bake_finish(0, "new");
	pool_news(); /* the removal of the old one begins */
	slot_destroy(play.slot, on_answer, &destroy);
	drained();
	slot_stop(play.slot, on_answer, &stop);
	assert_int_equal(destroy.number, -ECANCELED);
	drained();
	await(&stop);
	worker_pool_free(steal_ptr(play.workers));
	assert_string_equal(play.kept, "new");
	assert_int_equal(slot_state(play.slot), SLOT_READY);
}

static void test_policy_of_a_bake_under_way(void **state _unused_)
{
	make_ready();
	slot_rebuild(play.slot, NULL, NULL);
	turn();
	assert_non_null(play.bake);
	play.defined = 7;
	assert_true(slot_reload_policy(play.slot));
	assert_int_equal(play.target, 7);
	bake_finish(0, "new");
	assert_int_equal(play.target, 7);
	assert_int_equal(slot_definition(play.slot)->pool.target, 7);
}

/* The bake has read one that never was the pool's. */
static void test_policy_that_is_taken_back_during_a_bake(void **state _unused_)
{
	make_ready();
	play.defined = 7;
	slot_rebuild(play.slot, NULL, NULL);
	turn();
	play.defined = 0;
	assert_false(slot_reload_policy(play.slot));
	bake_finish(0, "new");
	assert_int_equal(play.target, 0);
}

/* Who waits for the template after the one that is being removed is answered, and nothing is baked.
 */
static void test_stop_during_a_removal(void **state _unused_)
{
	struct answer destroy = {}, init = {}, stop = {};

	make_ready();
	slot_destroy(play.slot, on_answer, &destroy);
	drained();
	assert_int_equal(slot_state(play.slot), SLOT_REMOVING);
	slot_make_ready(play.slot, on_answer, &init);
	slot_stop(play.slot, on_answer, &stop);
	await(&stop);
	assert_true(init.done && destroy.done);
	assert_int_equal(init.number, -ECANCELED);
	turn();
	assert_null(play.bake);
}

/* A factory that is stopped for long ends without its bakes: nobody waits on. */
static void test_end_during_a_bake(void **state _unused_)
{
	struct answer init = {};

	slot_make_ready(play.slot, on_answer, &init);
	turn();
	slot_free(steal_ptr(play.slot));
	assert_true(init.done);
	assert_int_equal(init.number, -ECANCELED);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

static void the_table_is_as_documented(void **state _unused_)
{
	assert_states(&slot_states, "absent: baking removing\n"
				    "baking: absent ready broken\n"
				    "ready: removing\n"
				    "broken: baking removing\n"
				    "removing: absent\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_table_is_as_documented),
		TEST(test_rebuild_removes_the_old_after_its_machines),
		TEST(test_failed_rebuild_changes_nothing),
		TEST(test_rebuild_during_the_rolling),
		TEST(test_another_rebuild_where_the_old_machines_stay),
		TEST(test_a_failed_bake_beside_old_machines),
		TEST(test_no_bake_over_what_is_parked),
		TEST(test_stale_is_rebuilt_by_policy_and_once),
		TEST(test_init_waits_while_enough_is_on_its_way),
		TEST(test_destroy_during_a_rebuild),
		TEST(test_no_claim_waits_for_one_that_is_destroyed),
		TEST(test_destroy_while_queued),
		TEST(test_init_while_a_broken_one_is_destroyed),
		TEST(test_init_while_an_absent_one_is_destroyed),
		TEST(test_init_while_a_ready_one_is_destroyed),
		TEST(test_nothing_is_baked_after_a_stop),
		TEST(test_stop_overtakes_a_destroy),
		TEST(test_stop_overtakes_a_destroy_that_waits),
		TEST(test_policy_of_a_bake_under_way),
		TEST(test_policy_that_is_taken_back_during_a_bake),
		TEST(test_stop_during_a_removal),
		TEST(test_end_during_a_bake),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
