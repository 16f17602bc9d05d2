#include "factory/pool/pool_time.h"

#include "base/clock.h"
#include "factory/pool/pool_priv.h"
#include "factory/pool/pool_watch.h"

#define NS_PER_MS 1000000ull

uint64_t pool_now_ns(const struct pool *pool)
{
	return pool->options.now_ns ? pool->options.now_ns() : clock_monotonic_ns();
}

/* Starts the alarm for what is due first. */
static void alarm_set(struct pool *pool)
{
	uint64_t first = UINT64_MAX;
	uint64_t now = pool_now_ns(pool);

	for (size_t i = 0; i < POOL_DUE_MAX_; i++) {
		if (pool->due_ns[i] > 0 && pool->due_ns[i] < first)
			first = pool->due_ns[i];
	}
	if (first == UINT64_MAX)
		loop_timer_stop(pool->alarm);
	else
		loop_timer_start(pool->alarm,
				 first > now ? (first - now + NS_PER_MS - 1) / NS_PER_MS : 0);
}

void pool_set_due(struct pool *pool, enum pool_due due, uint64_t ms)
{
	pool->due_ns[due] = pool_now_ns(pool) + ms * NS_PER_MS;
	alarm_set(pool);
}

void pool_clear_due(struct pool *pool, enum pool_due due)
{
	if (pool->due_ns[due] == 0)
		return;
	pool->due_ns[due] = 0;
	alarm_set(pool);
}

bool pool_awaits(const struct pool *pool, enum pool_due due)
{
	return pool->due_ns[due] > 0;
}

static void due_act(struct pool *pool, enum pool_due due)
{
	switch (due) {
	case POOL_DUE_HOLD:
	case POOL_DUE_BACKOFF:
	case POOL_DUE_ROOM:
	case POOL_DUE_SPARE:
		break;
	case POOL_DUE_PROBE:
		pool_probe(pool);
		break;
	case POOL_DUE_REVIEW:
		pool_trim(pool);
		break;
	case POOL_DUE_MAX_:
		break;
	}
}

void pool_tick(void *userdata)
{
	struct pool *pool = userdata;
	uint64_t now = pool_now_ns(pool);

	for (size_t i = 0; i < POOL_DUE_MAX_; i++) {
		if (pool->due_ns[i] == 0 || pool->due_ns[i] > now)
			continue;
		pool->due_ns[i] = 0;
		due_act(pool, (enum pool_due)i);
	}
	alarm_set(pool);
	pool_serve(pool);
}
