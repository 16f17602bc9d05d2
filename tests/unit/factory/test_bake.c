/* The order of a bake and its ends. The work itself and the warming are played here: their
 * functions are defined below, so the linker does not take the real ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/socket.h"
#include "factory/bake/bake.h"
#include "factory/bake/bake_work.h"
#include "factory/vm/warm.h"
#include "tests/unit/state_table.h"

enum { NEVER = -1, DEADLINE_MS = 20 * 1000 };

struct bake_work {
	bool has_manifest;
};

struct warm {
	struct warm_options options;
};

/* What the played parts do, and what they saw. */
static struct {
	bool existing;
	int fail_at;   /* phase */
	int cancel_at; /* phase: as soon as it is told of */
	int free_at;   /* ditto */
	int stop_at;   /* ditto: the workers end, and the bake is abandoned */
	char *socket;
	unsigned undone, works, manifests;
	enum bake_phase phases[BAKE_DONE + 1];
	size_t nphases;
	int number;
	char *message;
	bool done, has_manifest, stopped;
	struct loop *loop;
	struct bake *bake;
} play;

/* ---------------------------------------------------------------- the played parts */

static int work_step(enum bake_phase phase, struct error *err)
{
	return play.fail_at == (int)phase ? error_set(err, EIO, "played") : 0;
}

struct bake_work *bake_work_new(const struct bake_options *options _unused_)
{
	play.works++;
	return xnew(struct bake_work);
}

void bake_work_free(struct bake_work *work)
{
	play.works--;
	free(work);
}

int bake_work_prepare(struct bake_work *work, struct error *err)
{
	work->has_manifest = play.existing;
	return work_step(BAKE_HASHING, err);
}

int bake_work_boot(struct bake_work *work _unused_, struct error *err)
{
	return work_step(BAKE_BOOTING, err);
}

void bake_work_answered(struct bake_work *work _unused_, const char *agent_version)
{
	assert_string_equal(agent_version, "1.0");
}

void bake_work_trims(struct bake_work *work _unused_)
{
}

int bake_work_trim(struct bake_work *work _unused_, struct error *err)
{
	return work_step(BAKE_TRIMMING, err);
}

int bake_work_freeze(struct bake_work *work _unused_, struct error *err)
{
	return work_step(BAKE_FREEZING, err);
}

int bake_work_store(struct bake_work *work, struct error *err)
{
	work->has_manifest = play.fail_at != BAKE_STORING;
	return work_step(BAKE_STORING, err);
}

void bake_work_explain(const struct bake_work *work _unused_, struct error *err _unused_)
{
}

int bake_work_undo(struct bake_work *work _unused_, struct error *err _unused_)
{
	play.undone++;
	return 0;
}

void bake_work_kill(struct bake_work *work _unused_)
{
}

const char *bake_work_id(const struct bake_work *work _unused_)
{
	return "0123";
}

const char *bake_work_agent_socket(const struct bake_work *work _unused_)
{
	return play.socket;
}

const char *bake_work_console_path(const struct bake_work *work _unused_)
{
	return "/nowhere";
}

const char *bake_work_console_log(const struct bake_work *work _unused_)
{
	return "the log";
}

char *bake_work_read_console(const char *path)
{
	return xstrdup(path);
}

const char *bake_work_console_tail(const struct bake_work *work _unused_)
{
	return "Kernel panic";
}

bool bake_work_has_manifest(const struct bake_work *work)
{
	return work->has_manifest;
}

struct template_manifest *bake_work_take_manifest(struct bake_work *work)
{
	if (!work->has_manifest)
		return NULL;
	play.manifests++;
	return xnew(struct template_manifest);
}

void template_manifest_free(struct template_manifest *manifest)
{
	if (manifest)
		play.manifests--;
	free(manifest);
}

