#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/channel.h"
#include "agent/executable.h"
#include "agent/home.h"
#include "agent/rootpath.h"
#include "base/file.h"
#include "base/memory.h"

/* A folder with `root` in it, which plays a container's root, and `outside` beside it. */
struct place {
	char folder[64];
	int root;
};

static char *inside(const struct place *place, const char *path)
{
	return xasprintf("%s/root/%s", place->folder, path);
}

static bool exists(const struct place *place, const char *path)
{
	_cleanup_free_ char *full = path_join(place->folder, path);
	struct stat st;

	return lstat(full, &st) == 0;
}

static void link_to(const struct place *place, const char *target, const char *path)
{
	_cleanup_free_ char *full = inside(place, path);

	assert_int_equal(symlink(target, full), 0);
}

static int setup(void **state)
{
	struct place *place = xnew(struct place);

	strcpy(place->folder, "/tmp/kiln-rootpath.XXXXXX");
	assert_non_null(mkdtemp(place->folder));
	_cleanup_free_ char *root = path_join(place->folder, "root");
	_cleanup_free_ char *outside = path_join(place->folder, "outside");
	assert_int_equal(mkdir(root, 0755), 0);
	assert_int_equal(mkdir(outside, 0755), 0);
	place->root = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(place->root >= 0);
	*state = place;
	return 0;
}

static int teardown(void **state)
{
	struct place *place = *state;
	int r = path_remove(place->folder, NULL);

	close_fd(place->root);
	free(place);
	return r;
}

static int make(const struct place *place, const char *path, bool is_dir)
{
	_cleanup_close_ int fd = -EBADF;

	return rootpath_make(place->root, path, is_dir, &fd, NULL);
}

static void test_make(void **state)
{
	struct place *place = *state;

	assert_int_equal(make(place, "/a/b/c", true), 0);
	assert_true(exists(place, "root/a/b/c"));
	assert_int_equal(make(place, "/a/b/file", false), 0);
	assert_true(exists(place, "root/a/b/file"));
	assert_int_equal(make(place, "/a/b/file", false), 0);
	assert_int_equal(make(place, "a//x///y//", true), 0);
	assert_true(exists(place, "root/a/x/y"));
	assert_int_equal(make(place, "/", true), 0);
	assert_int_equal(make(place, "", true), 0);
	assert_int_equal(make(place, "/a/b/file/below", true), -ENOTDIR);
	assert_int_equal(make(place, "/../../outside/up", true), 0);
	assert_true(exists(place, "root/outside/up"));
	assert_false(exists(place, "outside/up"));
}

static void test_links_stay_inside(void **state)
{
	struct place *place = *state;
	_cleanup_free_ char *outside = path_join(place->folder, "outside");
	_cleanup_free_ char *within = xasprintf("root%s/made", outside);
	_cleanup_close_ int fd = -EBADF;

	link_to(place, outside, "absolute");
	link_to(place, "../outside", "relative");
	link_to(place, "/proc/self/root", "magic");
	assert_int_equal(make(place, "/absolute/made", true), 0);
	assert_true(exists(place, within));
	assert_int_equal(make(place, "/relative/made", true), 0);
	assert_true(exists(place, "root/outside/made"));
	assert_false(exists(place, "outside/made"));
	assert_int_equal(rootpath_open(place->root, "/magic", &fd), -ENOENT);
}

static void test_no_links(void **state)
{
	struct place *place = *state;
	_cleanup_close_ int fd = -EBADF;

	assert_int_equal(make(place, "/a/b", true), 0);
	link_to(place, "a", "link");
	link_to(place, "nowhere", "a/dangling");
	assert_int_equal(rootpath_open_no_links(place->root, "/link", &fd), -ELOOP);
	assert_int_equal(rootpath_open_no_links(place->root, "/link/b", &fd), -ELOOP);
	assert_int_equal(rootpath_open_no_links(place->root, "/a/dangling", &fd), -ELOOP);
	assert_int_equal(rootpath_open_no_links(place->root, "/a/c", &fd), -ENOENT);
	assert_int_equal(rootpath_open_no_links(place->root, "/../a/b", &fd), 0);
}

