#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/mount.h>

#include "agent/mount_options.h"
#include "base/strings.h"

static int parse(const char *const *names, size_t count, struct mount_options *o)
{
	return mount_options_parse((char *const *)names, count, o, NULL);
}

static void test_attributes(void **state _unused_)
{
	static const char *const names[] = { "nosuid",  "noexec",   "ro",       "nodev", "exec",
					     "noatime", "relatime", "defaults", "" };
	struct mount_options o;

	assert_int_equal(parse(names, ARRAY_SIZE(names), &o), 0);
	/* The last one named wins. */
	assert_int_equal(o.attr_set, MOUNT_ATTR_NOSUID | MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV);
	assert_int_equal(o.attr_clear, MOUNT_ATTR_NOEXEC | MOUNT_ATTR__ATIME);
	assert_int_equal(o.tree_set, 0);
	assert_int_equal(o.ndata, 0);
	mount_options_done(&o);
}

static void test_trees(void **state _unused_)
{
	static const char *const names[] = { "rbind", "rro", "rnosuid", "rslave" };
	struct mount_options o;

	assert_int_equal(parse(names, ARRAY_SIZE(names), &o), 0);
	assert_true(o.bind);
	assert_true(o.bind_tree);
	assert_int_equal(o.tree_set, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID);
	assert_int_equal(o.attr_set, 0);
	assert_int_equal(o.propagation, MS_SLAVE);
	assert_true(o.propagation_tree);
	mount_options_done(&o);
}

static void test_data_keeps_its_order(void **state _unused_)
{
	static const char *const names[] = { "trans=virtio", "bind", "size=64k", "newinstance" };
	struct mount_options o;

	assert_int_equal(parse(names, ARRAY_SIZE(names), &o), 0);
	assert_true(o.bind);
	assert_false(o.bind_tree);
	assert_int_equal(o.ndata, 3);
	assert_string_equal(o.data[0], "trans=virtio");
	assert_string_equal(o.data[2], "newinstance");
	mount_options_done(&o);
}

/* What an engine has joined is what it gives apart. */
static void test_joined(void **state _unused_)
{
	static const char *const names[] = { "size=96k,mode=711,nosuid", "tmpcopyup" };
	struct mount_options o;

	assert_int_equal(parse(names, ARRAY_SIZE(names), &o), 0);
	assert_int_equal(o.attr_set, MOUNT_ATTR_NOSUID);
	assert_true(o.copy_up);
	assert_int_equal(o.ndata, 2);
	assert_string_equal(o.data[0], "size=96k");
	assert_string_equal(o.data[1], "mode=711");
	mount_options_done(&o);
}

static void test_too_many(void **state _unused_)
{
	char text[2 * MOUNT_DATA_MAX + 4];
	const char *names[] = { text };
	struct mount_options o = {};

	memset(text, 'x', sizeof(text));
	for (size_t i = 1; i < sizeof(text); i += 2)
		text[i] = ',';
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(parse(names, 1, &o), -E2BIG);
}

static void test_refused(void **state _unused_)
{
	static const char *const names[] = { "ro", "remount" };
	struct mount_options o = {};

	assert_int_equal(parse(names, ARRAY_SIZE(names), &o), -EOPNOTSUPP);
	assert_null(o.data);
}

static void test_propagation(void **state _unused_)
{
	uint64_t flag;
	bool tree;

	assert_int_equal(propagation_parse("", &flag, &tree), 0);
	assert_int_equal(flag, MS_PRIVATE);
	assert_int_equal(propagation_parse("shared", &flag, &tree), 0);
	assert_int_equal(flag, MS_SHARED);
	assert_false(tree);
	assert_int_equal(propagation_parse("runbindable", &flag, &tree), 0);
	assert_int_equal(flag, MS_UNBINDABLE);
	assert_true(tree);
	assert_int_equal(propagation_parse("r", &flag, &tree), -EINVAL);
	assert_int_equal(propagation_parse("rrshared", &flag, &tree), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_attributes),
		cmocka_unit_test(test_trees),
		cmocka_unit_test(test_data_keeps_its_order),
		cmocka_unit_test(test_joined),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_propagation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
