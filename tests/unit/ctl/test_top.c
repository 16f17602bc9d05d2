/* What kiln-ctl top makes of two looks, and the command lines of what it stands beside. */
#include "tests/unit/ctl/harness.h"

#include "ctl/top_show.h"
#include "tests/unit/folder.h"

static char *shown(const struct top_look *before, const struct top_look *now)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	top_print(before, now, out);
	fclose(out);
	return text;
}

static void test_the_busiest_is_first(void **state _unused_)
{
	Kiln__Shim__V1__SandboxInfo info = KILN__SHIM__V1__SANDBOX_INFO__INIT;
	Kiln__Shim__V1__Machine machine = KILN__SHIM__V1__MACHINE__INIT;
	struct sandbox old[] = {
		{ .socket = (char *)"/s/idle", .id = (char *)"idle", .info = &info, .shim_pid = 1 },
		{ .socket = (char *)"/s/busy", .id = (char *)"busy", .info = &info, .shim_pid = 2 },
		{ .socket = (char *)"/s/again",
		  .id = (char *)"again",
		  .info = &info,
		  .shim_pid = 3 },
	};
	struct sandbox new[] = {
		{ .socket = (char *)"/s/again",
		  .id = (char *)"again",
		  .info = &info,
		  .shim_pid = 4 },
		{ .socket = (char *)"/s/idle", .id = (char *)"idle", .info = &info, .shim_pid = 1 },
		{ .socket = (char *)"/s/busy", .id = (char *)"busy", .info = &info, .shim_pid = 2 },
	};
	struct process_usage old_vmms[] = { { .cpu_s = 5 }, { .cpu_s = 1 }, { .cpu_s = 9 } };
	struct process_usage new_vmms[] = {
		{ .cpu_s = 10 },
		{ .cpu_s = 5, .anonymous = 3 << 20, .file = 1 << 20, .shared = 1 << 20 },
		{ .cpu_s = 4 },
	};
	struct process_usage old_shims[3] = {}, new_shims[3] = { {}, { .anonymous = 1 << 20 }, {} };
	const struct top_look before = { 1000000000, { old, 3 }, old_vmms, old_shims };
	const struct top_look now = { 3000000000, { new, 3 }, new_vmms, new_shims };

	info.state = (char *)"running";
	info.machine = &machine;
	machine.memory_mib = 256;
	_cleanup_free_ char *text = shown(&before, &now);
	const char *busy = strstr(text, "busy     -          -    150.0  ");
	const char *idle = strstr(text,
				  "idle     -          -    0.0    4.0 MiB  2.0 MiB  256 MiB  0 ");
	const char *again = strstr(text, "again    -          -    -      ");
	if (!busy || !idle || !again)
		fail_msg("%s", text);
	assert_true(busy < idle && idle < again);
}

static void test_words(void **state _unused_)
{
	static const struct {
		const struct ctl_command *command;
		const char *words[4];
		int code;
		const char *says;
	} rows[] = {
		{ &ctl_top, { "now" }, CTL_USAGE, "one word too many" },
		{ &ctl_top, { "--interval", "0" }, CTL_USAGE, "no number of seconds" },
		{ &ctl_logs, {}, CTL_USAGE, "which sandbox?" },
		{ &ctl_policy, {}, CTL_USAGE, "set?" },
		{ &ctl_policy, { "get" }, CTL_USAGE, "set?" },
		{ &ctl_policy, { "set", "a" }, CTL_USAGE, "a sandbox and a file" },
		{ &ctl_policy, { "set", "a", "b", "c" }, CTL_USAGE, "one word too many" },
		{ &ctl_policy, { "set", "a", "/nonexistent" }, CTL_FAILED, "/nonexistent" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct outcome outcome = RUN(rows[i].command, rows[i].words[0], rows[i].words[1],
					     rows[i].words[2], rows[i].words[3]);
		assert_int_equal(outcome.code, rows[i].code);
		assert_contains(outcome.err, rows[i].says);
		outcome_done(&outcome);
	}
}

static void test_a_policy_is_text(void **state _unused_)
{
	_cleanup_free_ char *path = path_join(test_folder, "policy");

	assert_int_equal(file_write_volatile(path, "a\0b", 3, 0600, NULL), 0);
	struct outcome outcome = RUN(&ctl_policy, "set", "--sandbox-id", "a", path);
	assert_int_equal(outcome.code, CTL_FAILED);
	assert_contains(outcome.err, "is no text");
	outcome_done(&outcome);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_busiest_is_first),
		cmocka_unit_test(test_words),
		cmocka_unit_test_setup_teardown(test_a_policy_is_text, folder_setup,
						folder_teardown),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
