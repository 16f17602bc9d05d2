/* /proc/self/mountinfo, and what is asked of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "shim/mountinfo.h"

static const char text[] =
	"22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n"
	"30 22 0:25 /inner /mnt/a\\040b rw shared:5 master:1 - tmpfs tmpfs rw,size=4096k\n"
	"nonsense\n"
	"31 30 0:26 / /mnt/a\\040b/c rw - overlay overlay ro,lowerdir=/x\\072y:/z\n"
	"32 22 254:0 /var/pods /pods rw - ext4 /dev/vda rw\n";

static void parse(struct mountinfo *info)
{
	_cleanup_free_ char *copy = xstrdup(text);

	mountinfo_parse(copy, info);
}

static void lines_are_read_and_others_left_out(void **state _unused_)
{
	_cleanup_(mountinfo_done) struct mountinfo info = {};

	parse(&info);
	assert_int_equal(info.count, 4);
	assert_int_equal(info.entries[1].id, 30);
	assert_string_equal(info.entries[1].root, "/inner");
	assert_string_equal(info.entries[1].point, "/mnt/a b");
	assert_string_equal(info.entries[1].type, "tmpfs");
	assert_string_equal(info.entries[2].options, "ro,lowerdir=/x:y:/z");
}

static void paths_are_found_in_their_mounts(void **state _unused_)
{
	_cleanup_(mountinfo_done) struct mountinfo info = {};

	parse(&info);
	assert_int_equal(mountinfo_find(&info, "/etc")->id, 22);
	assert_int_equal(mountinfo_find(&info, "/mnt/a b")->id, 30);
	assert_int_equal(mountinfo_find(&info, "/mnt/a bc")->id, 22);
	assert_int_equal(mountinfo_find(&info, "/mnt/a b/c/d")->id, 31);
	assert_true(mountinfo_has_below(&info, "/mnt"));
	assert_true(mountinfo_has_below(&info, "/"));
	assert_false(mountinfo_has_below(&info, "/mnt/a b/c"));
	assert_false(mountinfo_has_below(&info, "/mn"));
}

static void places_do_not_depend_on_mount_points(void **state _unused_)
{
	_cleanup_(mountinfo_done) struct mountinfo info = {};

	parse(&info);
	_cleanup_free_ char *pods = mountinfo_place(&info, "/pods/1");
	_cleanup_free_ char *var = mountinfo_place(&info, "/var/pods/1");
	_cleanup_free_ char *inner = mountinfo_place(&info, "/mnt/a b/x");
	assert_string_equal(pods, "/var/pods/1");
	assert_string_equal(var, "/var/pods/1");
	assert_string_equal(inner, "/inner/x");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_read_and_others_left_out),
		cmocka_unit_test(paths_are_found_in_their_mounts),
		cmocka_unit_test(places_do_not_depend_on_mount_points),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
