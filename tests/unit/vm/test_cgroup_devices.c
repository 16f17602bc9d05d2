/* What a process in such a group can open, root as it is. Each of v1 and v2 is tried where this
 * host has its hierarchy mounted: a v2 one without controllers takes the program as well. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"
#include "factory/jail/cgroup_devices.h"

typedef int (*limit_fn)(const char *folder, struct error *err);

/* Bits of what was wrong. */
enum { NOT_OPENED = 1, OPENED = 2, MADE = 4, NOT_ENTERED = 8 };

static bool opens(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);

	return fd >= 0;
}

static int look_around(const char *door, const char *node)
{
	int wrong = 0;

	if (file_write_value(door, "0", NULL) < 0)
		return NOT_ENTERED;
	if (!opens("/dev/null") || !opens("/dev/zero") || !opens("/dev/urandom"))
		wrong |= NOT_OPENED;
	if (opens("/dev/full") || open("/dev/full", O_RDONLY | O_CLOEXEC) >= 0)
		wrong |= OPENED;
	if (mknod(node, S_IFCHR | 0600, makedev(1, 3)) == 0 ||
	    mknod(node, S_IFBLK | 0600, makedev(7, 0)) == 0)
		wrong |= MADE;
	return wrong;
}

static int look_from(const char *folder, const char *door_name)
{
	_cleanup_free_ char *door = path_join(folder, door_name);
	char dir[] = "/tmp/kiln-test.XXXXXX";
	int status = -1;

	assert_non_null(mkdtemp(dir));
	_cleanup_free_ char *node = path_join(dir, "node");
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(look_around(door, node));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(path_remove(dir, NULL), 0);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* In a group below the limited one, as machines are; limited twice, as by a second factory. */
static void expect_limited(const char *root, const char *door, limit_fn limit)
{
	_cleanup_free_ char *group = xasprintf("%s/kiln-unit.%d", root, (int)getpid());
	_cleanup_free_ char *below = path_join(group, "machine");
	_cleanup_(error_done) struct error err = {};

	if (mkdir(group, 0755) < 0)
		skip(); /* no such hierarchy, or no right to */
	int first = limit(group, &err);
	int made = mkdir(below, 0755);
	int wrong = first < 0 ? 0 : look_from(below, door);
	int again = limit(group, NULL);
	int wrong_again = look_from(below, door);
	rmdir(below);
	rmdir(group);
	if (first == -EPERM)
		skip();
	if (first < 0)
		print_error("%s\n", error_message(&err));
	assert_int_equal(first, 0);
	assert_int_equal(made, 0);
	assert_int_equal(wrong, 0);
	assert_int_equal(again, 0);
	assert_int_equal(wrong_again, 0);
}

static void test_v1(void **state _unused_)
{
	expect_limited("/sys/fs/cgroup/devices", "tasks", cgroup_devices_limit_v1);
}

static void test_v2(void **state _unused_)
{
	bool whole = path_exists("/sys/fs/cgroup/cgroup.controllers");

	expect_limited(whole ? "/sys/fs/cgroup" : "/sys/fs/cgroup/unified", "cgroup.procs",
		       cgroup_devices_limit_v2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_v1),
		cmocka_unit_test(test_v2),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
