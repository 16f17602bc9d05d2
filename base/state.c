#include "base/state.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/strings.h"

bool state_may_follow(const struct state_machine *machine, int from, int to)
{
	return from >= 0 && (size_t)from < machine->count && to >= 0 &&
	       (size_t)to < machine->count && (machine->next[from] & STATE(to));
}

void state_change(const struct state_machine *machine, const char *object, int from, int to)
{
	const char *was = string_table_name(machine->names, machine->count, from);
	const char *is = string_table_name(machine->names, machine->count, to);

	if (!state_may_follow(machine, from, to)) {
		log_error(object, "bug: %s must not go from %s to %s", machine->what, was, is);
		abort();
	}
	if (object)
		log_debug(object, "%s: %s -> %s", machine->what, was, is);
}
