/* What else runs with a machine's user ids at its end: one that looks dead, and another machine's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "factory/base/layout.h"
#include "factory/client/reap.h"
#include "factory/jail/uid_range.h"
#include "factory/vm/journal.h"
#include "factory/vm/remains.h"
#include "tests/unit/folder.h"

#define UID 0x70000000u

static void *live_on(void *pipe)
{
	char word = 'l';

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* no more than the test */
	(void)!write(*(int *)pipe, &word, 1);
	while (pause() < 0)
		;
	return NULL;
}

/* A process of the machine's user that runs nothing any more, and yet lives. */
static pid_t start_headless(void)
{
	pthread_t thread;
	char word;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	pid_t pid = fork();
	if (pid == 0) {
		if (setresuid(UID, UID, UID) < 0 ||
		    pthread_create(&thread, NULL, live_on, &fds[1]) != 0)
			_exit(1);
		syscall(SYS_exit, 0);
	}
	assert_int_equal(read(fds[0], &word, 1), 1);
	close(fds[0]);
	close(fds[1]);
	return pid;
}

static bool looks_dead(pid_t pid)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/status", (int)pid);
	_cleanup_free_ char *text = NULL;

	assert_int_equal(file_read(path, 65536, &text, NULL, NULL), 0);
	return strstr(text, "\nState:\tZ");
}

static void test_a_process_without_its_first_thread(void **state)
{
	const struct owner owner = { UID, UID_RANGE_SIZE }, other = { UID + UID_RANGE_SIZE, 1 };
	struct journal_entry entry = { .id = (char[]){ "0123456789abcdef0123456789abcdef" },
				       .uid = UID };
	int status;

	if (geteuid() != 0)
		skip();
	assert_int_equal(uid_range_take(*state, UID, entry.id, NULL), 0);
	pid_t pid = start_headless();
	while (!looks_dead(pid))
		sched_yield();
	assert_true(remains_is_machine(pid, &owner));
	assert_false(remains_is_machine(pid, &other));
	while (remains_remove(*state, &entry, NULL) == -EBUSY)
		;
	assert_int_equal(waitpid(pid, &status, WNOHANG), pid);
	assert_int_equal(WTERMSIG(status), SIGKILL);
}

static pid_t start_sleeper(uint32_t uid)
{
	char word;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	pid_t pid = fork();
	if (pid == 0) {
		if (setresuid(uid, uid, uid) < 0)
			_exit(1);
		live_on(&fds[1]);
	}
	assert_int_equal(read(fds[0], &word, 1), 1);
	close(fds[0]);
	close(fds[1]);
	return pid;
}

