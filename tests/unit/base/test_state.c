/* The state machines' tables: which changes they allow, and what becomes of others. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/state_table.h"

enum { OPEN, SHUT, LOCKED };

static const char *const names[] = { [OPEN] = "open", [SHUT] = "shut", [LOCKED] = "locked" };
static const unsigned next[] = {
	[OPEN] = STATE(SHUT),
	[SHUT] = STATE(OPEN) | STATE(LOCKED),
	[LOCKED] = STATE(SHUT),
};
static const struct state_machine door_states = STATE_MACHINE("door", names, next);

static void the_table_says_what_may_follow(void **state _unused_)
{
	assert_states(&door_states, "open: shut\nshut: open locked\nlocked: shut\n");
	assert_false(state_may_follow(&door_states, -1, OPEN));
	assert_false(state_may_follow(&door_states, OPEN, -1));
	assert_false(state_may_follow(&door_states, LOCKED + 1, SHUT));
	assert_false(state_may_follow(&door_states, SHUT, LOCKED + 1));
	state_change(&door_states, "front", OPEN, SHUT);
}

static void a_change_that_must_not_be_ends_the_program(void **state _unused_)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		signal(SIGABRT, SIG_DFL);
		state_change(&door_states, "front", OPEN, LOCKED);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_table_says_what_may_follow),
		cmocka_unit_test(a_change_that_must_not_be_ends_the_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
