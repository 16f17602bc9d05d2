/* The command line, the settings, and what is left in a bundle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "proto/runtimeoptions.pb-c.h"
#include "shim/arguments.h"
#include "shim/bundle.h"
#include "shim/settings.h"
#include "tests/unit/folder.h"
#include "tests/unit/older.h"

static void containerd_s_command_line_is_understood(void **state _unused_)
{
	char *argv[] = { (char *)"shim",
			 (char *)"-namespace",
			 (char *)"k8s.io",
			 (char *)"--address=/c.sock",
			 (char *)"-publish-binary",
			 (char *)"/bin/containerd",
			 (char *)"-id",
			 (char *)"c1",
			 (char *)"-debug",
			 (char *)"start" };
	_cleanup_(error_done) struct error err = {};
	struct arguments arguments;

	assert_int_equal(arguments_parse(ARRAY_SIZE(argv), argv, &arguments, &err), 0);
	assert_string_equal(arguments.ns, "k8s.io");
	assert_string_equal(arguments.address, "/c.sock");
	assert_string_equal(arguments.id, "c1");
	assert_string_equal(arguments.bundle, "");
	assert_true(arguments.debug);
	assert_false(arguments.version);
	assert_string_equal(arguments.action, "start");
}

static void wrong_command_lines_are_refused(void **state _unused_)
{
	char *unknown[] = { (char *)"shim", (char *)"-nope" };
	char *missing[] = { (char *)"shim", (char *)"-id" };
	char *two[] = { (char *)"shim", (char *)"start", (char *)"delete" };
	_cleanup_(error_done) struct error err = {};
	struct arguments arguments;

	assert_int_equal(arguments_parse(2, unknown, &arguments, &err), -EINVAL);
	assert_non_null(strstr(error_message(&err), "-nope"));
	assert_int_equal(arguments_parse(2, missing, &arguments, &err), -EINVAL);
	assert_int_equal(arguments_parse(3, two, &arguments, &err), -EINVAL);
}

static void load_file(const char *text, struct settings *settings, int expected, struct error *err)
{
	_cleanup_free_ char *path = path_join(test_folder, "options.json");
	Runtimeoptions__V1__Options options = RUNTIMEOPTIONS__V1__OPTIONS__INIT;
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	uint8_t data[256];

	assert_int_equal(file_write_atomic(path, text, strlen(text), 0600, NULL), 0);
	options.config_path = path;
	any.type_url = (char *)"runtimeoptions.v1.Options";
	any.value.data = data;
	any.value.len = runtimeoptions__v1__options__pack(&options, data);
	assert_int_equal(settings_load(&any, settings, err), expected);
}

static void first_that_says_it_wins(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};
	struct settings settings = {};

	unsetenv("KILN_FACTORY");
	assert_int_equal(settings_load(NULL, &settings, &err), 0);
	assert_string_equal(settings.factory, "unix:///run/kiln/factory.sock");
	assert_string_equal(settings.template_name, "");
	settings_done(&settings);

	setenv("KILN_FACTORY", "unix:///env.sock", 1);
	assert_int_equal(settings_load(NULL, &settings, &err), 0);
	assert_string_equal(settings.factory, "unix:///env.sock");
	settings_done(&settings);

	load_file("{\"factory\":\"unix:///file.sock\",\"template\":\"t\"}", &settings, 0, &err);
	assert_string_equal(settings.factory, "unix:///file.sock");
	assert_string_equal(settings.template_name, "t");
	settings_done(&settings);
	unsetenv("KILN_FACTORY");

	load_file("{\"factroy\":\"x\"}", &settings, -EINVAL, &err);
	assert_non_null(strstr(error_message(&err), "factroy"));
}

static void machine_file_comes_back_as_written(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};
	struct bundle_machine machine = { (char *)"/run/kiln", (char *)"vm1", 12, 34, 56789 };
	struct bundle_machine got;

	assert_int_equal(bundle_read_machine(test_folder, &got, &err), -ENOENT);
	assert_int_equal(bundle_write_machine(test_folder, &machine, &err), 0);
	assert_int_equal(bundle_read_machine(test_folder, &got, &err), 0);
	assert_string_equal(got.run_dir, "/run/kiln");
	assert_string_equal(got.vm_id, "vm1");
	assert_int_equal(got.vmm_pid, 12);
	assert_int_equal(got.shim_pid, 34);
	assert_int_equal(got.shim_start_time, 56789);
	bundle_machine_done(&got);
	bundle_remove_machine(test_folder);
	assert_int_equal(bundle_read_machine(test_folder, &got, &err), -ENOENT);
}

static void machine_file_of_an_older_shim(void **state _unused_)
{
	_cleanup_free_ char *path = path_join(test_folder, BUNDLE_MACHINE);
	_cleanup_free_ char *older = older_read("bundle.json");
	_cleanup_free_ char *again = NULL;
	struct bundle_machine got;

	assert_int_equal(file_write_atomic(path, older, strlen(older), 0600, NULL), 0);
	assert_int_equal(bundle_read_machine(test_folder, &got, NULL), 0);
	assert_int_equal(got.shim_pid, 8855);
	assert_int_equal(bundle_write_machine(test_folder, &got, NULL), 0);
	assert_int_equal(file_read(path, 4096, &again, NULL, NULL), 0);
	assert_string_equal(again, older);
	bundle_machine_done(&got);
}

/* What a shim of a later version may leave to an earlier `delete`. */
static void machine_file_of_a_later_version(void **state _unused_)
{
	static const char later[] =
		"{\"version\":1,\"run_dir\":\"/run\",\"vm_id\":\"v\",\"vmm_pid\":7,"
		"\"shim_pid\":8,\"shim_start_time\":9,\"more\":[]}";
	static const char other[] =
		"{\"version\":2,\"run_dir\":\"/run\",\"vm_id\":\"v\",\"vmm_pid\":7,"
		"\"shim_pid\":8,\"shim_start_time\":9}";
	_cleanup_free_ char *path = path_join(test_folder, BUNDLE_MACHINE);
	_cleanup_(error_done) struct error err = {};
	struct bundle_machine got;

	assert_int_equal(file_write_atomic(path, later, strlen(later), 0600, NULL), 0);
	assert_int_equal(bundle_read_machine(test_folder, &got, NULL), 0);
	assert_int_equal(got.vmm_pid, 7);
	bundle_machine_done(&got);
	assert_int_equal(file_write_atomic(path, other, strlen(other), 0600, NULL), 0);
	assert_int_equal(bundle_read_machine(test_folder, &got, &err), -EPROTONOSUPPORT);
	assert_non_null(strstr(error_message(&err), "of a later Kiln"));
}

