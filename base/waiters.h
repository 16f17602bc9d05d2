/* Those who wait for something: each is called back once, in the order in which they came.
 * `struct waiters w = {};` is an empty list. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef void (*waiter_fn)(int number, const struct error *err, void *userdata);

struct waiter;

struct waiters {
	struct waiter *first, *last; /* owned */
	uint64_t number;             /* of the last one that came; they count up */
};

/* fn NULL: nobody. */
void waiters_add(struct waiters *waiters, waiter_fn fn, void *userdata);

/* Takes back those with this userdata: they are not called. */
void waiters_remove(struct waiters *waiters, const void *userdata);

bool waiters_empty(const struct waiters *waiters);

/* Calls those who wait now. Who comes meanwhile, from one of their callbacks, waits for the next
 * time. The list's owner must not be freed by a callback. */
void waiters_answer(struct waiters *waiters, int number, const struct error *err);

/* Forgets all, calling nobody. */
void waiters_done(struct waiters *waiters);
