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

static const char *script; /* what the child says, a letter a message */

/* In the place of the true one. */
void child_run(const struct child_plan *plan)
{
	for (const char *at = script; *at; at++) {
		struct child_message message = { .text = "no" };

		message.kind = *at == 'r' ? CHILD_READY : *at == 'f' ? CHILD_FAILED : 99;
		(void)!socket_send(plan->sync, &message, sizeof(message), NULL, 0);
	}
	_exit(0);
}

int child_join(const struct child_plan *plan _unused_, int cgroup _unused_,
	       struct error *err _unused_)
{
	return 0;
}

struct bench {
	struct loop *loop;
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
	if (event != LAUNCH_READY)
		loop_stop(bench->loop);
}

static void expect(const char *said, const char *wanted)
{
	struct bench bench = { .loop = loop_new() };
	struct child_plan plan = { .join_pidfd = -EBADF };
	const struct launch_options options = {
		.plan = &plan,
		.cgroup_fd = -EBADF,
		.fn = on_event,
		.userdata = &bench,
	};
	struct launch *launch;
	pid_t pid;
	int pidfd;

	script = said;
	assert_int_equal(launch_new(bench.loop, &options, &launch, &pid, &pidfd, NULL), 0);
	loop_run(bench.loop);
	assert_string_equal(bench.told.text, wanted);
	launch_free(launch);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close_fd(pidfd);
	strbuf_done(&bench.told);
	loop_free(bench.loop);
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
	expect("rr", "ready failed: the process being set up says what it must not");
	expect("rrr", "ready failed: the process being set up says what it must not");
	expect("?", "failed: the process being set up says what it must not");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(events_follow_what_is_said),
		cmocka_unit_test(what_must_not_be_said_is_a_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
