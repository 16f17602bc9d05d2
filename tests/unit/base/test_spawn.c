#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/open_files.h"
#include "base/pidfd.h"
#include "base/spawn.h"
#include "base/strings.h"
#include "tests/unit/hidden_proc.h"

#define DEADLINE_MS 10000

/* The status of the child behind pidfd, which is closed. */
static int end_of(int pidfd)
{
	struct pollfd poll_fd = { .fd = pidfd, .events = POLLIN };
	int status = -1;

	assert_int_equal(poll(&poll_fd, 1, DEADLINE_MS), 1);
	assert_int_equal(spawn_reap(pidfd, &status), 0);
	close(pidfd);
	return status;
}

/* Runs a shell script with stdout (and the options' fds) and returns what it printed. */
static char *shell(const char *script, struct spawn_options options, int *ret_status)
{
	char *const *argv = SPAWN_ARGV("sh", "-c", script);
	struct spawn_fd fds[8];
	int pipe_fds[2], pidfd;
	pid_t pid;
	char *text = xcalloc(1, 4096);

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	for (size_t i = 0; i < options.nfds; i++)
		fds[i] = options.fds[i];
	fds[options.nfds++] = (struct spawn_fd){ pipe_fds[1], 1 };
	options.fds = fds;
	options.argv = argv;
	assert_int_equal(spawn(&options, &pid, &pidfd, NULL), 0);
	close(pipe_fds[1]);
	assert_true(read_full(pipe_fds[0], text, 4095) >= 0);
	close(pipe_fds[0]);
	*ret_status = end_of(pidfd);
	return text;
}

static void test_exit_status_and_reap(void **state _unused_)
{
	char *const *argv = SPAWN_ARGV("sh", "-c", "exit 7");
	int pidfd, status;
	pid_t pid;

	assert_int_equal(spawn(&(struct spawn_options){ .argv = argv }, &pid, &pidfd, NULL), 0);
	assert_true(pid > 0);
	assert_true(fcntl(pidfd, F_GETFD) & FD_CLOEXEC);

	int again = dup(pidfd);

	status = end_of(pidfd);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 7);
	assert_int_equal(spawn_reap(again, &status), -ECHILD);
	close(again);
}

