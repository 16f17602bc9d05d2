/* Users and groups by name: a container's /etc/passwd and /etc/group, which may be anything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/accounts.h"
#include "agent/user.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

static const char passwd[] = "# a comment: with:a colon\n"
			     "\n"
			     "root:x:0:0:root:/root:/bin/sh\n"
			     "+::::::\n"
			     ":x:7:7::/:\n"
			     "no:x:many:1:::\n"
			     "far:x:4294967296:1:::\n"
			     "last:x:4294967295:1:::\n"
			     "big:x:4294967294:100:of ten digits:/big:/bin/sh:more\n"
			     "short:x:5:6\n"
			     "twice:x:8:80::/first:\n"
			     "twice:x:9:90::/second:\n"
			     "eight:x:8:81::/third:";

static const char group[] = "root:x:0:\n"
			    "wheel:x:10:root,big\n"
			    "short:x:11\n"
			    "bigger:x:12:bigg,,bi\n"
			    "none:x:none:big\n"
			    "empty::13:big\n"
			    "all:x:4294967294:twice,big,twice\n"
			    "wheel:x:14:twice";

static void expect_user(const char *name, uid_t number, const char *expected)
{
	_cleanup_(account_done) struct account account = {};

	if (!accounts_find_user(passwd, name, number, &account)) {
		assert_null(expected);
		return;
	}
	_cleanup_free_ char *got = xasprintf("%s %u %u %s", account.name, account.uid, account.gid,
					     account.home);
	assert_string_equal(got, expected);
}

static void test_users(void **state _unused_)
{
	expect_user("root", 1, "root 0 0 /root");
	expect_user(NULL, 0, "root 0 0 /root");
	expect_user("big", 0, "big 4294967294 100 /big");
	expect_user("short", 0, "short 5 6 ");
	expect_user("twice", 0, "twice 8 80 /first");
	expect_user(NULL, 8, "twice 8 80 /first");
	expect_user(NULL, 9, "twice 9 90 /second");
	expect_user("eight", 0, "eight 8 81 /third");
	static const char *const nobody[] = { "",    "+",      "no",   "far",        "last",
					      "roo", "root:x", "bigg", "# a comment" };
	for (size_t i = 0; i < ARRAY_SIZE(nobody); i++)
		expect_user(nobody[i], 0, NULL);
	expect_user(NULL, 7, NULL);
	expect_user(NULL, UINT32_MAX, NULL);
}

static void expect_groups(const char *user, size_t expected, const gid_t *gids)
{
	_cleanup_free_ gid_t *groups = NULL;
	size_t count = 0;

	accounts_add_groups(group, user, &groups, &count);
	assert_int_equal(count, expected);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(groups[i], gids[i]);
}

static void test_groups(void **state _unused_)
{
	gid_t gid = 1;

	assert_true(accounts_find_group(group, "wheel", &gid));
	assert_int_equal(gid, 10);
	assert_true(accounts_find_group(group, "short", &gid));
	assert_int_equal(gid, 11);
	assert_true(accounts_find_group(group, "all", &gid));
	assert_int_equal(gid, 4294967294U);
	assert_false(accounts_find_group(group, "none", &gid));
	assert_false(accounts_find_group(group, "whee", &gid));
	assert_false(accounts_find_group(group, "", &gid));
	assert_int_equal(gid, 4294967294U);
	expect_groups("big", 3, (const gid_t[]){ 10, 13, 4294967294U });
	expect_groups("twice", 2, (const gid_t[]){ 4294967294U, 14 });
	expect_groups("bi", 1, (const gid_t[]){ 12 });
	expect_groups("nobody", 0, NULL);
	expect_groups("", 0, NULL);
}

/* ---------------------------------------------------------------- files */

static int setup(void **state)
{
	char folder[] = "/tmp/kiln-accounts-XXXXXX";

	*state = mkdtemp(folder) ? xstrdup(folder) : NULL;
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	int r = path_remove(*state, NULL);

	free(*state);
	return r;
}

static void expect_unread(const char *path, int number, const char *why)
{
	_cleanup_(error_done) struct error err = {};
	char *text = NULL;

	assert_int_equal(accounts_read(path, &text, &err), -number);
	assert_null(text);
	if (!strstr(error_message(&err), why) || !strstr(error_message(&err), path))
		fail_msg("\"%s\" is not about %s, %s", error_message(&err), path, why);
}

static void test_reading(void **state)
{
	_cleanup_free_ char *file = path_join(*state, "file"), *fifo = path_join(*state, "fifo");
	_cleanup_free_ char *link = path_join(*state, "link"), *magic = path_join(*state, "magic");
	_cleanup_free_ char *missing = path_join(*state, "missing"), *text = NULL;

	expect_unread(missing, ENOENT, "No such file");
	expect_unread(*state, EINVAL, "no plain file");
	assert_int_equal(mkfifo(fifo, 0600), 0);
	expect_unread(fifo, EINVAL, "no plain file");
	assert_int_equal(symlink("/proc/self/exe", magic), 0);
	expect_unread(magic, ELOOP, "symbolic links");
	assert_int_equal(file_write_atomic(file, passwd, strlen(passwd), 0600, NULL), 0);
	assert_int_equal(symlink("file", link), 0);
	assert_int_equal(accounts_read(link, &text, NULL), 0);
	assert_string_equal(text, passwd);
	assert_int_equal(truncate(file, ACCOUNTS_MAX + 1), 0);
	expect_unread(file, EFBIG, "more than 1048576 bytes");
}

