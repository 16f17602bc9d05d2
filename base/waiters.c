#include "base/waiters.h"

#include <stdlib.h>

#include "base/memory.h"

struct waiter {
	uint64_t number;
	waiter_fn fn;
	void *userdata; /* borrowed */
	struct waiter *next;
};

void waiters_add(struct waiters *waiters, waiter_fn fn, void *userdata)
{
	if (!fn)
		return;
	struct waiter *waiter = xnew(struct waiter);

	waiter->number = ++waiters->number;
	waiter->fn = fn;
	waiter->userdata = userdata;
	if (waiters->last)
		waiters->last->next = waiter;
	else
		waiters->first = waiter;
	waiters->last = waiter;
}

static void free_first(struct waiters *waiters)
{
	struct waiter *waiter = waiters->first;

	waiters->first = waiter->next;
	if (!waiters->first)
		waiters->last = NULL;
	free(waiter);
}

void waiters_remove(struct waiters *waiters, const void *userdata)
{
	struct waiters left = { .number = waiters->number };

	while (waiters->first) {
		struct waiter *waiter = waiters->first;

		if (waiter->userdata == userdata) {
			free_first(waiters);
			continue;
		}
		waiters->first = steal_ptr(waiter->next);
		if (left.last)
			left.last->next = waiter;
		else
			left.first = waiter;
		left.last = waiter;
	}
	*waiters = left;
}

bool waiters_empty(const struct waiters *waiters)
{
	return !waiters->first;
}

void waiters_answer(struct waiters *waiters, int number, const struct error *err)
{
	uint64_t last = waiters->number;

	while (waiters->first && waiters->first->number <= last) {
		waiter_fn fn = waiters->first->fn;
		void *userdata = waiters->first->userdata;

		free_first(waiters);
		fn(number, err, userdata);
	}
}

void waiters_done(struct waiters *waiters)
{
	while (waiters->first)
		free_first(waiters);
}