static void test_reap_of_a_living_and_a_killed(void **state _unused_)
{
	char *const *argv = SPAWN_ARGV("sleep", "100");
	int pidfd, status = -1;
	pid_t pid;

	assert_int_equal(spawn(&(struct spawn_options){ .argv = argv }, &pid, &pidfd, NULL), 0);
	assert_int_equal(spawn_reap(pidfd, &status), -EAGAIN);
	assert_int_equal(status, -1);
	assert_int_equal(kill(pid, SIGKILL), 0);
	status = end_of(pidfd);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void expect_failure(struct spawn_options options, int number, const char *text)
{
	_cleanup_(error_done) struct error err = {};
	pid_t pid = -1;
	int pidfd = -EBADF;

	assert_int_equal(spawn(&options, &pid, &pidfd, &err), -number);
	if (!strstr(error_message(&err), text))
		fail_msg("\"%s\" does not name %s", error_message(&err), text);
	assert_int_equal(pid, -1);
	assert_int_equal(pidfd, -EBADF);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void test_failures_are_returned(void **state _unused_)
{
	char *const *missing = SPAWN_ARGV("kiln-no-such-program");
	char *const *missing_path = SPAWN_ARGV("/no/such/program");
	char *const *folder = SPAWN_ARGV("/tmp");
	char *const *ok = SPAWN_ARGV("true");
	const struct spawn_fd closed = { 999, 0 }, negative = { -EBADF, 0 };
	const struct spawn_fd twice[] = { { 0, 5 }, { 1, 5 } };

	expect_failure((struct spawn_options){ .argv = missing }, ENOENT, missing[0]);
	expect_failure((struct spawn_options){ .argv = missing_path }, ENOENT, missing_path[0]);
	expect_failure((struct spawn_options){ .argv = folder }, EACCES, folder[0]);
	expect_failure((struct spawn_options){ .argv = ok, .cwd = "/no/such" }, ENOENT, "folder");
	expect_failure((struct spawn_options){ .argv = ok, .fds = &closed, .nfds = 1 }, EBADF,
		       "descriptors");
	expect_failure((struct spawn_options){ .argv = ok, .fds = &negative, .nfds = 1 }, EBADF,
		       "descriptor");
	expect_failure((struct spawn_options){ .argv = ok, .fds = twice, .nfds = 2 }, EINVAL,
		       "5 twice");
}

/* Sources and targets overlap in a ring: 10 -> 11 -> 12 -> 10. */
static void test_descriptors_may_overlap(void **state _unused_)
{
	struct spawn_fd map[3];
	int status;

	for (int i = 0; i < 3; i++) {
		int pipe_fds[2];
		char c = (char)('a' + i);

		assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
		assert_int_equal(write(pipe_fds[1], &c, 1), 1);
		close(pipe_fds[1]);
		assert_int_equal(dup3(pipe_fds[0], 10 + i, O_CLOEXEC), 10 + i);
		close(pipe_fds[0]);
		map[i] = (struct spawn_fd){ 10 + i, 10 + (i + 1) % 3 };
	}

	_cleanup_free_ char *text = shell("cd /proc/self/fd && cat 10 11 12",
					  (struct spawn_options){ .fds = map, .nfds = 3 }, &status);

	for (int i = 0; i < 3; i++)
		close(10 + i);
	assert_string_equal(text, "cab");
}

static void test_same_number_is_kept_open(void **state _unused_)
{
	int pipe_fds[2], status;

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	assert_int_equal(dup3(pipe_fds[0], 7, O_CLOEXEC), 7);
	assert_int_equal(write(pipe_fds[1], "kept", 4), 4);
	close(pipe_fds[0]);
	close(pipe_fds[1]);

	const struct spawn_fd map = { 7, 7 };
	_cleanup_free_ char *text = shell(
		"cat <&7", (struct spawn_options){ .fds = &map, .nfds = 1 }, &status);

	close(7);
	assert_string_equal(text, "kept");
}

static void test_everything_else_is_closed(void **state _unused_)
{
	int leak = open("/dev/null", O_RDONLY); /* not close-on-exec */
	const struct spawn_fd map = { leak, 9 };
	int status;
	_cleanup_free_ char *text = shell("cd /proc/self/fd && echo *; readlink 0 2",
					  (struct spawn_options){ .fds = &map, .nfds = 1 },
					  &status);

	close(leak);
	/* 3 is the shell's own look at the folder, where it has one. */
	if (strncmp(text, "0 1 2 3 9\n", 10) == 0)
		memmove(text + 6, text + 8, strlen(text + 8) + 1);
	assert_string_equal(text, "0 1 2 9\n/dev/null\n/dev/null\n");
}

static void on_usr1(int signo _unused_)
{
}

static void test_signals_are_reset(void **state _unused_)
{
	sigset_t set, before;
	int status;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGUSR1, on_usr1);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, &before);

	_cleanup_free_ char *text = shell("grep -E '^Sig(Blk|Ign)' /proc/self/status",
					  (struct spawn_options){}, &status);
	sigset_t after;

	sigprocmask(SIG_SETMASK, &before, &after);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGUSR1, SIG_DFL);
	assert_true(sigismember(&after, SIGTERM));
	assert_false(sigismember(&after, SIGINT));
	assert_string_equal(text, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

static void test_env_cwd_session(void **state _unused_)
{
	char *const *env = SPAWN_ARGV("A=b c", "PATH=/usr/bin:/bin");
	struct spawn_options options = {
		.env = env,
		.cwd = "/usr",
		.new_session = true,
		.no_huge_pages = true,
		.merge_pages = true,
	};
	int status;
	_cleanup_free_ char *text = shell("echo $A; pwd; cut -d' ' -f6 /proc/$$/stat; echo $$;"
					  "grep THP_enabled /proc/$$/status || echo -;"
					  "grep merge_any /proc/$$/ksm_stat",
					  options, &status);
	char *rest = NULL;

	assert_string_equal(strtok_r(text, "\n", &rest), "b c");
	assert_string_equal(strtok_r(NULL, "\n", &rest), "/usr");

	char *session = strtok_r(NULL, "\n", &rest), *pid = strtok_r(NULL, "\n", &rest);

	assert_string_equal(session, pid);

	char *huge = strtok_r(NULL, "\n", &rest);

	if (!str_equal(huge, "-"))
		assert_string_equal(huge, "THP_enabled:\t0");

	char *merge = strtok_r(NULL, "\n", &rest); /* from Linux 6.15 on */

	if (merge)
		assert_string_equal(merge, "ksm_merge_any: yes");
}

struct hooks {
	int to_parent[2], to_child[2];
	int child_result, parent_result;
	pid_t told;
};

static int hook_in_child(void *data, const char **ret_what)
{
	struct hooks *hooks = data;
	char byte = 'c';

	*ret_what = "does not want to";
	if (write(hooks->to_parent[1], &byte, 1) != 1 || read(hooks->to_child[0], &byte, 1) != 1)
		return -EPIPE;
	return hooks->child_result;
}

static int hook_in_parent(void *data, pid_t pid, struct error *err)
{
	struct hooks *hooks = data;
	char byte;

	hooks->told = pid;
	assert_int_equal(read(hooks->to_parent[0], &byte, 1), 1);
	if (hooks->parent_result < 0)
		return error_set(err, hooks->parent_result, "not admitted");
	assert_int_equal(write(hooks->to_child[1], &byte, 1), 1);
	return 0;
}

static void test_hooks_of_child_and_parent(void **state _unused_)
{
	static const struct {
		int child, parent, number;
		const char *text;
	} cases[] = {
		{ 0, 0, 0, "" },
		{ -EPERM, 0, EPERM, "does not want to: Operation not permitted" },
		{ 0, -EBUSY, EBUSY, "cannot start true: not admitted" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct hooks hooks = { .child_result = cases[i].child,
				       .parent_result = cases[i].parent };
		_cleanup_(error_done) struct error err = {};
		int pidfd = -EBADF;
		pid_t pid = 0;

		assert_int_equal(pipe2(hooks.to_parent, O_CLOEXEC), 0);
		assert_int_equal(pipe2(hooks.to_child, O_CLOEXEC), 0);
		assert_int_equal(spawn(&(struct spawn_options){ .argv = SPAWN_ARGV("true"),
								.in_child = hook_in_child,
								.in_parent = hook_in_parent,
								.hook_data = &hooks },
				       &pid, &pidfd, &err),
				 -cases[i].number);
		assert_true(hooks.told > 0);
		if (cases[i].number) {
			assert_non_null(strstr(error_message(&err), cases[i].text));
			assert_int_equal(waitpid(hooks.told, NULL, 0), -1);
		} else {
			assert_int_equal(hooks.told, pid);
			assert_int_equal(end_of(pidfd), 0);
		}
		for (int end = 0; end < 2; end++) {
			close(hooks.to_parent[end]);
			close(hooks.to_child[end]);
		}
	}
}

static void test_process_open(void **state _unused_)
{
	char *const *argv = SPAWN_ARGV("sleep", "100");
	uint64_t ticks = 0, again = 0;
	int pidfd, opened = -EBADF;
	pid_t pid;

	assert_int_equal(spawn(&(struct spawn_options){ .argv = argv }, &pid, &pidfd, NULL), 0);
	assert_int_equal(process_start_time(pid, &ticks), 0);
	assert_true(ticks > 0);
	assert_int_equal(process_start_time(pid, &again), 0);
	assert_true(ticks == again);
	assert_int_equal(process_open(pid, ticks, &opened), 0);
	assert_true(opened >= 0);
	opened = close_fd(opened);
	/* Another start time means that the pid is somebody else's by now. */
	assert_int_equal(process_open(pid, ticks - 1, &opened), -ESRCH);
	kill(pid, SIGKILL);
	end_of(pidfd);
	assert_int_equal(process_open(pid, ticks, &opened), -ESRCH);
	assert_int_equal(process_start_time(pid, &ticks), -ESRCH);
	assert_int_equal(process_open(0, 0, &opened), -ESRCH);
	assert_int_equal(process_open(-1, 0, &opened), -ESRCH);
	assert_int_equal(opened, -EBADF);
}

static bool tells_hidden_from_dead(void *userdata)
{
	const pid_t *dead = userdata;
	uint64_t ticks;
	int pidfd;

	return process_start_time(getpid(), &ticks) == 0 &&
	       process_open(getpid(), ticks, &pidfd) == 0 &&
	       process_start_time(getppid(), &ticks) == -EACCES &&
	       process_open(getppid(), 1, &pidfd) == -EACCES &&
	       process_start_time(*dead, &ticks) == -ESRCH &&
	       process_open(*dead, 1, &pidfd) == -ESRCH;
}

static void test_a_hidden_process_is_not_gone(void **state _unused_)
{
	int pidfd;
	pid_t dead;

	assert_int_equal(
		spawn(&(struct spawn_options){ .argv = SPAWN_ARGV("true") }, &dead, &pidfd, NULL),
		0);
	end_of(pidfd);
	run_with_proc_hidden(tells_hidden_from_dead, &dead);
}

/* The name of a program may look like the fields after it. */
static void test_start_time_with_odd_name(void **state _unused_)
{
	char dir[] = "/tmp/kiln-test-spawn.XXXXXX";

	assert_non_null(mkdtemp(dir));

	_cleanup_free_ char *odd = path_join(dir, "a) S 1 2 ("), *text = NULL;
	char *const *copy = SPAWN_ARGV("cp", "/bin/sleep", odd);
	char *const *argv = SPAWN_ARGV(odd, "100");
	uint64_t ticks = 0, own = 0;
	int pidfd;
	pid_t pid;

	assert_int_equal(spawn_and_wait(copy, &text, NULL), 0);
	assert_int_equal(spawn(&(struct spawn_options){ .argv = argv }, &pid, &pidfd, NULL), 0);
	assert_int_equal(process_start_time(pid, &ticks), 0);
	assert_int_equal(process_start_time(getpid(), &own), 0);
	kill(pid, SIGKILL);
	end_of(pidfd);
	assert_int_equal(path_remove(dir, NULL), 0);
	assert_true(ticks >= own && ticks < own + 100 * 120);
}

static void test_spawn_and_wait(void **state _unused_)
{
	char *const *good = SPAWN_ARGV("sh", "-c", "echo out; echo err >&2");
	char *const *bad = SPAWN_ARGV("sh", "-c", "echo the reason; exit 3");
	char *const *killed = SPAWN_ARGV("sh", "-c", "kill -9 $$");
	char *const *missing = SPAWN_ARGV("kiln-no-such-program");
	char *const *long_output = SPAWN_ARGV("sh", "-c", "yes | head -c 1000000; echo end");
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *text = NULL, *tail = NULL;
	char *none = NULL;

	assert_int_equal(spawn_and_wait(good, &text, &err), 0);
	assert_string_equal(text, "out\nerr\n");
	assert_int_equal(spawn_and_wait(good, NULL, &err), 0);
	assert_int_equal(spawn_and_wait(bad, &none, &err), -EIO);
	assert_string_equal(error_message(&err), "sh failed with status 3: the reason");
	assert_int_equal(spawn_and_wait(killed, &none, &err), -EIO);
	assert_non_null(strstr(error_message(&err), "signal 9"));
	assert_int_equal(spawn_and_wait(missing, &none, &err), -ENOENT);
	assert_null(none);
	assert_int_equal(spawn_and_wait(long_output, &tail, &err), 0);
	assert_int_equal(strlen(tail), 65536);
	assert_string_equal(tail + 65532, "end\n");
}

/* A grandchild that keeps the pipe does not keep us. */
static void test_spawn_run(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *output = NULL;
	char *none = NULL;
	int pipe_fds[2], extra[2], status = -1;

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	assert_int_equal(pipe2(extra, O_CLOEXEC), 0);
	const struct spawn_fd fds[] = { { extra[1], 5 } };
	struct spawn_options options = {
		.argv = SPAWN_ARGV("sh", "-c", "echo out; echo more >&5; kill -25 $$"),
		.fds = fds,
		.nfds = 1,
	};
	assert_int_equal(spawn_run(&options, pipe_fds[0], &status, &output, &err), 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == 25);
	assert_string_equal(output, "out\n");
	char more[8] = "";
	assert_int_equal(read(extra[0], more, sizeof(more) - 1), 5);
	assert_string_equal(more, "more\n");

	/* The word to give up comes while it runs. */
	options.argv = SPAWN_ARGV("sh", "-c", "echo x >&5; exec sleep 100");
	const struct spawn_fd cancel[] = { { pipe_fds[1], 5 } };
	options.fds = cancel;
	assert_int_equal(spawn_run(&options, pipe_fds[0], &status, &none, &err), -ECANCELED);
	assert_null(none);
	for (int i = 0; i < 2; i++) {
		close(pipe_fds[i]);
		close(extra[i]);
	}
}

static void test_spawn_and_wait_with_a_daemon(void **state _unused_)
{
	char *const *argv = SPAWN_ARGV("sh", "-c", "sleep 60 & echo $!");
	_cleanup_free_ char *text = NULL;
	uint64_t start = clock_monotonic_ms();

	assert_int_equal(spawn_and_wait(argv, &text, NULL), 0);
	assert_true(clock_monotonic_ms() - start < DEADLINE_MS);
	assert_int_equal(kill(atoi(text), SIGKILL), 0);
}

/* To the hard limit, as somebody might whose own is the same. */
static int limit_files(void *data, const char **ret_what)
{
	(void)ret_what;
	return setrlimit(RLIMIT_NOFILE, data) < 0 ? -errno : 0;
}

static void expect_files(struct spawn_options options, const char *expected)
{
	int status;
	_cleanup_free_ char *text = shell("ulimit -Sn; ulimit -Hn", options, &status);

	assert_string_equal(text, expected);
}

static void test_children_have_the_files_that_were_given(void **state _unused_)
{
	struct rlimit before, limit = { .rlim_cur = 100 }, most, now;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	limit.rlim_max = before.rlim_max;
	assert_int_equal(prlimit(0, RLIMIT_NOFILE, &limit, NULL), 0);
	open_files_raise();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &now), 0);
	assert_int_equal(now.rlim_cur, before.rlim_max);

	_cleanup_free_ char *given = xasprintf("100\n%ju\n", (uintmax_t)before.rlim_max);
	expect_files((struct spawn_options){}, given);
	most.rlim_cur = most.rlim_max = before.rlim_max;
	_cleanup_free_ char *own = xasprintf("%ju\n%ju\n", (uintmax_t)before.rlim_max,
					     (uintmax_t)before.rlim_max);
	expect_files((struct spawn_options){ .in_child = limit_files,
					     .hook_data = &most,
					     .limits_files = true },
		     own);
	/* Somebody else has set one meanwhile. */
	limit.rlim_cur = 150;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	_cleanup_free_ char *others = xasprintf("150\n%ju\n", (uintmax_t)before.rlim_max);
	expect_files((struct spawn_options){}, others);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exit_status_and_reap),
		cmocka_unit_test(test_reap_of_a_living_and_a_killed),
		cmocka_unit_test(test_failures_are_returned),
		cmocka_unit_test(test_descriptors_may_overlap),
		cmocka_unit_test(test_same_number_is_kept_open),
		cmocka_unit_test(test_everything_else_is_closed),
		cmocka_unit_test(test_signals_are_reset),
		cmocka_unit_test(test_env_cwd_session),
		cmocka_unit_test(test_hooks_of_child_and_parent),
		cmocka_unit_test(test_process_open),
		cmocka_unit_test(test_a_hidden_process_is_not_gone),
		cmocka_unit_test(test_start_time_with_odd_name),
		cmocka_unit_test(test_spawn_and_wait),
		cmocka_unit_test(test_spawn_run),
		cmocka_unit_test(test_spawn_and_wait_with_a_daemon),
		cmocka_unit_test(test_children_have_the_files_that_were_given),
	};

	return cmocka_run_group_tests_name("spawn", tests, NULL, NULL);
}
