/* Direct volumes: what is said of them, and where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "proto/direct_volume.h"
#include "tests/unit/folder.h"

static void test_the_text_is_read(void **state _unused_)
{
	static const char text[] =
		"{\"volume-type\":\"block\",\"device\":\"/dev/sdf\",\"fstype\":\"ext4\","
		"\"metadata\":{\"x\":\"y\"},\"options\":[\"noatime\",\"ro\"]}";
	_cleanup_(direct_volume_done) struct direct_volume volume = {};

	assert_int_equal(direct_volume_parse(text, strlen(text), &volume, NULL), 0);
	assert_string_equal(volume.device, "/dev/sdf");
	assert_string_equal(volume.fstype, "ext4");
	assert_int_equal(volume.options.count, 2);
	assert_string_equal(volume.options.items[1], "ro");
}

static void test_wrong_texts_are_refused(void **state _unused_)
{
	static const struct {
		const char *text, *sentence;
	} cases[] = {
		{ "", "mount info" },
		{ "[]", "no object" },
		{ "{\"fstype\":\"ext4\"}", "\"device\" is missing" },
		{ "{\"device\":\"/dev/x\"}", "\"fstype\" is missing" },
		{ "{\"device\":\"/dev/x\",\"fstype\":4}", "\"fstype\" is missing" },
		{ "{\"device\":\"x\",\"fstype\":\"ext4\"}", "no absolute path" },
		{ "{\"volume-type\":\"nfs\",\"device\":\"/x\",\"fstype\":\"e\"}", "only block" },
		{ "{\"device\":\"/x\",\"fstype\":\"e\",\"options\":{}}", "\"options\"" },
		{ "{\"device\":\"/x\",\"fstype\":\"e\",\"options\":[1]}", "\"options\"" },
		{ "{\"device\":\"/x\",\"fstype\":\"e\",\"metadata\":[]}", "\"metadata\"" },
		{ "{\"device\":\"/x\",\"fstype\":\"e\",\"metadata\":{\"fsGroup\":\"1\"}}",
		  "fsGroup" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(error_done) struct error err = {};
		struct direct_volume volume = {};
		assert_int_not_equal(
			direct_volume_parse(cases[i].text, strlen(cases[i].text), &volume, &err),
			0);
		if (!strstr(error_message(&err), cases[i].sentence))
			fail_msg("%s: %s", cases[i].text, error_message(&err));
	}
}

static void test_a_volume_is_added_and_removed(void **state _unused_)
{
	static const char text[] = "{\"device\":\"/dev/x\",\"fstype\":\"ext4\"}";
	_cleanup_(direct_volume_done) struct direct_volume volume = {};
	/* Kata's name of /a?>: of the alphabet that file names can have. */
	_cleanup_free_ char *file = path_join(test_folder,
					      DIRECT_VOLUMES "/L2E_Pg==/mountInfo.json");
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *address = NULL;

	assert_int_equal(direct_volume_load(test_folder, "/a?>", &volume, &err), -ENOENT);
	assert_int_equal(direct_volume_add(test_folder, "/a?>", "{}", &err), -EINVAL);
	assert_int_equal(direct_volume_add(test_folder, "/a?>", text, &err), 0);
	assert_true(path_exists(file));
	assert_int_equal(direct_volume_load(test_folder, "/a?>", &volume, &err), 0);
	assert_int_equal(direct_volume_find_user(test_folder, "/a?>", &address, &err), -ENOENT);
	assert_int_equal(direct_volume_note_user(test_folder, "/a?>", "pod", "unix:///x", &err), 0);
	assert_int_equal(direct_volume_find_user(test_folder, "/a?>", &address, &err), 0);
	assert_string_equal(address, "unix:///x");
	direct_volume_forget_user(test_folder, "/a?>", "pod");
	assert_int_equal(direct_volume_find_user(test_folder, "/a?>", &address, &err), -ENOENT);
	assert_int_equal(direct_volume_remove(test_folder, "/a?>", &err), 0);
	assert_false(path_exists(file));
	assert_int_equal(direct_volume_remove(test_folder, "/a?>", &err), 0);
}

static void test_paths_that_have_no_place(void **state _unused_)
{
	static const char text[] = "{\"device\":\"/dev/x\",\"fstype\":\"ext4\"}";
	_cleanup_(error_done) struct error err = {};
	struct direct_volume volume = {};
	char path[191] = "/";

	memset(path + 1, 'a', sizeof(path) - 2);
	assert_int_equal(direct_volume_add(test_folder, path, text, &err), -ENAMETOOLONG);
	assert_int_equal(direct_volume_load(test_folder, path, &volume, &err), -ENOENT);
	path[189] = '\0';
	assert_int_equal(direct_volume_add(test_folder, path, text, &err), 0);
	assert_int_equal(direct_volume_add(test_folder, "a", text, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_text_is_read),
		cmocka_unit_test(test_wrong_texts_are_refused),
		cmocka_unit_test(test_a_volume_is_added_and_removed),
		cmocka_unit_test(test_paths_that_have_no_place),
	};

	return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
