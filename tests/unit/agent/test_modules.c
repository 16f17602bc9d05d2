#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "agent/modules.h"
#include "base/memory.h"
#include "base/strings.h"

/* As templates/build-image writes it. */
static const char table[] = "libcrc32c libcrc32c.ko\n"
			    "udp_tunnel udp_tunnel.ko\n"
			    "sctp udp_tunnel.ko sctp.ko\n"
			    "net_pf_10_proto_132 udp_tunnel.ko sctp.ko\n"
			    "net_pf_2_proto_132 udp_tunnel.ko sctp.ko\n"
			    "loop loop.ko\n"
			    "char_major_10_237 loop.ko\n"
			    "block_major_7_* loop.ko\n"
			    "8021q garp.ko mrp.ko 8021q.ko\n"
			    "ipt_MARK xt_mark.ko\n"
			    "ip_set_hash:ip,port ip_set_hash_ipport.ko\n"
			    "rtnl_link_dummy dummy.ko:numdummies=0\n"
			    "two first.ko:a=1,2:3 last.ko:\n"
			    "tw? second.ko\n";

struct found {
	char text[256];
	const char *fails; /* NULL: none */
};

static int on_file(const char *file, const char *options, void *userdata)
{
	struct found *found = userdata;
	size_t len = strlen(found->text);

	snprintf(found->text + len, sizeof(found->text) - len, "%s%s%s%s", len > 0 ? " " : "", file,
		 *options ? "(" : "", options);
	return str_equal(file, found->fails) ? -EBADMSG : 0;
}

static void assert_found(const char *alias, const char *files)
{
	struct found found = {};
	int count = *files != '\0';

	for (const char *p = files; *p; p++)
		count += *p == ' ';
	assert_int_equal(modules_find(table, alias, on_file, &found), count);
	assert_string_equal(found.text, files);
}

static void test_files_come_in_the_order_of_loading(void **state _unused_)
{
	assert_found("8021q", "garp.ko mrp.ko 8021q.ko");
	assert_found("loop", "loop.ko");
	assert_found("ip_set_hash:ip,port", "ip_set_hash_ipport.ko");
	assert_found("rtnl-link-dummy", "dummy.ko(numdummies=0");
}

static void test_dash_is_underscore(void **state _unused_)
{
	assert_found("net-pf-2-proto-132", "udp_tunnel.ko sctp.ko");
	assert_found("net_pf-2_proto-132", "udp_tunnel.ko sctp.ko");
	assert_found("char-major-10-237", "loop.ko");
}

static void test_patterns(void **state _unused_)
{
	assert_found("block-major-7-0", "loop.ko");
	assert_found("block-major-7-*", "loop.ko");
	assert_found("block-major-70-0", "");
	assert_found("two", "first.ko(a=1,2:3 last.ko second.ko");
}

/* A container decides what they are. */
static void test_other_names_find_nothing(void **state _unused_)
{
	static const char *const names[] = {
		"",      "*",        "?",        "[a-z]*",   "\\*",     "sct",
		"sctp ", "sctp.ko",  "SCTP",     "loop\n",   " loop",   "loop loop.ko",
		"/loop", "../loop",  "ipt_mark", "\xff\xfe", "loop.ko", "loop\nloop loop.ko",
		"%s%n",  "sctp sctp"
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_found(names[i], "");
}

static void test_the_length_of_names(void **state _unused_)
{
	static const char begin[] = "block-major-7-";
	char name[MODULE_ALIAS_MAX + 2] = {};

	memset(name, 'x', MODULE_ALIAS_MAX);
	memcpy(name, begin, strlen(begin));
	assert_found(name, "loop.ko");
	name[MODULE_ALIAS_MAX] = 'x';
	assert_found(name, "");
}

/* What another image may bring. */
static void test_lines_that_are_none(void **state _unused_)
{
	struct found found = {};

	assert_int_equal(modules_find("", "loop", on_file, &found), 0);
	assert_int_equal(modules_find("loop", "loop", on_file, &found), 0);
	assert_int_equal(modules_find("\n\n loop.ko\nloop \n", "loop", on_file, &found), 0);
	assert_int_equal(modules_find("[ x.ko\nloop loop.ko", "loop", on_file, &found), 1);
	assert_string_equal(found.text, "loop.ko");
}

static void test_a_file_that_fails_is_the_last(void **state _unused_)
{
	struct found found = { .fails = "mrp.ko" };

	assert_int_equal(modules_find(table, "8021q", on_file, &found), -EBADMSG);
	assert_string_equal(found.text, "garp.ko mrp.ko");
}

static void test_the_name_of_the_program(void **state _unused_)
{
	assert_true(modules_is_program("/sbin/modprobe"));
	assert_true(modules_is_program("modprobe"));
	assert_false(modules_is_program("/sbin/kiln-agent"));
	assert_false(modules_is_program("/sbin/modprobe/agent"));
	assert_false(modules_is_program("/sbin/"));
	assert_false(modules_is_program(NULL));
}

/* Nothing but what the kernel says is taken; here there is no table besides. */
static void test_the_arguments_of_the_program(void **state _unused_)
{
	const char *as_the_kernel[] = { "/sbin/modprobe", "-q", "--", "loop", NULL };
	const char *without[] = { "/sbin/modprobe", "loop", NULL };
	const char *other[] = { "/sbin/modprobe", "-r", "--", "loop", NULL };

	assert_int_equal(modules_program(4, as_the_kernel), 1);
	assert_int_equal(modules_program(2, without), 2);
	assert_int_equal(modules_program(4, other), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files_come_in_the_order_of_loading),
		cmocka_unit_test(test_dash_is_underscore),
		cmocka_unit_test(test_patterns),
		cmocka_unit_test(test_other_names_find_nothing),
		cmocka_unit_test(test_the_length_of_names),
		cmocka_unit_test(test_lines_that_are_none),
		cmocka_unit_test(test_a_file_that_fails_is_the_last),
		cmocka_unit_test(test_the_name_of_the_program),
		cmocka_unit_test(test_the_arguments_of_the_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
