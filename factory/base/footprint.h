/* What machines take of the host's memory, read from /proc/PID/smaps_rollup.
 *
 * Reading walks page tables, some 7 ms a machine of 256 MiB, so it happens on a thread of its
 * own and never while nobody asks. A measurement is good for FOOTPRINT_FRESH_MS, whoever asks,
 * and for FOOTPRINT_REST times what it took: however often somebody asks, it takes a small part
 * of one processor. It ends after FOOTPRINT_BUDGET_MS: with very many machines it covers the
 * first ones, and says how many.
 */
#pragma once

#include <sys/types.h>

#include "base/loop.h"
#include "base/waiters.h"

#define FOOTPRINT_FRESH_MS  1000
#define FOOTPRINT_REST      10
#define FOOTPRINT_BUDGET_MS 2000

struct footprint;
struct measurement;

struct memory_use {
	uint64_t pss_bytes;     /* shared pages counted by their share */
	uint64_t private_bytes; /* of no other process */
	unsigned machines;      /* measured; those that ended meanwhile are not */
};

/* Names the machines that are there now: measurement_add() for each, with the name they are added
 * up under, their template's. Called whenever a measurement begins. */
typedef void (*footprint_list_fn)(struct measurement *measurement, void *userdata);
void measurement_add(struct measurement *measurement, const char *name, pid_t pid);

/* Opens /proc/PID/smaps_rollup, which is for root; on the thread that measures. */
typedef int (*footprint_open_fn)(pid_t pid, int *ret_fd, void *userdata);

struct footprint *footprint_new(struct loop *loop, footprint_list_fn list,
				footprint_open_fn open_memory, void *userdata);
/* Waits for a measurement under way and calls who waits for it. NULL does nothing. */
void footprint_free(struct footprint *footprint);

/* Calls fn once with a measurement that is still good at hand; at once where there is one. */
void footprint_measure(struct footprint *footprint, waiter_fn fn, void *userdata);

/* The last measurement of a template's machines; zeroes where there is none. */
void footprint_of(const struct footprint *footprint, const char *template_name,
		  struct memory_use *ret_use);

/* One process, as text of smaps_rollup. */
void memory_use_add(struct memory_use *use, const char *smaps);
