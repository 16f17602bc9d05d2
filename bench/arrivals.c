#include "bench/arrivals.h"

#include <sys/timerfd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "factory/client/claim.h"
#include "proto/agent.pb-c.h"

#define CALL_MS 60000

struct run {
	struct bench *bench;
	const struct arrivals_options *options;
	uint64_t begun_ns;
	size_t next; /* arrival */
	size_t open; /* guests that are not released yet */
	int timer;   /* timerfd: the loop's own timers count in milliseconds */
	bool done;
	struct error *err; /* borrowed; why the first claim failed */
};

/* One arrival under way. Freed in guest_end(). */
struct guest {
	struct run *run;
	struct arrival *arrival;
	struct claim *claim; /* owned */
	struct loop_timer *hold;
};

static void run_check(struct run *run)
{
	if (run->next == run->options->count && run->open == 0)
		run->done = true;
}

static void guest_free(void *userdata)
{
	struct guest *guest = userdata;

	loop_timer_free(guest->hold);
	free(guest);
}

static void guest_end(struct guest *guest)
{
	guest->run->open--;
	run_check(guest->run);
	loop_defer(guest->run->bench->loop, guest_free, guest);
}

static void guest_fail(struct guest *guest, int number, const char *why)
{
	guest->arrival->failed = true;
	if (!guest->run->err->message)
		error_set(guest->run->err, number, "%s", why);
}

static void on_released(int number _unused_, const struct error *err _unused_, void *userdata)
{
	guest_end(userdata);
}

static void guest_release(void *userdata)
{
	struct guest *guest = userdata;

	claim_release(guest->run->bench->loop, steal_ptr(guest->claim),
		      guest->run->options->address, on_released, guest);
}

static void on_created(const struct ttrpc_reply *reply, void *userdata)
{
	struct guest *guest = userdata;
	uint64_t begun = guest->run->begun_ns + guest->arrival->at_ns;

	guest->arrival->latency_ns = clock_monotonic_ns() - begun;
	guest->arrival->pooled = str_equal(guest->claim->origin, "pooled");
	if (reply->code != TTRPC_OK)
		guest_fail(guest, EIO, reply->message);
	claim_confirm(guest->claim);
	guest->hold = loop_timer_new(guest->run->bench->loop, guest_release, guest);
	loop_timer_start(guest->hold, guest->run->options->hold_ms);
}

static void on_claimed(int number, struct claim *claim, const struct error *err, void *userdata)
{
	Grpc__CreateSandboxRequest request = GRPC__CREATE_SANDBOX_REQUEST__INIT;
	struct guest *guest = userdata;

	if (number < 0) {
		guest_fail(guest, number, error_message(err));
		guest_end(guest);
		return;
	}
	guest->claim = claim;
	request.sandbox_id = (char *)"bench";
	request.hostname = (char *)"bench";
	ttrpc_client_call(claim->agent, &(struct ttrpc_call_options){
						.service = &grpc__agent_service__descriptor,
						.method = "CreateSandbox",
						.request = &request.base,
						.timeout_ms = CALL_MS,
						.on_reply = on_created,
						.userdata = guest,
					});
}

static void arrive(struct run *run, struct arrival *arrival)
{
	_cleanup_free_ char *id = bench_id(run->bench);
	_cleanup_(error_done) struct error err = {};
	struct guest *guest = xnew(struct guest);
	struct claim_options options = {
		.factory_address = run->options->address,
		.sandbox_id = id,
		.no_fallback = true,
	};

	*guest = (struct guest){ .run = run, .arrival = arrival };
	run->open++;
	int r = claim_start(run->bench->loop, &options, on_claimed, guest, &err);
	if (r < 0)
		on_claimed(r, NULL, &err, guest);
}

static void timer_set(const struct run *run, uint64_t at_ns)
{
	uint64_t at = run->begun_ns + at_ns;
	struct itimerspec when = { .it_value = { .tv_sec = (time_t)(at / 1000000000),
						 .tv_nsec = (long)(at % 1000000000) } };

	(void)timerfd_settime(run->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void on_timer(int fd, unsigned events _unused_, void *userdata)
{
	struct run *run = userdata;
	const struct arrivals_options *options = run->options;
	uint64_t ticks, now = clock_monotonic_ns() - run->begun_ns;

	(void)!read(fd, &ticks, sizeof(ticks));
	while (run->next < options->count && options->arrivals[run->next].at_ns <= now)
		arrive(run, &options->arrivals[run->next++]);
	progress_step(&run->bench->progress, (unsigned)run->next, (unsigned)options->count);
	if (run->next < options->count)
		timer_set(run, options->arrivals[run->next].at_ns);
	run_check(run);
}

int arrivals_run(struct bench *bench, const struct arrivals_options *options, struct error *err)
{
	_cleanup_close_ int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	_cleanup_(error_done) struct error first = {};
	struct run run = {
		.bench = bench,
		.options = options,
		.timer = timer,
		.err = &first,
	};

	if (timer < 0)
		return error_set_errno(err, errno, "cannot make a timer");
	if (options->count == 0)
		return 0;
	_cleanup_(loop_watch_free_cleanup) struct loop_watch *watch _unused_ = loop_watch_new(
		bench->loop, timer, LOOP_READ, on_timer, &run);
	uint64_t last_ms = options->arrivals[options->count - 1].at_ns / 1000000;
	run.begun_ns = clock_monotonic_ns() + 1000000;
	timer_set(&run, options->arrivals[0].at_ns);
	if (!loop_run_until(bench->loop, &run.done,
			    (unsigned)(last_ms + options->hold_ms) + 2 * CALL_MS))
		return error_set(err, ETIMEDOUT, "%zu claims were never answered", run.open);
	if (first.message)
		fprintf(stderr, "kiln-bench: a claim failed: %s\n", first.message);
	return 0;
}

size_t arrivals_poisson(struct rng *rng, double per_s, double seconds,
			struct arrival **ret_arrivals)
{
	struct arrival *arrivals = NULL;
	size_t count = 0;

	double at = rng_exponential(rng, 1 / per_s);
	while (at < seconds) {
		arrivals = xrealloc_array(arrivals, count + 1, sizeof(*arrivals));
		arrivals[count++] = (struct arrival){ .at_ns = (uint64_t)(at * 1e9) };
		at += rng_exponential(rng, 1 / per_s);
	}
	*ret_arrivals = arrivals;
	return count;
}
