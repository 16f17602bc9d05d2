/* The agent's side of a process that is being set up, with a child that says what it likes: its
 * socket is in reach of whoever breaks into it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/launch.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/strbuf.h"

/* What the child says, a letter a message; at "g" it waits for "go" instead. */
static const char *script;

/* In the place of the true one. */
void child_run(const struct child_plan *plan)
{
	for (const char *at = script; *at; at++) {
		struct child_message message = { .text = "no" };

		if (*at == 'g') {
			if (read(plan->sync, message.text, 1) != 1)
				_exit(1);
			continue;
		}
		message.kind = *at == 'r' ? CHILD_READY : *at == 'f' ? CHILD_FAILED : 99;
		(void)!socket_send(plan->sync, &message, sizeof(message), NULL, 0);
	}
	_exit(0);
}

int child_join(struct child_plan *plan _unused_, int cgroup _unused_, struct error *err _unused_)
{
	return 0;
}

struct bench {
	struct loop *loop;
	struct launch *launch;
	bool starts; /* says "go" to what is ready */
	struct strbuf told;
};

static void on_event(enum launch_event event, int terminal, struct error *err, void *userdata)
{
	static const char *const names[] = { "ready ", "started", "failed: " };
	struct bench *bench = userdata;

	close_fd(terminal);
	strbuf_adds(&bench->told, names[event]);
	if (event == LAUNCH_FAILED)
		strbuf_adds(&bench->told, error_message(err));
	if (event == LAUNCH_READY && bench->starts)
		assert_int_equal(launch_go(bench->launch), 0);
	if (event != LAUNCH_READY)
		loop_stop(bench->loop);
}

static void expect_of(struct rootfs_plan *rootfs, bool starts, const char *said, const char *wanted)
{
	struct bench bench = { .loop = loop_new(), .starts = starts };
	struct child_plan plan = { .join_pidfd = -EBADF, .rootfs = rootfs };
	const struct launch_options options = {
		.plan = &plan,
		.cgroup_fd = -EBADF,
		.fn = on_event,
		.userdata = &bench,
	};
	pid_t pid;
	int pidfd;

	script = said;
	assert_int_equal(launch_new(bench.loop, &options, &bench.launch, &pid, &pidfd, NULL), 0);
	loop_run(bench.loop);
	assert_string_equal(bench.told.text, wanted);
	assert_int_equal(launch_go(bench.launch), -EPIPE);
	launch_free(bench.launch);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close_fd(pidfd);
	strbuf_done(&bench.told);
	loop_free(bench.loop);
}

/* An exec, which runs as soon as it is ready. */
static void expect(const char *said, const char *wanted)
{
	expect_of(NULL, false, said, wanted);
}

static void events_follow_what_is_said(void **state _unused_)
{
	expect("r", "ready started");
	expect("f", "failed: no");
	expect("rf", "ready failed: no");
	expect("", "failed: the process ended before it was started");
}

static void what_must_not_be_said_is_a_failure(void **state _unused_)
{
	expect("rr",
	       "ready failed: the process being set up has sent a message that it must not send");
	expect("rrr",
	       "ready failed: the process being set up has sent a message that it must not send");
	expect("?", "failed: the process being set up has sent a message that it must not send");
}

static void a_first_process_runs_when_it_is_told_to(void **state _unused_)
{
	struct rootfs_plan rootfs = {};

	expect_of(&rootfs, true, "rg", "ready started");
	expect_of(&rootfs, true, "rgf", "ready failed: no");
	expect_of(&rootfs, false, "r", "ready failed: the process ended before it was started");
	expect_of(
		&rootfs, false, "rr",
		"ready failed: the process being set up has sent a message that it must not send");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(events_follow_what_is_said),
		cmocka_unit_test(a_first_process_runs_when_it_is_told_to),
		cmocka_unit_test(what_must_not_be_said_is_a_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
