#include "base/loop.h"

#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"

/* Past this a timer means "never"; libevent's sums stay far from overflow. */
#define TIMER_MAX_MS (UINT64_C(10) * 365 * 24 * 3600 * 1000)

struct deferred {
	TAILQ_ENTRY(deferred) entry;
	void (*fn)(void *userdata);
	void *userdata; /* borrowed */
};

TAILQ_HEAD(deferred_list, deferred);

struct loop {
	struct event_base *base;       /* owned */
	struct event *deferred_event;  /* owned; active or timed while `deferred` has calls */
	struct deferred_list deferred; /* owned */
	bool running_deferred;
	bool stop;
};

struct loop_watch {
	struct event *event; /* owned */
	int fd;              /* borrowed */
	unsigned events;
	bool always_ready; /* a file or /dev/null, which epoll refuses: a zero timer stands in */
	loop_watch_fn fn;
	void *userdata; /* borrowed */
};

struct loop_timer {
	struct event *event; /* owned */
	loop_timer_fn fn;
	void *userdata; /* borrowed */
};

struct loop_signal {
	struct event *event; /* owned */
	loop_signal_fn fn;
	void *userdata; /* borrowed */
};

/* ---------------------------------------------------------------- libevent's surroundings */

static void *event_malloc(size_t size)
{
	return xrealloc_array(NULL, size, 1);
}

static void *event_realloc(void *ptr, size_t size)
{
	return xrealloc_array(ptr, size, 1);
}

static void on_libevent_log(int severity, const char *text)
{
	/* Its warnings are about calls whose result we check ourselves. */
	log_write(severity == EVENT_LOG_ERR ? LOG_LEVEL_ERROR : LOG_LEVEL_DEBUG, NULL,
		  "libevent: %s", text);
}

static struct event_base *base_new(void)
{
	struct event_config *config = event_config_new();

	if (!config)
		abort();
	/* Timers count from now, not from the start of the round, and do not end early. */
	event_config_set_flag(config, EVENT_BASE_FLAG_NO_CACHE_TIME);
	event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);

	struct event_base *base = event_base_new_with_config(config);

	event_config_free(config);
	if (!base) {
		log_error(NULL, "cannot make an event loop: %s", strerror(errno));
		abort();
	}
	return base;
}

static struct event *event_make(struct event_base *base, int fd, short what, event_callback_fn fn,
				void *userdata)
{
	struct event *event = event_new(base, fd, what, fn, userdata);

	if (!event)
		abort();
	return event;
}

/* ---------------------------------------------------------------- deferred calls */

static void run_deferred(struct loop *loop)
{
	struct deferred_list now = TAILQ_HEAD_INITIALIZER(now);
	struct deferred *call;

	/* Calls made from here on belong to the next turn, so that i/o is never starved. */
	TAILQ_CONCAT(&now, &loop->deferred, entry);
	loop->running_deferred = true;
	while ((call = TAILQ_FIRST(&now))) {
		TAILQ_REMOVE(&now, call, entry);
		call->fn(call->userdata);
		free(call);
	}
	loop->running_deferred = false;
}

static void on_deferred(int fd _unused_, short what _unused_, void *userdata)
{
	struct loop *loop = userdata;

	run_deferred(loop);
	if (!TAILQ_EMPTY(&loop->deferred))
		event_add(loop->deferred_event, &(struct timeval){});
}

void loop_defer(struct loop *loop, void (*fn)(void *userdata), void *userdata)
{
	struct deferred *call = xnew(struct deferred);

	call->fn = fn;
	call->userdata = userdata;
	if (TAILQ_EMPTY(&loop->deferred) && !loop->running_deferred)
		event_active(loop->deferred_event, 0, 0);
	TAILQ_INSERT_TAIL(&loop->deferred, call, entry);
}

/* ---------------------------------------------------------------- the loop */

struct loop *loop_new(void)
{
	event_set_mem_functions(event_malloc, event_realloc, free);
	event_set_log_callback(on_libevent_log);
	signal(SIGPIPE, SIG_IGN);

	struct loop *loop = xnew(struct loop);

	TAILQ_INIT(&loop->deferred);
	loop->base = base_new();
	loop->deferred_event = event_make(loop->base, -1, 0, on_deferred, loop);
	return loop;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	while (!TAILQ_EMPTY(&loop->deferred))
		run_deferred(loop);
	event_free(loop->deferred_event);
	event_base_free(loop->base);
	free(loop);
}

/* Waits for something to happen and runs all that is ready. */
static void loop_round(struct loop *loop)
{
	if (event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY) < 0) {
		log_error(NULL, "the event loop failed or was entered twice");
		abort();
	}
}

void loop_run(struct loop *loop)
{
	while (!loop->stop)
		loop_round(loop);
	loop->stop = false;
}

void loop_stop(struct loop *loop)
{
	loop->stop = true;
}

static void on_deadline(void *userdata)
{
	*(bool *)userdata = true;
}

