/* Who may come in, the socket file's mode, and the lock that keeps a second factory out. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* After what it needs. */
#include <cmocka.h>

#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/instance.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "factory/base/access.h"

static struct access *access_of(const char *uids, const char *groups)
{
	_cleanup_(error_done) struct error err = {};
	struct access *access = NULL;

	if (access_new(uids, groups, &access, &err) < 0)
		fail_msg("%s", error_message(&err));
	return access;
}

static bool lets_in(const char *uids, const char *groups, uid_t uid, gid_t gid)
{
	_cleanup_(access_free_cleanup) struct access *access = access_of(uids, groups);
	const struct peer peer = { .pid = 1, .uid = uid, .gid = gid };

	return access_check(access, -1, &peer) == 0;
}

static void test_lists(void **state _unused_)
{
	assert_true(lets_in(NULL, NULL, 0, 0));
	assert_true(lets_in("", "", 0, 5));
	assert_false(lets_in(NULL, NULL, 1000, 0));
	assert_true(lets_in("1000", NULL, 1000, 1000));
	assert_true(lets_in(" 7, 1000 ,,9", NULL, 1000, 1000));
	assert_false(lets_in("1000", NULL, 1001, 1000));
	assert_true(lets_in("root,nobody", NULL, 65534, 1));
	assert_true(lets_in(NULL, "1000", 5, 1000));
	assert_true(lets_in(NULL, "root", 5, 0));
	assert_false(lets_in(NULL, "1000", 1000, 5));
	/* Nobody knows who that is. */
	assert_false(lets_in("1000", "1000", (uid_t)-1, (gid_t)-1));
}

static void test_names_that_nobody_has(void **state _unused_)
{
	static const struct {
		const char *uids, *groups, *sentence;
	} cases[] = {
		{ "no-such-user", NULL,
		  "allow_uids names \"no-such-user\", which this host does not know" },
		{ "0,4294967295", NULL,
		  "allow_uids names \"4294967295\", which this host does not know" },
		{ NULL, "root, no-such-group",
		  "allow_groups names \"no-such-group\", which this host does not know" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(error_done) struct error err = {};
		struct access *access = NULL;
		assert_int_equal(access_new(cases[i].uids, cases[i].groups, &access, &err),
				 -EINVAL);
		assert_string_equal(error_message(&err), cases[i].sentence);
		assert_null(access);
	}
}

/* A connection of a process that has 4711 among its further groups. */
static void test_supplementary_groups(void **state _unused_)
{
	const gid_t groups[] = { 4710, 4711 };
	pid_t child;
	int status, fds[2];

	if (geteuid() != 0)
		skip();
	child = fork();
	if (child == 0) {
		struct peer peer = {};
		if (setgroups(ARRAY_SIZE(groups), groups) < 0 || setgid(4712) < 0 ||
		    setuid(4713) < 0 || socket_pair(fds) < 0 || socket_peer(fds[0], &peer) < 0)
			_exit(2);
		struct access *in = access_of(NULL, "4711"), *out = access_of(NULL, "4714");
		_exit(access_check(in, fds[0], &peer) == 0 &&
				      access_check(out, fds[0], &peer) == -EACCES
			      ? 0
			      : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void test_refusals_are_logged_once_a_second(void **state _unused_)
{
	_cleanup_(access_free_cleanup) struct access *access = access_of("7", NULL);
	const struct peer peer = { .pid = 12, .uid = 34, .gid = 56 };
	char text[4096] = "";
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	log_init("test", fds[1], LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(access_check(access, -1, &peer), -EACCES);
	log_init("test", STDERR_FILENO, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	assert_true(read(fds[0], text, sizeof(text) - 1) > 0);
	assert_non_null(strstr(text, "audit refuse uid=34 gid=56 pid=12 reason=\"neither "));
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	close(fds[0]);
	close(fds[1]);
}

static void expect_mode(const char *uids, const char *groups, const char *path, mode_t mode,
			gid_t group)
{
	_cleanup_(access_free_cleanup) struct access *access = access_of(uids, groups);
	struct stat st;

	struct socket_access of = access_of_socket(access);
	assert_int_equal(access_set(&of, path, NULL), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, mode);
	assert_int_equal(st.st_gid, group);
}

static void test_socket_file(void **state _unused_)
{
	char dir[] = "/tmp/kiln-access.XXXXXX";
	struct stat st;
	int fd = -EBADF;

	if (geteuid() != 0)
		skip();
	assert_non_null(mkdtemp(dir));
	_cleanup_free_ char *path = path_join(dir, "socket");
	assert_int_equal(socket_listen_unix(path, 0600, &fd, NULL), 0);
	expect_mode(NULL, NULL, path, 0600, 0);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	expect_mode(NULL, "4711", path, 0660, 4711);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0711);
	expect_mode(NULL, "4711,4712", path, 0666, 0);
	expect_mode("1000", "4711", path, 0666, 0);
	expect_mode(NULL, NULL, path, 0600, 0);
	close(fd);
	assert_int_equal(path_remove(dir, NULL), 0);
}

static void test_second_instance(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};
	char dir[] = "/tmp/kiln-instance.XXXXXX";
	int first = -EBADF, second = -EBADF;

	assert_non_null(mkdtemp(dir));
	assert_int_equal(instance_lock(dir, "lock", "store", getpid(), &first, &err), 0);
	assert_int_equal(instance_lock(dir, "lock", "store", getpid(), &second, &err), -EADDRINUSE);
	_cleanup_free_ char *sentence = xasprintf("another kiln-factory (pid %d) uses %s: stop it "
						  "first, or set another store",
						  (int)getpid(), dir);
	assert_string_equal(error_message(&err), sentence);
	assert_int_equal(second, -EBADF);
	close(first);
	assert_int_equal(instance_lock(dir, "lock", "store", getpid(), &second, NULL), 0);
	close(second);
	assert_int_equal(path_remove(dir, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_names_that_nobody_has),
		cmocka_unit_test(test_supplementary_groups),
		cmocka_unit_test(test_refusals_are_logged_once_a_second),
		cmocka_unit_test(test_socket_file),
		cmocka_unit_test(test_second_instance),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