static void expect_alive(pid_t pid)
{
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* Two of a pid namespace: the first cannot end before somebody has reaped the second, and that is
 * their parent's to do, once `go` is closed. */
struct slow_pair {
	pid_t parent, first, second;
	int go;
};

static void be_their_parent(int words, int go)
{
	pid_t pids[2];
	char end;

	if (unshare(CLONE_NEWPID) < 0)
		_exit(1);
	for (size_t i = 0; i < ARRAY_SIZE(pids); i++)
		pids[i] = start_sleeper(UID);
	(void)!write(words, pids, sizeof(pids));
	(void)!read(go, &end, 1);
	_exit(waitpid(pids[1], NULL, 0) == pids[1] && waitpid(pids[0], NULL, 0) == pids[0] ? 0 : 1);
}

static struct slow_pair start_slow_pair(void)
{
	struct slow_pair pair = {};
	pid_t pids[2];
	int words[2], go[2];

	assert_int_equal(pipe(words), 0);
	assert_int_equal(pipe(go), 0);
	pair.parent = fork();
	if (pair.parent == 0) {
		close(go[1]);
		be_their_parent(words[1], go[0]);
	}
	close(words[1]);
	close(go[0]);
	assert_int_equal(read(words[0], pids, sizeof(pids)), sizeof(pids));
	close(words[0]);
	pair.first = pids[0];
	pair.second = pids[1];
	pair.go = go[1];
	return pair;
}

/* Whoever removes has others to serve: it comes again. */
static void test_a_process_that_does_not_end(void **state)
{
	struct journal_entry entry = { .id = (char *)"a", .uid = UID };
	int status;

	if (geteuid() != 0)
		skip();
	assert_int_equal(uid_range_take(*state, UID, entry.id, NULL), 0);
	struct slow_pair pair = start_slow_pair();
	assert_int_equal(remains_remove(*state, &entry, NULL), -EBUSY);
	while (!looks_dead(pair.second)) /* it has got its signal all the same */
		sched_yield();
	assert_true(uid_range_is(*state, UID, entry.id));
	close(pair.go);
	assert_int_equal(waitpid(pair.parent, &status, 0), pair.parent);
	assert_int_equal(status, 0);
	assert_int_equal(remains_remove(*state, &entry, NULL), 0);
	assert_false(uid_range_is(*state, UID, entry.id));
}

/* Whoever asks may name any control group. */
static void test_a_control_group_that_is_not_there(void **state)
{
	struct journal_entry entry = { .id = (char *)"a", .uid = UID, .cgroup = (char *)"no/a" };
	pid_t pid;

	if (geteuid() != 0)
		skip();
	assert_int_equal(uid_range_take(*state, UID, entry.id, NULL), 0);
	pid = start_sleeper(UID);
	while (remains_remove(*state, &entry, NULL) == -EBUSY)
		;
	assert_int_equal(waitpid(pid, NULL, WNOHANG), pid);
	assert_false(uid_range_is(*state, UID, entry.id));
}

/* The entry is written before the ids are taken: by then they may be another machine's. */
static void test_user_ids_of_another_machine(void **state)
{
	struct journal_entry a = { .id = (char *)"a", .uid = UID };

	if (geteuid() != 0)
		skip();
	assert_int_equal(uid_range_take(*state, UID, "b", NULL), 0);
	pid_t pid = start_sleeper(UID);
	assert_int_equal(remains_remove(*state, &a, NULL), 0);
	expect_alive(pid);
	assert_true(uid_range_is(*state, UID, "b"));
}

/* The journal and the link are a factory's that somebody has taken over, the process is anybody's.
 */
static void test_user_ids_that_root_has_not_noted(void **state)
{
	const struct journal_entry entry = { .id = (char *)"a",
					     .template_id = (char *)"t",
					     .template_name = (char *)"default",
					     .state = VM_CLAIMED,
					     .uid = 100000 };
	_cleanup_free_ char *link = path_join(*state, "uids/100000");

	if (geteuid() != 0)
		skip();
	pid_t pid = start_sleeper(entry.uid);
	assert_int_equal(journal_write(*state, &entry, NULL), 0);
	assert_int_equal(uid_range_take(*state, entry.uid, entry.id, NULL), 0);
	assert_true(uid_range_is(*state, entry.uid, entry.id));
	assert_int_equal(lchown(link, 65534, 65534), 0);
	assert_false(uid_range_is(*state, entry.uid, entry.id));
	assert_int_equal(reap_machine(*state, entry.id, NULL), 0);
	expect_alive(pid);
	assert_int_equal(readlink(link, (char[1]){}, 1), -1);
}

/* Nor is one that is only not reaped taken for a machine. */
static void test_a_dead_process(void **state _unused_)
{
	const struct owner owner = { geteuid(), 1 };
	siginfo_t info;

	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_false(remains_is_machine(pid, &owner));
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_process_without_its_first_thread,
						folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_a_process_that_does_not_end, folder_setup,
						folder_teardown),
		cmocka_unit_test_setup_teardown(test_a_control_group_that_is_not_there,
						folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_user_ids_of_another_machine, folder_setup,
						folder_teardown),
		cmocka_unit_test_setup_teardown(test_user_ids_that_root_has_not_noted, folder_setup,
						folder_teardown),
		cmocka_unit_test(test_a_dead_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
