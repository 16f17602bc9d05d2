#include "factory/bake/bake.h"

#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/socket.h"
#include "factory/bake/bake_work.h"
#include "factory/vm/warm.h"
#include "proto/ttrpc_client.h"

enum {
	STUCK_MS = 90 * 1000, /* trimming and freezing take a second */
	RETRY_MS = 100,       /* the worker queue was full */
};

static const char *const bake_phase_names[] = {
	[BAKE_HASHING] = "hashing",     [BAKE_BOOTING] = "booting",
	[BAKE_ANSWERING] = "answering", [BAKE_REHEARSING] = "rehearsing",
	[BAKE_TRIMMING] = "trimming",   [BAKE_FREEZING] = "freezing",
	[BAKE_STORING] = "storing",     [BAKE_DONE] = "done",
};
DEFINE_STRING_TABLE(bake_phase, enum bake_phase, bake_phase_names)

static const unsigned phase_next[] = {
	[BAKE_HASHING] = STATE(BAKE_BOOTING),      [BAKE_BOOTING] = STATE(BAKE_ANSWERING),
	[BAKE_ANSWERING] = STATE(BAKE_REHEARSING), [BAKE_REHEARSING] = STATE(BAKE_TRIMMING),
	[BAKE_TRIMMING] = STATE(BAKE_FREEZING),    [BAKE_FREEZING] = STATE(BAKE_STORING),
	[BAKE_STORING] = STATE(BAKE_DONE),         [BAKE_DONE] = 0,
};
const struct state_machine bake_phases = STATE_MACHINE("bake", bake_phase_names, phase_next);

/* What a bake waits for:
 *
 *   state      what comes next                                        leaves by
 *   WORKING    the end of a job, which nothing interrupts             that
 *   TALKING    the guest's answer                                     that, or bake_cancel()
 *   LEAVING    agent_leave(), which is deferred                       that
 *   ABANDONED  ditto, which frees it: its owner is gone
 *   OVER       bake_free(): on_done was called
 */
enum bake_state { BAKE_WORKING, BAKE_TALKING, BAKE_LEAVING, BAKE_ABANDONED, BAKE_OVER };

static const char *const state_names[] = { "working", "talking", "leaving", "abandoned", "over" };
static const unsigned state_next[] = {
	[BAKE_WORKING] = STATE(BAKE_WORKING) | STATE(BAKE_TALKING) | STATE(BAKE_OVER),
	[BAKE_TALKING] = STATE(BAKE_LEAVING),
	[BAKE_LEAVING] = STATE(BAKE_WORKING) | STATE(BAKE_ABANDONED),
	[BAKE_ABANDONED] = 0,
	[BAKE_OVER] = 0,
};
const struct state_machine bake_states = STATE_MACHINE("bake's wait", state_names, state_next);

typedef int (*bake_job)(struct bake_work *work, struct error *err);

struct bake {
	struct bake_options options;
	enum bake_phase phase;
	enum bake_state state;
	bool cancelled;
	bool freed; /* by its owner, before the end: nobody is told any more */

	/* The job under way. While WORKING, the worker has `work`, job_result and job_error. */
	bake_job job;
	struct bake_work *work;
	int job_result;
	struct error job_error;
	struct loop_timer *retry;
	struct loop_timer *stuck;

	struct ttrpc_client *agent; /* answering and rehearsing only */
	struct warm *warm;
	struct error error; /* why the bake fails; once set, it is being undone */
};

/* What a phase does on a worker; the others happen on the loop. */
static const bake_job phase_jobs[] = {
	[BAKE_HASHING] = bake_work_prepare, [BAKE_BOOTING] = bake_work_boot,
	[BAKE_TRIMMING] = bake_work_trim,   [BAKE_FREEZING] = bake_work_freeze,
	[BAKE_STORING] = bake_work_store,   [BAKE_DONE] = NULL,
};

static void bake_enter(struct bake *bake, enum bake_phase phase);

static void bake_set_state(struct bake *bake, enum bake_state state)
{
	state_change(&bake_states, bake_work_id(bake->work), (int)bake->state, (int)state);
	bake->state = state;
}

static void bake_set_phase(struct bake *bake, enum bake_phase phase)
{
	state_change(&bake_phases, bake_work_id(bake->work), (int)bake->phase, (int)phase);
	bake->phase = phase;
	if (bake->options.on_phase && !bake->freed)
		bake->options.on_phase(bake, phase, bake->options.userdata);
}

static void bake_destroy(struct bake *bake)
{
	loop_timer_free(bake->retry);
	loop_timer_free(bake->stuck);
	bake_work_free(bake->work);
	error_done(&bake->job_error);
	error_done(&bake->error);
	free(bake);
}

