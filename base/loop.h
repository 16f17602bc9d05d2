/* The event loop: the only file pair that knows libevent's loop.
 *
 * One loop a process, callbacks on its thread only. Whoever makes a watch, timer or signal
 * frees it; freeing it inside its own callback is allowed (libevent takes it out at once and
 * the callback must not touch it again), but the object that *owns* it must go through
 * loop_defer(), so that nothing is freed under a running callback. An object that several hold
 * counts them, and the last unref defers the same way.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct event_base;
struct loop;
struct loop_watch;
struct loop_timer;
struct loop_signal;

struct loop *loop_new(void);
void loop_free(struct loop *loop); /* runs what was deferred first */
DEFINE_CLEANUP(struct loop *, loop_free)

void loop_run(struct loop *loop);  /* until loop_stop() */
void loop_stop(struct loop *loop); /* from a callback; the current round is finished */

/* Runs rounds until *done is true, the deadline (milliseconds from now) has passed or
 * loop_stop() was called (it stays so for the next run); for command-line programs and tests.
 * The value of *done: false where it ended for another reason. */
bool loop_run_until(struct loop *loop, const bool *done, unsigned timeout_ms);

struct event_base *loop_base(struct loop *loop); /* for evhttp */

/* Calls fn once, after the current callback has returned. Order of calls is kept. */
void loop_defer(struct loop *loop, void (*fn)(void *userdata), void *userdata);

enum {
	LOOP_READ = 1 << 0,
	LOOP_WRITE = 1 << 1,
	LOOP_EDGE = 1 << 2, /* report changes, not levels: read until -EAGAIN */
};

/* fd is borrowed and must outlive the watch. events 0 makes a paused watch. */
typedef void (*loop_watch_fn)(int fd, unsigned events, void *userdata);
struct loop_watch *loop_watch_new(struct loop *loop, int fd, unsigned events, loop_watch_fn fn,
				  void *userdata);
void loop_watch_set(struct loop_watch *watch, unsigned events);
void loop_watch_free(struct loop_watch *watch);
DEFINE_CLEANUP(struct loop_watch *, loop_watch_free)

/* One-shot; starting a running timer starts it anew. */
typedef void (*loop_timer_fn)(void *userdata);
struct loop_timer *loop_timer_new(struct loop *loop, loop_timer_fn fn, void *userdata);
void loop_timer_start(struct loop_timer *timer, uint64_t ms);
void loop_timer_stop(struct loop_timer *timer);
void loop_timer_free(struct loop_timer *timer);
DEFINE_CLEANUP(struct loop_timer *, loop_timer_free)

typedef void (*loop_signal_fn)(int signo, void *userdata);
struct loop_signal *loop_signal_new(struct loop *loop, int signo, loop_signal_fn fn,
				    void *userdata);
void loop_signal_free(struct loop_signal *signal);
DEFINE_CLEANUP(struct loop_signal *, loop_signal_free)