/* Links to nowhere are made real inside; those that go round end. */
static void test_dangling_links(void **state)
{
	struct place *place = *state;

	link_to(place, "/run/resolve/stub.conf", "resolv.conf");
	assert_int_equal(make(place, "/resolv.conf", false), 0);
	assert_true(exists(place, "root/run/resolve/stub.conf"));
	assert_int_equal(make(place, "/etc", true), 0);
	link_to(place, "../run/other", "etc/link");
	assert_int_equal(make(place, "/etc/link", false), 0);
	assert_true(exists(place, "root/run/other"));
	link_to(place, "loop2", "loop1");
	link_to(place, "loop1", "loop2");
	assert_int_equal(make(place, "/loop1", true), -ELOOP);
	link_to(place, "deeper/x", "deeper");
	assert_true(make(place, "/deeper", true) < 0);
}

static void test_parent(void **state)
{
	struct place *place = *state;
	_cleanup_close_ int dir = -EBADF;
	const char *name;

	assert_int_equal(rootpath_parent(place->root, "/dev/net/tun", &dir, &name, NULL), 0);
	assert_string_equal(name, "tun");
	assert_true(exists(place, "root/dev/net"));
	assert_int_equal(rootpath_parent(place->root, "/dev/", &dir, &name, NULL), -EINVAL);
	assert_int_equal(rootpath_parent(place->root, "/dev/..", &dir, &name, NULL), -EINVAL);
}

static void test_executable(void **state)
{
	struct place *place = *state;
	_cleanup_free_ char *dir = inside(place, "bin");
	_cleanup_free_ char *program = inside(place, "bin/program");
	_cleanup_free_ char *data = inside(place, "bin/data");
	_cleanup_free_ char *path = xasprintf("/nosuch:%s", dir);
	_cleanup_free_ char *file = NULL;
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(mkdir(dir, 0755), 0);
	assert_int_equal(file_write_atomic(program, "x", 1, 0755, NULL), 0);
	assert_int_equal(file_write_atomic(data, "x", 1, 0644, NULL), 0);
	assert_int_equal(executable_find("program", path, &file, &err), 0);
	assert_string_equal(file, program);
	assert_int_equal(executable_find("data", path, &file, &err), -EACCES);
	assert_string_equal(error_message(&err), "exec: \"data\": Permission denied");
	assert_int_equal(executable_find("nosuch", path, &file, &err), -ENOENT);
	assert_string_equal(error_message(&err),
			    "exec: \"nosuch\": executable file not found in $PATH");
	assert_int_equal(executable_find("nosuch", "", &file, &err), -ENOENT);
	assert_int_equal(executable_find(dir, NULL, &file, &err), -EISDIR);
	assert_int_equal(executable_find("/nosuch/x", NULL, &file, &err), -ENOENT);
	assert_string_equal(error_message(&err),
			    "exec: \"/nosuch/x\": stat /nosuch/x: No such file or directory");
}

static void test_home(void **state _unused_)
{
	_cleanup_free_ char *root = home_variable(0);
	_cleanup_free_ char *nobody = home_variable(4000000000U);

	assert_string_equal(root, "HOME=/root");
	assert_string_equal(nobody, "HOME=/");
}

static void test_port_by_name(void **state)
{
	struct place *place = *state;
	_cleanup_free_ char *ports = inside(place, "");
	static const char *const names[][2] = {
		{ "vport0p1/name", "other\n" },
		{ "vport1p2/name", "org.kiln.agent.0\n" },
	};

	assert_int_equal(make(place, "vport9p9", true), 0); /* has no name yet */
	assert_null(channel_find_port("/nosuch", "org.kiln.agent.0"));
	assert_null(channel_find_port(ports, "org.kiln.agent.0"));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_free_ char *file = inside(place, names[i][0]);
		assert_int_equal(make(place, names[i][0], false), 0);
		assert_int_equal(file_write_value(file, names[i][1], NULL), 0);
	}
	_cleanup_free_ char *device = channel_find_port(ports, "org.kiln.agent.0");
	assert_string_equal(device, "/dev/vport1p2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_make, setup, teardown),
		cmocka_unit_test_setup_teardown(test_links_stay_inside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_links, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dangling_links, setup, teardown),
		cmocka_unit_test_setup_teardown(test_parent, setup, teardown),
		cmocka_unit_test_setup_teardown(test_executable, setup, teardown),
		cmocka_unit_test_setup_teardown(test_home, setup, teardown),
		cmocka_unit_test_setup_teardown(test_port_by_name, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