static void bake_finish(struct bake *bake)
{
	struct template_manifest *manifest = NULL;

	bake_set_state(bake, BAKE_OVER);
	if (bake->error.number == 0)
		manifest = bake_work_take_manifest(bake->work);
	if (bake->freed) {
		template_manifest_free(manifest);
		bake_destroy(bake);
		return;
	}
	bake->options.on_done(bake, -bake->error.number, manifest,
			      bake->error.number ? &bake->error : NULL, bake->options.userdata);
}

/* ---------------------------------------------------------------- jobs */

static void job_run(void *data)
{
	struct bake *bake = data;

	bake->job_result = bake->job(bake->work, &bake->job_error);
}

static void job_done(void *data, void *owner);

static void job_submit(void *userdata)
{
	struct bake *bake = userdata;
	struct worker_job job = { .run = job_run, .done = job_done, .data = bake };

	if (worker_submit(bake->options.workers, &job) < 0)
		loop_timer_start(bake->retry, RETRY_MS);
}

static void bake_run(struct bake *bake, bake_job job)
{
	bake_set_state(bake, BAKE_WORKING);
	bake->job = job;
	job_submit(bake);
}

static void on_stuck(void *userdata)
{
	struct bake *bake = userdata;

	log_error(bake_work_id(bake->work), "%s takes too long: killing the template's QEMU",
		  bake_phase_to_string(bake->phase));
	bake_work_kill(bake->work);
}

/* ---------------------------------------------------------------- failure */

/* Moves err. What was made is removed first, then the owner is told. */
static void bake_fail(struct bake *bake, struct error *err)
{
	bool silent = bake->phase == BAKE_ANSWERING && err->number == ETIMEDOUT;

	error_move(&bake->error, err);
	bake_work_explain(bake->work, &bake->error);
	if (silent)
		error_wrap(&bake->error, "the guest did not come up within %llu s with accel=%s",
			   (unsigned long long)bake->options.definition->boot_timeout_s,
			   accelerator_to_string(bake->options.host->accelerator));
	error_wrap(&bake->error, "%s", bake_phase_to_string(bake->phase));
	bake_run(bake, bake_work_undo);
}

static void bake_undone(struct bake *bake)
{
	bool guest = bake->phase == BAKE_ANSWERING || bake->phase == BAKE_REHEARSING;
	const char *tail = bake_work_console_tail(bake->work);

	if (bake->job_result < 0)
		log_error(bake_work_id(bake->work), "something is left behind: %s",
			  error_message(&bake->job_error));
	if (guest && !bake->cancelled && *tail)
		error_set(&bake->error, bake->error.number, "%s; the console's last lines: %s",
			  bake->error.message, tail);
	bake_finish(bake);
}

/* Begins the undo where the bake was cancelled or has failed; true then. */
static bool bake_fail_early(struct bake *bake, struct error *err)
{
	if (bake->cancelled)
		error_set(err, ECANCELED, "cancelled");
	if (err->number == 0)
		return false;
	bake_fail(bake, err);
	return true;
}

/* ---------------------------------------------------------------- the guest */

/* Deferred: the agent's client is not freed below its own callbacks. The template is frozen
 * with its channel disconnected. */
static void agent_leave(void *userdata)
{
	_cleanup_(error_done) struct error err = {};
	struct bake *bake = userdata;

	if (bake->state == BAKE_ABANDONED) {
		bake_destroy(bake);
		return;
	}
	warm_free(steal_ptr(bake->warm));
	ttrpc_client_free(steal_ptr(bake->agent));
	error_move(&err, &bake->job_error);
	if (!bake_fail_early(bake, &err))
		bake_enter(bake, BAKE_TRIMMING);
}

static void agent_leave_soon(struct bake *bake)
{
	if (bake->state != BAKE_TALKING)
		return;
	bake_set_state(bake, BAKE_LEAVING);
	loop_defer(bake->options.loop, agent_leave, bake);
}

static void on_answer(struct warm *warm _unused_, const char *agent_version, void *userdata)
{
	struct bake *bake = userdata;

	bake_work_answered(bake->work, agent_version);
	if (bake->state == BAKE_TALKING)
		bake_set_phase(bake, BAKE_REHEARSING);
}

static void on_trim(struct warm *warm _unused_, void *userdata)
{
	struct bake *bake = userdata;

	bake_work_trims(bake->work);
}

static void on_warm(struct warm *warm _unused_, int number, const struct error *err, void *userdata)
{
	struct bake *bake = userdata;

	if (bake->state != BAKE_TALKING)
		return;
	if (number < 0)
		error_set(&bake->job_error, number, "%s", error_message(err));
	agent_leave_soon(bake);
}

