#include "shim/lifetime.h"

#include <stdlib.h>
#include <sys/param.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"

enum { LOOK_MAX_MS = 10 * 1000, LOOKS = 4, PERCENT = 100 };

#define MS_PER_S  1000u
#define NS_PER_MS 1000000u

struct lifetime {
	struct lifetime_options options;
	struct lifetime_state state;
	struct loop_timer *timer;
};

/* ---------------------------------------------------------------- the judgement */

static bool was_busy(const struct lifetime_state *state, uint64_t now_ms, uint64_t cpu_ns)
{
	uint64_t took_ns = (now_ms - state->looked_ms) * NS_PER_MS;

	return cpu_ns > state->cpu_ns &&
	       (cpu_ns - state->cpu_ns) * PERCENT > state->limits.cpu_percent * took_ns;
}

enum lifetime_end lifetime_look(struct lifetime_state *state, uint64_t now_ms, uint64_t used_ms,
				uint64_t cpu_ns, uint64_t *ret_next_ms)
{
	uint64_t ttl_ms = state->limits.ttl_s * MS_PER_S, idle_ms = state->limits.idle_s * MS_PER_S;
	uint64_t lived_ms = now_ms - state->born_ms, next_ms = UINT64_MAX;

	if (ttl_ms > 0 && lived_ms >= ttl_ms)
		return LIFETIME_TTL;
	if (ttl_ms > 0)
		next_ms = ttl_ms - lived_ms;
	if (idle_ms > 0) {
		state->used_ms = MAX(state->used_ms, MIN(used_ms, now_ms));
		if (was_busy(state, now_ms, cpu_ns))
			state->used_ms = now_ms;
		state->looked_ms = now_ms;
		state->cpu_ns = cpu_ns;
		if (now_ms - state->used_ms >= idle_ms)
			return LIFETIME_IDLE;
		next_ms = MIN(next_ms, state->used_ms + idle_ms - now_ms);
		next_ms = MIN(next_ms, MIN(idle_ms / LOOKS, LOOK_MAX_MS));
	}
	*ret_next_ms = next_ms;
	return LIFETIME_GOES_ON;
}

/* ---------------------------------------------------------------- the watch */

/* 0 where it cannot be known: its end is noticed elsewhere. */
static uint64_t cpu_of(pid_t pid)
{
	struct timespec used;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) < 0)
		return 0;
	return (uint64_t)used.tv_sec * MS_PER_S * NS_PER_MS + (uint64_t)used.tv_nsec;
}

static void tell_over(const struct lifetime *lifetime, enum lifetime_end end)
{
	const struct lifetime_limits *limits = &lifetime->state.limits;
	_cleanup_free_ char *why = end == LIFETIME_TTL
					   ? xasprintf("it has lived for %lu s (ttl_s)",
						       (unsigned long)limits->ttl_s)
					   : xasprintf("nobody has used it for %lu s (idle_s)",
						       (unsigned long)limits->idle_s);

	lifetime->options.on_over(why, lifetime->options.userdata);
}

static void look(void *userdata)
{
	struct lifetime *lifetime = userdata;
	const struct lifetime_options *options = &lifetime->options;
	uint64_t next_ms = 0;
	enum lifetime_end end = lifetime_look(&lifetime->state, clock_monotonic_ms(),
					      options->used_ms(options->userdata),
					      cpu_of(options->vmm_pid), &next_ms);

	if (end == LIFETIME_GOES_ON)
		loop_timer_start(lifetime->timer, next_ms);
	else
		tell_over(lifetime, end);
}

struct lifetime *lifetime_new(const struct lifetime_options *options)
{
	uint64_t now_ms = clock_monotonic_ms();

	if (options->limits.ttl_s == 0 && options->limits.idle_s == 0)
		return NULL;
	struct lifetime *lifetime = xnew(struct lifetime);
	*lifetime = (struct lifetime){
		.options = *options,
		.state = {
			.limits = options->limits,
			.born_ms = now_ms,
			.used_ms = now_ms,
			.looked_ms = now_ms,
			.cpu_ns = cpu_of(options->vmm_pid),
		},
	};
	lifetime->timer = loop_timer_new(options->loop, look, lifetime);
	look(lifetime);
	return lifetime;
}

void lifetime_free(struct lifetime *lifetime)
{
	if (!lifetime)
		return;
	loop_timer_free(lifetime->timer);
	free(lifetime);
}