static void warm_answer(void *userdata)
{
	_cleanup_(error_done) struct error err = {};
	struct warm *warm = userdata;
	bool failed = play.fail_at == BAKE_ANSWERING || play.fail_at == BAKE_REHEARSING;

	if (!warm->options.on_done) {
		free(warm);
		return;
	}
	if (play.fail_at != BAKE_ANSWERING)
		warm->options.on_answer(warm, "1.0", warm->options.userdata);
	if (failed)
		(void)error_set(&err, ETIMEDOUT, "no answer");
	warm->options.on_done(warm, failed ? -ETIMEDOUT : 0, failed ? &err : NULL,
			      warm->options.userdata);
	if (!warm->options.on_done)
		free(warm);
	else
		warm->options.agent = NULL; /* answered: warm_free() may free */
}

struct warm *warm_start(const struct warm_options *options)
{
	struct warm *warm = xnew(struct warm);

	assert_non_null(options->agent);
	warm->options = *options;
	loop_defer(options->loop, warm_answer, warm);
	return warm;
}

void warm_free(struct warm *warm)
{
	if (!warm)
		return;
	if (!warm->options.agent)
		free(warm);
	else
		warm->options.on_done = NULL; /* warm_answer() is still to come, and frees */
}

/* ---------------------------------------------------------------- a run */

static void free_bake(void *bake)
{
	bake_free(bake);
}

static void on_phase(struct bake *bake, enum bake_phase phase, void *userdata _unused_)
{
	play.phases[play.nphases++] = phase;
	if (play.cancel_at == (int)phase)
		bake_cancel(bake);
	if (play.free_at == (int)phase)
		loop_defer(play.loop, free_bake, bake);
	if (play.stop_at == (int)phase)
		play.stopped = true;
}

static void on_done(struct bake *bake, int number, struct template_manifest *manifest,
		    const struct error *err, void *userdata _unused_)
{
	assert_false(play.done);
	play.done = true;
	play.number = number;
	play.has_manifest = manifest != NULL;
	play.message = xstrdup(err ? err->message : "");
	assert_int_equal(number < 0, err != NULL);
	template_manifest_free(manifest);
	loop_defer(play.loop, free_bake, bake);
}

static int setup(void **state)
{
	char dir[] = "/tmp/kiln-test-bake-XXXXXX";

	memset(&play, 0, sizeof(play));
	assert_non_null(mkdtemp(dir));
	*state = xstrdup(dir);
	play.socket = path_join(dir, "agent.sock");
	play.fail_at = play.cancel_at = play.free_at = play.stop_at = NEVER;
	return 0;
}

static int teardown(void **state)
{
	int r = path_remove(*state, NULL);

	free(*state);
	free(play.socket);
	free(play.message);
	return r;
}

static bool nothing_left(void)
{
	return play.works == 0;
}

static void run(void)
{
	const struct template_definition definition = { .boot_timeout_s = 5 };
	const struct template_host host = {};
	_cleanup_(loop_free_cleanup) struct loop *loop = loop_new();
	struct worker_pool *workers = worker_pool_new(loop, 1, 4);
	_cleanup_close_ int fd = -EBADF;
	bool never = false;

	assert_int_equal(socket_listen_unix(play.socket, 0600, &fd, NULL), 0);
	play.loop = loop;
	play.bake = bake_start(&(struct bake_options){
		.loop = loop,
		.workers = workers,
		.definition = &definition,
		.host = &host,
		.store = "/s",
		.run_dir = "/r",
		.on_phase = on_phase,
		.on_done = on_done,
	});
	for (unsigned waited = 0; !nothing_left() && !play.stopped && waited < DEADLINE_MS;
	     waited += 10)
		(void)loop_run_until(loop, &play.stopped, 10);
	worker_pool_free(workers);
	if (play.stopped)
		bake_abandon(play.bake);
	for (unsigned round = 0; round < 3 && !nothing_left(); round++)
		(void)loop_run_until(loop, &never, 10);
	assert_true(nothing_left());
	assert_int_equal(play.manifests, 0);
}

static void bakes_in_order(void **state _unused_)
{
	run();
	assert_true(play.done);
	assert_int_equal(play.number, 0);
	assert_true(play.has_manifest);
	assert_int_equal(play.undone, 0);
	assert_int_equal(play.nphases, BAKE_DONE);
	for (size_t i = 0; i < play.nphases; i++)
		assert_int_equal(play.phases[i], BAKE_BOOTING + i);
}

