/* Asks a machine's agent from time to time whether it is there (grpc.Health's Check).
 *
 * Nothing else would tell: a stopped VMM and a guest whose kernel hangs keep their channel open.
 * A guest that has left `misses` of them unanswered in a row, each for an interval, is given up
 * (agent_link_give_up()). They are counted rather than timed, so that a shim which was itself
 * stopped for a while, with its VMM, asks again before it judges. A call that fails is not an
 * answer: the failure may be our own, where too many calls wait.
 */
#pragma once

#include <stdint.h>

#include "shim/agent_link.h"

struct health_watch;

struct health_watch_options {
	struct loop *loop;
	struct agent_link *agent; /* borrowed until health_watch_free() */
	const char *sandbox_id;   /* copied */
	uint64_t interval_s;      /* 0: it is not asked, and NULL is returned */
	uint64_t misses;
};

/* It is asked for the first time an interval from now. */
struct health_watch *health_watch_new(const struct health_watch_options *options);
void health_watch_free(struct health_watch *watch); /* NULL does nothing */
