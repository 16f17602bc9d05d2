/* Collects every child that ends, and routes its status by pid.
 *
 * The agent is PID 1: orphans of the whole guest become its children and are collected here
 * too, unnoticed. One place calls waitpid(2); nobody else may.
 */
#pragma once

#include <sys/types.h>

#include "base/loop.h"

struct reaper;

/* status is that of waitpid(2). The entry is gone when this is called. */
typedef void (*reaper_fn)(int status, void *userdata);

/* on_round (may be NULL) is called after every round of collecting, when no reaper_fn is
 * running: the place to free what ended. */
struct reaper *reaper_new(struct loop *loop, void (*on_round)(void *userdata), void *userdata);
void reaper_free(struct reaper *reaper);
DEFINE_CLEANUP(struct reaper *, reaper_free)

/* To be called after the clone, before control returns to the loop: then its end cannot be
 * missed. */
void reaper_add(struct reaper *reaper, pid_t pid, reaper_fn fn, void *userdata);

/* Nobody is interested any more; the process is collected as an orphan. */
void reaper_remove(struct reaper *reaper, pid_t pid);