static void bake_answering(struct bake *bake)
{
	_cleanup_(error_done) struct error err = {};
	int fd;

	if (socket_connect(bake_work_agent_socket(bake->work), &fd, &err) < 0) {
		bake_fail(bake, &err);
		return;
	}
	bake->agent = ttrpc_client_new(bake->options.loop, fd, &(struct ttrpc_client_options){});
	bake->warm = warm_start(&(struct warm_options){
		.purpose = WARM_TEMPLATE,
		.loop = bake->options.loop,
		.agent = bake->agent,
		.object = bake_work_id(bake->work),
		.image = rehearsal_image_of(bake->options.definition->dax_windows,
					    bake->options.definition->block_slots),
		.network_cards = (unsigned)bake->options.definition->network_cards,
		.first_timeout_ms = bake->options.definition->boot_timeout_s * 1000,
		.on_answer = on_answer,
		.on_trim = on_trim,
		.on_done = on_warm,
		.userdata = bake,
	});
	bake_set_state(bake, BAKE_TALKING);
}

/* ---------------------------------------------------------------- the order of things */

static void bake_advance(struct bake *bake)
{
	switch (bake->phase) {
	case BAKE_HASHING:
		if (bake_work_has_manifest(bake->work))
			bake_finish(bake);
		else
			bake_enter(bake, BAKE_BOOTING);
		break;
	case BAKE_BOOTING:
		bake_enter(bake, BAKE_ANSWERING);
		break;
	case BAKE_TRIMMING:
		bake_enter(bake, BAKE_FREEZING);
		break;
	case BAKE_FREEZING:
		bake_enter(bake, BAKE_STORING);
		break;
	case BAKE_STORING:
		bake_set_phase(bake, BAKE_DONE);
		bake_finish(bake);
		break;
	case BAKE_ANSWERING: /* these have no job; agent_leave() goes on */
	case BAKE_REHEARSING:
	case BAKE_DONE:
		break;
	}
}

static void bake_enter(struct bake *bake, enum bake_phase phase)
{
	_cleanup_(error_done) struct error err = {};

	bake_set_phase(bake, phase);
	if (bake_fail_early(bake, &err))
		return;
	if (phase == BAKE_TRIMMING || phase == BAKE_FREEZING)
		loop_timer_start(bake->stuck, STUCK_MS);
	if (phase_jobs[phase])
		bake_run(bake, phase_jobs[phase]);
	else
		bake_answering(bake);
}

static void job_done(void *data, void *owner _unused_)
{
	_cleanup_(error_done) struct error err = {};
	struct bake *bake = data;

	loop_timer_stop(bake->stuck);
	if (bake->error.number != 0) {
		bake_undone(bake);
		return;
	}
	error_move(&err, &bake->job_error);
	if (!bake_fail_early(bake, &err))
		bake_advance(bake);
}

struct bake *bake_start(const struct bake_options *options)
{
	struct bake *bake = xnew(struct bake);

	bake->options = *options;
	bake->work = bake_work_new(options);
	bake->retry = loop_timer_new(options->loop, job_submit, bake);
	bake->stuck = loop_timer_new(options->loop, on_stuck, bake);
	bake_run(bake, phase_jobs[BAKE_HASHING]);
	return bake;
}

const char *bake_id(const struct bake *bake)
{
	return bake_work_id(bake->work);
}

void bake_cancel(struct bake *bake)
{
	bake->cancelled = true;
	agent_leave_soon(bake);
}

void bake_free(struct bake *bake)
{
	if (!bake)
		return;
	if (bake->state == BAKE_OVER) {
		bake_destroy(bake);
		return;
	}
	bake->freed = true;
	bake_cancel(bake);
}

void bake_abandon(struct bake *bake)
{
	_cleanup_(error_done) struct error err = {};

	if (!bake)
		return;
	loop_timer_stop(bake->retry);
	loop_timer_stop(bake->stuck);
	warm_free(steal_ptr(bake->warm));
	ttrpc_client_free(steal_ptr(bake->agent));
	if (bake_work_undo(bake->work, &err) < 0)
		log_error(bake_work_id(bake->work), "something is left behind: %s",
			  error_message(&err));
	if (bake->state == BAKE_LEAVING)
		bake_set_state(bake, BAKE_ABANDONED);
	else
		bake_destroy(bake);
}

/* While a job runs the worker has `work`; its paths are made in the first phase and stay. */
char *bake_console(const struct bake *bake)
{
	if (bake->state == BAKE_OVER && bake_work_console_log(bake->work))
		return xstrdup(bake_work_console_log(bake->work));
	if (bake->phase == BAKE_HASHING || bake->state == BAKE_OVER)
		return xstrdup("");
	return bake_work_read_console(bake_work_console_path(bake->work));
}

char *bake_console_of(const struct template_manifest *manifest)
{
	_cleanup_free_ char *path = path_join(manifest->dir, TEMPLATE_CONSOLE);

	return bake_work_read_console(path);
}