/* ---------------------------------------------------------------- plans */

static int plan(const char *username, const char *uid, const char *gid, const char *other,
		struct user_plan *ret, struct error *err)
{
	static gid_t gids[] = { 70, 71 };
	char *others[] = { (char *)other };
	Grpc__User user = GRPC__USER__INIT;
	Grpc__StringUser names = GRPC__STRING_USER__INIT;

	user.uid = 20;
	user.gid = 30;
	user.n_additionalgids = ARRAY_SIZE(gids);
	user.additionalgids = gids;
	if (username)
		user.username = (char *)username;
	if (uid)
		names.uid = (char *)uid;
	if (gid)
		names.gid = (char *)gid;
	names.additionalgids = others;
	names.n_additionalgids = other ? 1 : 0;
	int r = user_plan_init(&user, &names, ret, err);
	if (r == 0)
		r = user_plan_complete(ret, err);
	return r;
}

/* Of the files of this host only that they have root and not the others. */
static void test_plans(void **state _unused_)
{
	static const struct {
		const char *username, *uid, *gid, *other;
		uid_t to_uid;
		gid_t to_gid, to_last;
	} rows[] = {
		{ NULL, NULL, NULL, NULL, 20, 30, 71 },
		{ NULL, "", "", NULL, 20, 30, 71 },
		{ NULL, "root", NULL, NULL, 0, 0, 71 },
		{ NULL, "0", NULL, NULL, 0, 0, 71 },
		{ NULL, "4294967294", NULL, NULL, 4294967294U, 30, 71 },
		{ NULL, "4294967294", "4294967293", NULL, 4294967294U, 4294967293U, 71 },
		{ NULL, NULL, "root", "root", 20, 0, 0 },
		{ NULL, NULL, NULL, "5", 20, 30, 5 },
		{ "root", NULL, NULL, NULL, 0, 0, 71 },
		{ "root:40", NULL, NULL, NULL, 0, 40, 71 },
		{ "50:root", NULL, NULL, "60", 50, 0, 60 },
		{ ":40", NULL, NULL, NULL, 20, 40, 71 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_(user_plan_done) struct user_plan got = {};
		_cleanup_(error_done) struct error err = {};
		if (plan(rows[i].username, rows[i].uid, rows[i].gid, rows[i].other, &got, &err) < 0)
			fail_msg("row %zu: %s", i, error_message(&err));
		assert_int_equal(got.uid, rows[i].to_uid);
		assert_int_equal(got.gid, rows[i].to_gid);
		assert_int_equal(got.groups[0], 70);
		assert_int_equal(got.groups[got.ngroups - 1], rows[i].to_last);
	}
}

static void test_plans_refused(void **state _unused_)
{
	static const struct {
		const char *username, *uid, *gid, *other, *why;
	} rows[] = {
		{ NULL, "no-such", NULL, NULL,
		  "no user \"no-such\" is in the container's /etc/passwd" },
		{ "no-such:0", NULL, NULL, NULL, "no user \"no-such\"" },
		{ NULL, "-1", NULL, NULL, "no user \"-1\"" },
		{ NULL, "0", "no-such", NULL,
		  "no group \"no-such\" is in the container's /etc/group" },
		{ "0:no-such", NULL, NULL, NULL, "no group \"no-such\"" },
		{ NULL, NULL, NULL, "no-such", "no group \"no-such\"" },
		{ NULL, NULL, NULL, "", "has no name" },
		{ NULL, "4294967295", NULL, NULL, "has the number 4294967295" },
		{ NULL, NULL, "99999999999999999999999", NULL, "has the number 9999" },
		{ NULL, NULL, NULL, "4294967296", "has the number 4294967296" },
		{ "root", "root", NULL, NULL, "process.user.username and string_user both" },
		{ "root", NULL, "root", NULL, "process.user.username and string_user both" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		_cleanup_(user_plan_done) struct user_plan got = {};
		_cleanup_(error_done) struct error err = {};
		int r = plan(rows[i].username, rows[i].uid, rows[i].gid, rows[i].other, &got, &err);
		if (r != -EINVAL || !strstr(error_message(&err), rows[i].why))
			fail_msg("row %zu: %d, \"%s\" is not about: %s", i, r, error_message(&err),
				 rows[i].why);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_users),
		cmocka_unit_test(test_groups),
		cmocka_unit_test_setup_teardown(test_reading, setup, teardown),
		cmocka_unit_test(test_plans),
		cmocka_unit_test(test_plans_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