static void takes_an_existing_one(void **state _unused_)
{
	play.existing = true;
	run();
	assert_int_equal(play.number, 0);
	assert_true(play.has_manifest);
	assert_int_equal(play.nphases, 0);
	assert_int_equal(play.undone, 0);
}

static void ends_well_at(enum bake_phase phase, int number)
{
	run();
	assert_true(play.done);
	assert_int_equal(play.number, number);
	assert_false(play.has_manifest);
	assert_int_equal(play.undone, 1);
	if (phase > BAKE_HASHING)
		assert_int_equal(play.phases[play.nphases - 1], phase);
	assert_non_null(strstr(play.message, bake_phase_to_string(phase)));
}

static void fails_in_each_phase(void **state)
{
	for (int phase = BAKE_HASHING; phase < BAKE_DONE; phase++) {
		bool guest = phase == BAKE_ANSWERING || phase == BAKE_REHEARSING;
		assert_int_equal(teardown(state), 0);
		assert_int_equal(setup(state), 0);
		play.fail_at = phase;
		ends_well_at(phase, guest ? -ETIMEDOUT : -EIO);
		assert_int_equal(guest, strstr(play.message, "Kernel panic") != NULL);
	}
}

static void is_cancelled_in_each_phase(void **state)
{
	for (int phase = BAKE_BOOTING; phase < BAKE_DONE; phase++) {
		assert_int_equal(teardown(state), 0);
		assert_int_equal(setup(state), 0);
		play.cancel_at = phase;
		ends_well_at(phase, -ECANCELED);
		assert_null(strstr(play.message, "Kernel panic"));
	}
}

static void is_freed_in_each_phase(void **state)
{
	for (int phase = BAKE_BOOTING; phase < BAKE_DONE; phase++) {
		assert_int_equal(teardown(state), 0);
		assert_int_equal(setup(state), 0);
		play.free_at = phase;
		run();
		assert_false(play.done);
		assert_int_equal(play.undone, 1);
	}
}

static void is_abandoned_in_each_phase(void **state)
{
	/* With the workers gone, what follows the last job is done. */
	for (int phase = BAKE_BOOTING; phase < BAKE_STORING; phase++) {
		assert_int_equal(teardown(state), 0);
		assert_int_equal(setup(state), 0);
		play.stop_at = phase;
		run();
		assert_false(play.done);
		assert_int_equal(play.undone, 1);
	}
}

static void names_every_phase(void **state _unused_)
{
	for (int phase = BAKE_HASHING; phase <= BAKE_DONE; phase++) {
		const char *name = bake_phase_to_string((enum bake_phase)phase);
		assert_int_equal(bake_phase_from_string(name), phase);
	}
	assert_string_equal(bake_phase_to_string((enum bake_phase)(BAKE_DONE + 1)), "invalid");
}

static void phases_and_states_follow_each_other(void **state _unused_)
{
	assert_states(&bake_phases, "hashing: booting\n"
				    "booting: answering\n"
				    "answering: rehearsing\n"
				    "rehearsing: trimming\n"
				    "trimming: freezing\n"
				    "freezing: storing\n"
				    "storing: done\n"
				    "done:\n");
	assert_states(&bake_states, "working: working talking over\n"
				    "talking: leaving\n"
				    "leaving: working abandoned\n"
				    "abandoned:\n"
				    "over:\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(phases_and_states_follow_each_other),
		cmocka_unit_test_setup_teardown(bakes_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(takes_an_existing_one, setup, teardown),
		cmocka_unit_test_setup_teardown(fails_in_each_phase, setup, teardown),
		cmocka_unit_test_setup_teardown(is_cancelled_in_each_phase, setup, teardown),
		cmocka_unit_test_setup_teardown(is_freed_in_each_phase, setup, teardown),
		cmocka_unit_test_setup_teardown(is_abandoned_in_each_phase, setup, teardown),
		cmocka_unit_test(names_every_phase),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
