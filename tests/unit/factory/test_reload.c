/* What a changed configuration changes, and the form of the audit lines. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* After what it needs. */
#include <cmocka.h>

#include <fcntl.h>

#include "base/audit.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "factory/core/reload.h"

static void load(const char *text, struct factory_config *ret_config)
{
	char path[] = "/tmp/kiln-reload.XXXXXX";
	_cleanup_(error_done) struct error err = {};
	_cleanup_close_ int fd = mkostemp(path, O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, text, strlen(text)), 0);
	if (factory_config_load(path, ret_config, &err) < 0)
		fail_msg("%s", error_message(&err));
	unlink(path);
}

static void test_live_keys_change_and_others_wait(void **state _unused_)
{
	_cleanup_(factory_config_done) struct factory_config config = {};
	_cleanup_(factory_config_done) struct factory_config fresh = {};
	_cleanup_(reload_report_done) struct reload_report report = {};

	load("{\"run_dir\": \"/a\", \"max_vms\": 5, \"allow_uids\": \"7\"}", &config);
	load("{\"run_dir\": \"/b\", \"max_vms\": 6, \"log_level\": \"debug\","
	     " \"allow_groups\": \"8\", \"init_on_start\": false}",
	     &fresh);
	reload_merge(&config, &fresh, &report);
	_cleanup_free_ char *changed = strv_join(&report.changed, " ");

	assert_int_equal(config.max_vms, 6);
	assert_int_equal(config.log_level, LOG_LEVEL_DEBUG);
	assert_null(config.allow_uids);
	assert_string_equal(config.allow_groups, "8");
	assert_string_equal(changed, "log_level max_vms allow_uids allow_groups");
	assert_string_equal(config.run_dir, "/a");
	assert_string_equal(config.socket, "/a/factory.sock");
	assert_true(config.init_on_start);
	/* What follows from a key waits with it. */
	assert_true(strv_contains(&report.waiting, "run_dir"));
	assert_true(strv_contains(&report.waiting, "socket"));
	assert_true(strv_contains(&report.waiting, "init_on_start"));
	assert_false(strv_contains(&report.waiting, "max_vms"));
}

static void test_nothing_changed(void **state _unused_)
{
	_cleanup_(factory_config_done) struct factory_config config = {};
	_cleanup_(factory_config_done) struct factory_config fresh = {};
	_cleanup_(reload_report_done) struct reload_report report = {};

	load("{}", &config);
	load("{\"clones_at_once\": 2}", &fresh);
	reload_merge(&config, &fresh, &report);
	assert_int_equal(report.changed.count, 0);
	assert_int_equal(report.waiting.count, 0);
}

/* ---------------------------------------------------------------- audit */

static void expect_line(int fd, const char *wanted)
{
	char text[4096] = "";

	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	if (!strstr(text, wanted))
		fail_msg("no \"%s\" in: %s", wanted, text);
}

static void test_audit_lines(void **state _unused_)
{
	struct audit_lease lease = {
		.claimer = { .pid = 12, .uid = 34 },
		.releaser = AUDIT_NOBODY,
		.since_ns = clock_monotonic_ns(),
	};
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	log_init("test", fds[1], LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	audit_claim("sb1", "vm1", &lease, "cloned", "the pool was \"empty\\", 1500);
	expect_line(fds[0], "audit claim sandbox=sb1 vm=vm1 uid=34 pid=12 origin=cloned "
			    "reason=\"the pool was \\\"empty\\\\\" took_us=1500\n");
	audit_release("sb1", "vm1", &lease, "a\nb");
	expect_line(fds[0], "audit release sandbox=sb1 vm=vm1 uid=34 pid=12 by_uid=-1 by_pid=-1 "
			    "reason=\"a\\nb\" held_ms=");
	audit_order("warm", "a\" by_uid=0\n\x1b[2K\xe2\x80\xae", 3, &lease.claimer);
	expect_line(fds[0],
		    "audit warm template=\"a\\\" by_uid=0\\n\\x1b[2K\\xe2\\x80\\xae\" count=3 "
		    "by_uid=34 by_pid=12\n");
	audit_renew("sb1", "vm1", &lease, &AUDIT_NOBODY);
	expect_line(fds[0], "audit renew sandbox=sb1 vm=vm1 uid=34 pid=12 by_uid=-1 by_pid=-1\n");
	audit_policy("sb1", &lease.claimer);
	expect_line(fds[0], "audit policy sandbox=sb1 by_uid=34 by_pid=12\n");
	audit_refuse(&lease.claimer, "full", 2);
	expect_line(fds[0], "audit refuse uid=34 gid=0 pid=12 reason=\"full\" more=2\n");
	audit_reload("nothing changed");
	expect_line(fds[0], "audit reload reason=\"nothing changed\"\n");
	audit_clone("sb1", "vm1", "t1", "no \"factory\"");
	expect_line(fds[0], " template=t1 reason=\"no \\\"factory\\\"\"\n");
	log_init("test", STDERR_FILENO, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_live_keys_change_and_others_wait),
		cmocka_unit_test(test_nothing_changed),
		cmocka_unit_test(test_audit_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
