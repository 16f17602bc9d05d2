/* When a sandbox's time is over: a time to live, which nothing prolongs, and an idle time-out,
 * which every use does.
 *
 * Use is what a client does (a container that is made or started, an exec, which is one for as long
 * as it runs), bytes of a stream in either direction, and the machine's processor time: more than
 * idle_cpu_percent of one processor, on average from one look to the next. It is the VMM's time, as
 * the host counts it, so a guest cannot look busier or idler than it is. There is a look at least
 * every ten seconds, and four in an idle time-out, so a sandbox may be ended up to a quarter of
 * that late, and never early.
 *
 * What ends it is the owner's (shim/shim.c): the containers get SIGTERM, and the machine goes back.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/loop.h"

enum lifetime_end {
	LIFETIME_GOES_ON,
	LIFETIME_TTL,  /* its time to live is over */
	LIFETIME_IDLE, /* nobody has used it for the idle time-out */
};

struct lifetime_limits {
	uint64_t ttl_s;       /* 0: it has none */
	uint64_t idle_s;      /* ditto */
	uint64_t cpu_percent; /* of one processor, that still count as idle */
};

/* The judgement, without clock and machine. Times are CLOCK_MONOTONIC. */
struct lifetime_state {
	struct lifetime_limits limits;
	uint64_t born_ms, used_ms;  /* since when it is there; when it was last seen in use */
	uint64_t looked_ms, cpu_ns; /* the last look */
};

/* used_ms: of the last use that is not the processor's; cpu_ns: what the machine has used in all.
 * ret_next_ms: in how many milliseconds to look again. */
enum lifetime_end lifetime_look(struct lifetime_state *state, uint64_t now_ms, uint64_t used_ms,
				uint64_t cpu_ns, uint64_t *ret_next_ms);

struct lifetime;

struct lifetime_options {
	struct loop *loop;
	struct lifetime_limits limits;
	pid_t vmm_pid;
	uint64_t (*used_ms)(void *userdata); /* the last use that its clients know of */
	/* Once, from the loop; why is a sentence, valid in the call. */
	void (*on_over)(const char *why, void *userdata);
	void *userdata;
};

/* Its life begins now. NULL: it has no limits. */
struct lifetime *lifetime_new(const struct lifetime_options *options);
void lifetime_free(struct lifetime *lifetime); /* NULL does nothing */
