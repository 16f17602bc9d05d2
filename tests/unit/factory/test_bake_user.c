/* What the user of bakes is let through to: only root can try it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "factory/bake/bake_user.h"
#include "factory/bake/libvirt/protocol.h"
#include "tests/unit/folder.h"

static const struct bake_user user = { .uid = 4242, .gid = 4343 };

static void expect_folder(const char *path, mode_t mode, gid_t gid)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, mode);
	assert_int_equal(st.st_uid, 0);
	assert_int_equal(st.st_gid, gid);
}

static void test_let_through_by_its_group_alone(void **state)
{
	if (geteuid() != 0)
		skip();
	for (int i = 0; i < 2; i++) {
		assert_int_equal(bake_user_let_through(&user, *state, NULL), 0);
		expect_folder(*state, 0710, 4343);
	}
}

static void test_an_open_folder_stays_as_it_is(void **state)
{
	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(*state, 0711), 0);
	assert_int_equal(bake_user_let_through(&user, *state, NULL), 0);
	expect_folder(*state, 0711, 0);
}

static void test_a_folder_of_another_group_is_not_taken_away(void **state)
{
	_cleanup_(error_done) struct error err = {};

	if (geteuid() != 0)
		skip();
	assert_int_equal(chown(*state, 0, 4444), 0);
	assert_int_equal(chmod(*state, 0750), 0);
	assert_int_equal(bake_user_let_through(&user, *state, &err), -EACCES);
	assert_non_null(strstr(error_message(&err), *state));
	expect_folder(*state, 0750, 4444);
}

/* With KVM a bake has the group of the device: the next one, or the factory's next start, may have
 * the other. */
static void test_groups_of_earlier_bakes_give_way(void **state)
{
	static const char *const names[] = { BAKE_USER, "kvm" };

	if (geteuid() != 0)
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const struct group *earlier = getgrnam(names[i]);
		if (!earlier)
			continue;
		assert_int_equal(chown(*state, 0, earlier->gr_gid), 0);
		assert_int_equal(chmod(*state, 0710), 0);
		assert_int_equal(bake_user_let_through(&user, *state, NULL), 0);
		expect_folder(*state, 0710, 4343);
	}
}

static void test_a_file_of_its_own(void **state)
{
	_cleanup_free_ char *path = path_join(*state, "console");
	struct stat st;

	if (geteuid() != 0)
		skip();
	assert_int_equal(bake_user_make_file(&user, path, NULL), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 4242);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(bake_user_make_file(&user, path, NULL), -EEXIST);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, folder_setup, folder_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_let_through_by_its_group_alone),
		TEST(test_an_open_folder_stays_as_it_is),
		TEST(test_a_folder_of_another_group_is_not_taken_away),
		TEST(test_groups_of_earlier_bakes_give_way),
		TEST(test_a_file_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
