/* State machines as tables: an enum, the names of its states (base/strings.h), and a row for each
 * state with a bit for each one that may follow it.
 *
 *   static const unsigned disk_next[] = {
 *           [DISK_PLUGGING] = STATE(DISK_SEEKING) | STATE(DISK_CLOSING),
 *           ...
 *   };
 *   const struct state_machine disk_states =
 *           STATE_MACHINE("disk", disk_state_names, disk_next);
 *
 * One function of an object changes its state, and begins with state_change().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"

#define STATE(state) (1u << (state))

struct state_machine {
	const char *what; /* whose states they are, for the log */
	const char *const *names;
	const unsigned *next; /* by state */
	size_t count;
};

#define STATE_MACHINE(what, names, next)                                                           \
	{                                                                                          \
		what, names, next, ARRAY_SIZE(next)                                                \
	}

/* False also where one of the two is no state. */
bool state_may_follow(const struct state_machine *machine, int from, int to);

/* Logs the change. object is the name of what changes; NULL: the change is not worth a line. A
 * change that the table does not have is a bug: the process aborts. */
void state_change(const struct state_machine *machine, const char *object, int from, int to);
