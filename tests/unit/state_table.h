/* For the tests of state machines (base/state.h): the table, as text. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/state.h"
#include "base/strbuf.h"

/* A line a state: "none: claiming running". */
static inline void assert_states(const struct state_machine *machine, const char *wanted)
{
	_cleanup_(strbuf_done) struct strbuf text = {};

	for (size_t from = 0; from < machine->count; from++) {
		strbuf_addf(&text, "%s:", machine->names[from]);
		for (size_t to = 0; to < machine->count; to++)
			if (state_may_follow(machine, (int)from, (int)to))
				strbuf_addf(&text, " %s", machine->names[to]);
		strbuf_adds(&text, "\n");
	}
	assert_string_equal(text.text, wanted);
}