static void edited_machine_file_is_refused(void **state _unused_)
{
	static const char *const texts[] = {
		"",
		"{}",
		"[1]",
		"{\"run_dir\":\"run\",\"vm_id\":\"v\",\"vmm_pid\":1,\"shim_pid\":1,"
		"\"shim_start_time\":1}",
		"{\"run_dir\":\"/run\",\"vm_id\":\"../v\",\"vmm_pid\":1,\"shim_pid\":1,"
		"\"shim_start_time\":1}",
		"{\"run_dir\":\"/run\",\"vm_id\":\"v\",\"vmm_pid\":1,\"shim_pid\":0,"
		"\"shim_start_time\":1}",
	};
	_cleanup_free_ char *path = path_join(test_folder, BUNDLE_MACHINE);

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		_cleanup_(error_done) struct error err = {};
		struct bundle_machine got;
		assert_int_equal(file_write_atomic(path, texts[i], strlen(texts[i]), 0600, NULL),
				 0);
		assert_int_equal(bundle_read_machine(test_folder, &got, &err), -EINVAL);
		assert_non_null(strstr(error_message(&err), path));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(containerd_s_command_line_is_understood),
		cmocka_unit_test(wrong_command_lines_are_refused),
		cmocka_unit_test(first_that_says_it_wins),
		cmocka_unit_test(machine_file_comes_back_as_written),
		cmocka_unit_test(machine_file_of_an_older_shim),
		cmocka_unit_test(machine_file_of_a_later_version),
		cmocka_unit_test(edited_machine_file_is_refused),
	};

	return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