bool loop_run_until(struct loop *loop, const bool *done, unsigned timeout_ms)
{
	bool late = false;
	_cleanup_(loop_timer_free_cleanup) struct loop_timer *deadline = loop_timer_new(
		loop, on_deadline, &late);

	loop_timer_start(deadline, timeout_ms);
	while (!*done && !late && !loop->stop)
		loop_round(loop);
	return *done;
}

struct event_base *loop_base(struct loop *loop)
{
	return loop->base;
}

/* ---------------------------------------------------------------- watches */

static void on_watch(int fd, short what, void *userdata);

static void watch_assign(struct loop_watch *watch, struct event_base *base)
{
	short what = EV_PERSIST;

	if (watch->events & LOOP_READ)
		what |= EV_READ;
	if (watch->events & LOOP_WRITE)
		what |= EV_WRITE;
	if (watch->events & LOOP_EDGE)
		what |= EV_ET;
	if (watch->always_ready)
		event_assign(watch->event, base, -1, 0, on_watch, watch);
	else
		event_assign(watch->event, base, watch->fd, what, on_watch, watch);
}

static void watch_arm(struct loop_watch *watch)
{
	if (!(watch->events & (LOOP_READ | LOOP_WRITE)))
		return;
	if (!watch->always_ready && event_add(watch->event, NULL) < 0) {
		watch->always_ready = true;
		watch_assign(watch, event_get_base(watch->event));
	}
	if (watch->always_ready)
		event_add(watch->event, &(struct timeval){});
}

static void on_watch(int fd _unused_, short what, void *userdata)
{
	struct loop_watch *watch = userdata;
	unsigned events = 0;

	if (watch->always_ready) {
		/* Armed first: fn may free the watch. */
		watch_arm(watch);
		watch->fn(watch->fd, watch->events & (LOOP_READ | LOOP_WRITE), watch->userdata);
		return;
	}
	if (what & EV_READ)
		events |= LOOP_READ;
	if (what & EV_WRITE)
		events |= LOOP_WRITE;
	watch->fn(watch->fd, events, watch->userdata);
}

struct loop_watch *loop_watch_new(struct loop *loop, int fd, unsigned events, loop_watch_fn fn,
				  void *userdata)
{
	struct loop_watch *watch = xnew(struct loop_watch);

	watch->fd = fd;
	watch->events = events;
	watch->fn = fn;
	watch->userdata = userdata;
	watch->event = event_make(loop->base, -1, 0, on_watch, watch);
	watch_assign(watch, loop->base);
	watch_arm(watch);
	return watch;
}

void loop_watch_set(struct loop_watch *watch, unsigned events)
{
	if (watch->events == events)
		return;

	struct event_base *base = event_get_base(watch->event);

	event_del(watch->event);
	watch->events = events;
	watch_assign(watch, base);
	watch_arm(watch);
}

void loop_watch_free(struct loop_watch *watch)
{
	if (!watch)
		return;
	event_free(watch->event);
	free(watch);
}

/* ---------------------------------------------------------------- timers */

static void on_timer(int fd _unused_, short what _unused_, void *userdata)
{
	struct loop_timer *timer = userdata;

	timer->fn(timer->userdata);
}

struct loop_timer *loop_timer_new(struct loop *loop, loop_timer_fn fn, void *userdata)
{
	struct loop_timer *timer = xnew(struct loop_timer);

	timer->fn = fn;
	timer->userdata = userdata;
	timer->event = event_make(loop->base, -1, 0, on_timer, timer);
	return timer;
}

void loop_timer_start(struct loop_timer *timer, uint64_t ms)
{
	if (ms > TIMER_MAX_MS)
		ms = TIMER_MAX_MS;

	struct timeval delay = {
		.tv_sec = (time_t)(ms / 1000),
		.tv_usec = (suseconds_t)(ms % 1000 * 1000),
	};

	event_add(timer->event, &delay);
}

void loop_timer_stop(struct loop_timer *timer)
{
	event_del(timer->event);
}

void loop_timer_free(struct loop_timer *timer)
{
	if (!timer)
		return;
	event_free(timer->event);
	free(timer);
}

/* ---------------------------------------------------------------- signals */

static void on_signal(int signo, short what _unused_, void *userdata)
{
	struct loop_signal *signal_ = userdata;

	signal_->fn(signo, signal_->userdata);
}

struct loop_signal *loop_signal_new(struct loop *loop, int signo, loop_signal_fn fn, void *userdata)
{
	struct loop_signal *watched = xnew(struct loop_signal);

	watched->fn = fn;
	watched->userdata = userdata;
	watched->event = event_make(loop->base, signo, EV_SIGNAL | EV_PERSIST, on_signal, watched);
	if (event_add(watched->event, NULL) < 0)
		log_error(NULL, "cannot watch signal %d: %s", signo, strerror(errno));
	return watched;
}

void loop_signal_free(struct loop_signal *signal)
{
	if (!signal)
		return;
	event_free(signal->event);
	free(signal);
}
