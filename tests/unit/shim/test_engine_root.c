/* The overlay that an engine has mounted as a container's root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/memory.h"
#include "shim/engine_root.h"

static void find(const char *text, const char *path, Containerd__Types__Mount **ret)
{
	_cleanup_(mountinfo_done) struct mountinfo info = {};
	_cleanup_free_ char *copy = xstrdup(text);

	mountinfo_parse(copy, &info);
	engine_root_find(&info, path, ret);
}

static void an_overlay_is_read_as_its_mount(void **state _unused_)
{
	Containerd__Types__Mount *mount = NULL;

	find("31 30 0:26 / /kiln/none/c1/merged rw - overlay overlay "
	     "rw,lowerdir=/kiln/none/l2:/kiln/none/l\\0401,upperdir=/kiln/none/c1/diff,"
	     "workdir=/kiln/none/c1/work,index=off\n",
	     "/kiln/none/c1/merged", &mount);
	assert_non_null(mount);
	assert_string_equal(mount->type, "overlay");
	assert_int_equal(mount->n_options, 2);
	assert_string_equal(mount->options[0], "lowerdir=/kiln/none/l2:/kiln/none/l 1");
	assert_string_equal(mount->options[1], "upperdir=/kiln/none/c1/diff");
	engine_root_free(mount);
}

/* As Docker and CRI-O name layers where there are many. */
static void links_from_the_engines_home_are_followed(void **state _unused_)
{
	char home[] = "/tmp/kiln-unit.XXXXXX";
	Containerd__Types__Mount *mount = NULL;

	assert_non_null(mkdtemp(home));
	_cleanup_free_ char *folder = xasprintf("%s/layer", home);
	_cleanup_free_ char *links = xasprintf("%s/l", home);
	_cleanup_free_ char *link = xasprintf("%s/l/SHORT", home);
	_cleanup_free_ char *point = xasprintf("%s/c1/merged", home);
	_cleanup_free_ char *text = xasprintf("31 30 0:26 / %s rw - overlay overlay "
					      "rw,lowerdir=l/SHORT:%s:l/GONE,upperdir=c1/diff\n",
					      point, link);
	_cleanup_free_ char *lowers = xasprintf("lowerdir=%s:%s:%s/l/GONE", folder, folder, home);
	_cleanup_free_ char *upper = xasprintf("upperdir=%s/c1/diff", home);

	assert_int_equal(mkdir(folder, 0700), 0);
	assert_int_equal(mkdir(links, 0700), 0);
	assert_int_equal(symlink("../layer", link), 0);
	find(text, point, &mount);
	unlink(link);
	rmdir(links);
	rmdir(folder);
	rmdir(home);
	assert_non_null(mount);
	assert_int_equal(mount->n_options, 2);
	assert_string_equal(mount->options[0], lowers);
	assert_string_equal(mount->options[1], upper);
	engine_root_free(mount);
}

static void other_roots_are_left_alone(void **state _unused_)
{
	static const char text[] = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
				   "30 22 0:25 / /a rw - overlay overlay ro,lowerdir=/x:/y\n"
				   "31 22 0:25 /part /b rw - overlay overlay ro,lowerdir=/x:/y\n"
				   "32 22 254:0 / /c rw - ext4 /dev/vdb rw\n";
	static const char *const paths[] = { "/a/inner", "/b", "/c", "/d" };
	Containerd__Types__Mount *mount = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		find(text, paths[i], &mount);
		assert_null(mount);
	}
}

/* What is mounted last is what is seen. */
static void a_mount_over_it_hides_it(void **state _unused_)
{
	Containerd__Types__Mount *mount = NULL;

	find("30 22 0:25 / /a rw - overlay overlay ro,lowerdir=/x:/y\n"
	     "31 30 0:27 / /a rw - tmpfs tmpfs rw\n",
	     "/a", &mount);
	assert_null(mount);
}

static void a_root_that_is_not_there_has_none(void **state _unused_)
{
	Containerd__Types__Mount *mount = NULL;

	assert_int_equal(engine_root_read("/kiln/none", &mount, NULL), 0);
	assert_null(mount);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_overlay_is_read_as_its_mount),
		cmocka_unit_test(links_from_the_engines_home_are_followed),
		cmocka_unit_test(other_roots_are_left_alone),
		cmocka_unit_test(a_mount_over_it_hides_it),
		cmocka_unit_test(a_root_that_is_not_there_has_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
