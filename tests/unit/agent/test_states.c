#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <unistd.h>

#include "agent/channel.h"
#include "agent/container.h"
#include "agent/launch.h"
#include "agent/reaper.h"
#include "agent/sandbox.h"
#include "base/loop.h"
#include "tests/unit/state_table.h"

static void test_edges(void **state _unused_)
{
	assert_states(&container_states, "creating: created removing\n"
					 "created: running stopped removing\n"
					 "running: stopped removing\n"
					 "stopped: removing\n"
					 "removing:\n");
	assert_states(&process_states, "setup: ready running exited\n"
				       "ready: running exited\n"
				       "running: exited\n"
				       "exited:\n");
	assert_states(&launch_states, "building: preparing\n"
				      "preparing: waiting going over\n"
				      "waiting: going over\n"
				      "going: over\n"
				      "over:\n");
	assert_states(&sandbox_states, "none: ready\n"
				       "ready: none destroying\n"
				       "destroying: none\n");
	assert_states(&channel_states, "searching: waiting\n"
				       "waiting: serving\n"
				       "serving: waiting\n");
}

#define CHECK_TABLE(name, last)                                                                    \
	do {                                                                                       \
		for (int i = 0; i <= (last); i++)                                                  \
			assert_int_equal(name##_from_string(name##_to_string(i)), i);              \
		assert_int_equal(name##_from_string("nonsense"), -EINVAL);                         \
		assert_string_equal(name##_to_string((last) + 1), "invalid");                      \
	} while (0)

static void test_names(void **state _unused_)
{
	CHECK_TABLE(container_state, CONTAINER_REMOVING);
	CHECK_TABLE(process_state, PROCESS_EXITED);
	CHECK_TABLE(launch_state, LAUNCH_OVER);
	CHECK_TABLE(sandbox_state, SANDBOX_DESTROYING);
	CHECK_TABLE(channel_state, CHANNEL_SERVING);
}

static void test_exit_codes(void **state _unused_)
{
	assert_int_equal(process_exit_code(0), 0);
	assert_int_equal(process_exit_code(7 << 8), 7);
	assert_int_equal(process_exit_code(SIGKILL), 137);
	assert_int_equal(process_exit_code(SIGSEGV | 0x80), 139);
}

struct seen {
	int statuses, status, rounds;
	bool done;
};

static void on_status(int status, void *userdata)
{
	struct seen *seen = userdata;

	seen->statuses++;
	seen->status = status;
}

static void on_round(void *userdata)
{
	struct seen *seen = userdata;

	seen->rounds++;
	seen->done = seen->statuses > 0;
}

static pid_t child_exiting(int code)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(code);
	return pid;
}

static void test_reaper(void **state _unused_)
{
	struct seen seen = {};
	struct loop *loop = loop_new();
	struct reaper *reaper = reaper_new(loop, on_round, &seen);

	/* One that nobody asked for, one that nobody asks for any more, one that counts. */
	child_exiting(1);
	pid_t forgotten = child_exiting(2);
	reaper_add(reaper, forgotten, on_status, &seen);
	reaper_remove(reaper, forgotten);
	reaper_add(reaper, child_exiting(3), on_status, &seen);
	assert_true(loop_run_until(loop, &seen.done, 5000));
	assert_int_equal(seen.statuses, 1);
	assert_int_equal(process_exit_code(seen.status), 3);
	reaper_free(reaper);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_edges),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_exit_codes),
		cmocka_unit_test(test_reaper),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
