/* The journal: what is written is read back, what is odd is refused or set aside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "factory/vm/journal.h"
#include "tests/unit/folder.h"
#include "tests/unit/older.h"

#define GOOD                                                                                       \
	"{\"version\":1,\"id\":\"a\",\"template_id\":\"t\",\"template_name\":\"default\","         \
	"\"state\":\"parked\",\"confirmed\":false,\"pid\":77,\"start_time\":5,\"spawned_at\":6,"   \
	"\"next_stream\":0"

static struct journal_entry sample(const char *id)
{
	return (struct journal_entry){
		.id = (char *)id,
		.template_id = (char *)"0123abcd",
		.template_name = (char *)"default",
		.state = VM_PARKED,
		.pid = 4711,
		.start_time = 123456789,
		.spawned_at = 1700000000,
		.next_stream = 0,
	};
}

static void put(const char *run_dir, const char *name, const char *text)
{
	_cleanup_free_ char *dir = path_join(run_dir, "vms");
	_cleanup_free_ char *path = path_join(dir, name);
	assert_int_equal(dir_make(dir, 0700, NULL), 0);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, text, strlen(text)), 0);
}

static bool has(const char *run_dir, const char *name)
{
	_cleanup_free_ char *path = xasprintf("%s/vms/%s", run_dir, name);
	return path_exists(path);
}

static void test_round_trip(void **state)
{
	const char *run_dir = *state;
	_cleanup_(error_done) struct error err = {};
	_cleanup_(journal_entry_done) struct journal_entry got = {};
	struct journal_entry entry = sample("5f3c");
	entry.state = VM_CLAIMED;
	entry.sandbox_id = (char *)"pod-1";
	entry.confirmed = true;
	entry.next_stream = 4294967295u;
	entry.claimer_pid = 815;
	entry.claimer_start = 99;
	entry.uid = 4000000000u;
	entry.cgroup = (char *)"kiln/5f3c";
	entry.guest_cid = 4294967294u;

	assert_int_equal(journal_write(run_dir, &entry, &err), 0);
	assert_int_equal(journal_read(run_dir, "5f3c", &got, &err), 0);
	assert_string_equal(got.id, "5f3c");
	assert_string_equal(got.template_id, "0123abcd");
	assert_string_equal(got.template_name, "default");
	assert_string_equal(got.sandbox_id, "pod-1");
	assert_int_equal(got.state, VM_CLAIMED);
	assert_true(got.confirmed);
	assert_int_equal(got.pid, 4711);
	assert_int_equal(got.start_time, 123456789);
	assert_int_equal(got.spawned_at, 1700000000);
	assert_int_equal(got.next_stream, 4294967295u);
	assert_int_equal(got.claimer_pid, 815);
	assert_int_equal(got.claimer_start, 99);
	assert_int_equal(got.uid, 4000000000u);
	assert_string_equal(got.cgroup, "kiln/5f3c");
	assert_int_equal(got.guest_cid, 4294967294u);
	assert_false(has(run_dir, "5f3c.json.tmp"));
}

static void test_rewrite_and_remove(void **state)
{
	const char *run_dir = *state;
	_cleanup_(journal_entry_done) struct journal_entry got = {};
	struct journal_entry entry = sample("x");
	assert_int_equal(journal_write(run_dir, &entry, NULL), 0);
	entry.state = VM_WARMING;
	assert_int_equal(journal_write(run_dir, &entry, NULL), 0);
	assert_int_equal(journal_read(run_dir, "x", &got, NULL), 0);
	assert_int_equal(got.state, VM_WARMING);
	assert_null(got.sandbox_id);

	put(run_dir, "x.json.tmp", "of a factory that was killed");
	assert_int_equal(journal_remove(run_dir, "x", NULL), 0);
	assert_false(has(run_dir, "x.json.tmp"));
	assert_int_equal(journal_remove(run_dir, "x", NULL), 0);
	journal_entry_done(&got);
	assert_int_equal(journal_read(run_dir, "x", &got, NULL), -ENOENT);
}

static void test_names_are_checked(void **state)
{
	_cleanup_(journal_entry_done) struct journal_entry got = {};
	struct journal_entry entry = sample("../x");
	assert_int_equal(journal_write(*state, &entry, NULL), -EINVAL);
	assert_int_equal(journal_read(*state, "../x", &got, NULL), -EINVAL);
	assert_int_equal(journal_read(*state, "", &got, NULL), -EINVAL);
	assert_int_equal(journal_remove(*state, "a/b", NULL), -EINVAL);
}

static int parse(const char *text)
{
	_cleanup_(journal_entry_done) struct journal_entry got = {};
	_cleanup_(error_done) struct error err = {};
	int r = journal_parse(text, strlen(text), &got, &err);
	if (r < 0) {
		assert_int_equal(r, -EBADMSG);
		assert_null(got.id);
		assert_true(strlen(error_message(&err)) > 0);
	}
	return r;
}

static void test_hostile_entries(void **state _unused_)
{
	static const char *const bad[] = {
		"",
		"[]",
		"{}",
		"null",
		GOOD,                      /* truncated */
		GOOD ",\"id\":\"b\"}",     /* twice */
		GOOD ",\"sandbox_id\":1}", /* type */
		GOOD ",\"claimer_pid\":1,\"claimer_start\":2}",
		GOOD ",\"claimer_pid\":-5,\"claimer_start\":2}",
		GOOD ",\"claimer_pid\":5,\"claimer_start\":-2}",
		GOOD ",\"sandbox_id\":\"../../etc\"}",
		GOOD ",\"uid\":-1}",
		GOOD ",\"uid\":4294967296}",
		GOOD ",\"cgroup\":\"a\"}",
		GOOD ",\"cgroup\":\"kiln/b\"}",
		GOOD ",\"cgroup\":\"../etc/a\"}",
		"{\"version\":\"1\",\"id\":\"a\",\"template_id\":\"t\",\"template_name\":\"d\","
		"\"state\":\"parked\",\"confirmed\":false,\"pid\":77,\"start_time\":5,"
		"\"spawned_at\":6,\"next_stream\":0}",
	};
	assert_int_equal(parse(GOOD "}"), 0);
	assert_int_equal(parse(GOOD ",\"claimer_pid\":5,\"claimer_start\":2}"), 0);
	assert_int_equal(parse(GOOD ",\"sandbox_id\":\"pod\"}"), 0);
	assert_int_equal(parse(GOOD ",\"uid\":65536,\"cgroup\":\"kiln/vms/a\"}"), 0);
	assert_int_equal(parse(GOOD ",\"of_a_later_version\":[1]}"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (parse(bad[i]) == 0)
			fail_msg("accepted: %s", bad[i]);
}

static void test_hostile_values(void **state _unused_)
{
	static const struct {
		const char *pid, *start, *stream, *vm_state, *id;
	} bad[] = {
		{ "1", "1", "1", "parked", "a" },
		{ "-1", "1", "1", "parked", "a" },
		{ "4294967297", "1", "1", "parked", "a" },
		{ "2.5", "1", "1", "parked", "a" },
		{ "2", "-1", "1", "parked", "a" },
		{ "2", "1", "4294967296", "parked", "a" },
		{ "2", "1", "-1", "parked", "a" },
		{ "2", "1", "1", "perked", "a" },
		{ "2", "1", "1", "", "a" },
		{ "2", "1", "1", "parked", "a/b" },
		{ "2", "1", "1", "parked", ".." },
		{ "2", "1", "1", "parked", "" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_free_ char *text = xasprintf(
			"{\"version\":1,\"id\":\"%s\",\"template_id\":\"t\",\"template_name\":"
			"\"d\","
			"\"state\":\"%s\",\"confirmed\":true,\"pid\":%s,\"start_time\":%s,"
			"\"spawned_at\":6,\"next_stream\":%s}",
			bad[i].id, bad[i].vm_state, bad[i].pid, bad[i].start, bad[i].stream);
		if (parse(text) == 0)
			fail_msg("accepted: %s", text);
	}
}

static void count(const struct journal_entry *entry, void *userdata)
{
	struct strbuf *seen = userdata;
	strbuf_addf(seen, "%s ", entry->id);
}

static void test_scan_sets_bad_ones_aside(void **state)
{
	const char *run_dir = *state;
	_cleanup_(strbuf_done) struct strbuf seen = {};
	struct journal_entry entry = sample("good");
	assert_int_equal(journal_write(run_dir, &entry, NULL), 0);
	put(run_dir, "bad.json", "{ \"version\"");
	put(run_dir, "other.json", GOOD "}"); /* says that it is "a" */
	put(run_dir, "left.json.tmp", "half");
	put(run_dir, "good.json.tmp", "");
	put(run_dir, "note.txt", "hello");

	assert_int_equal(journal_scan(run_dir, count, &seen, NULL), 0);
	assert_string_equal(strbuf_text(&seen), "good ");
	assert_false(has(run_dir, "bad.json"));
	assert_true(has(run_dir, "bad.json.bad"));
	assert_true(has(run_dir, "other.json.bad"));
	assert_true(has(run_dir, "note.txt"));
	assert_true(has(run_dir, "good.json"));
	assert_false(has(run_dir, "left.json.tmp"));
	assert_false(has(run_dir, "good.json.tmp"));
}

/* Of another version nothing but that is looked at; it is not for us to put away. */
static void test_scan_leaves_other_versions(void **state)
{
	static const char *const others[] = { "{\"version\":2}", "{\"version\":0,\"id\":\"a\"}" };
	const char *run_dir = *state;

	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		_cleanup_(strbuf_done) struct strbuf seen = {};
		_cleanup_(error_done) struct error err = {};
		struct journal_entry entry = {};
		put(run_dir, "a.json", others[i]);
		assert_int_equal(journal_scan(run_dir, count, &seen, NULL), 0);
		assert_string_equal(strbuf_text(&seen), "");
		assert_true(has(run_dir, "a.json"));
		assert_false(has(run_dir, "a.json.bad"));
		assert_int_equal(journal_read(run_dir, "a", &entry, &err), -EPROTONOSUPPORT);
		assert_non_null(strstr(error_message(&err),
				       i == 0 ? "of a later Kiln" : "of an earlier Kiln"));
	}
}

/* An earlier factory took it for garbage, and its machine is still there. */
static void test_scan_takes_back_what_it_can_read(void **state)
{
	const char *run_dir = *state;
	_cleanup_(strbuf_done) struct strbuf seen = {};

	put(run_dir, "a.json.bad", GOOD ",\"of_a_later_version\":1}");
	put(run_dir, "b.json.bad", GOOD "}"); /* says that it is "a" */
	put(run_dir, "c.json.bad", "{");
	assert_int_equal(journal_scan(run_dir, count, &seen, NULL), 0);
	assert_string_equal(strbuf_text(&seen), "a ");
	assert_true(has(run_dir, "a.json"));
	assert_false(has(run_dir, "a.json.bad"));
	assert_true(has(run_dir, "b.json.bad"));
	assert_true(has(run_dir, "c.json.bad"));
	/* One that was written since is the better one. */
	put(run_dir, "a.json.bad", GOOD "}");
	assert_int_equal(journal_scan(run_dir, count, &seen, NULL), 0);
	assert_string_equal(strbuf_text(&seen), "a a ");
	assert_true(has(run_dir, "a.json.bad"));
}

static void test_of_an_older_kiln(void **state)
{
	_cleanup_free_ char *claimed = older_read("journal-claimed.json");
	_cleanup_free_ char *parked = older_read("journal-parked.json");
	_cleanup_(journal_entry_done) struct journal_entry one = {}, other = {};
	_cleanup_free_ char *text = NULL, *path = NULL;

	assert_int_equal(journal_parse(claimed, strlen(claimed), &one, NULL), 0);
	assert_string_equal(one.sandbox_id, "pod-1");
	assert_int_equal(one.state, VM_CLAIMED);
	assert_true(one.confirmed);
	assert_int_equal(one.pid, 8822);
	assert_int_equal(one.claimer_pid, 8855);
	assert_int_equal(one.uid, 2129788928);
	assert_string_equal(one.cgroup, "kiln/21c1f22b3e616d1e852167d7dc12415b");
	assert_int_equal(journal_parse(parked, strlen(parked), &other, NULL), 0);
	assert_int_equal(other.state, VM_PARKED);
	assert_null(other.sandbox_id);

	/* Its readers take nothing but what they wrote. */
	assert_int_equal(journal_write(*state, &one, NULL), 0);
	path = xasprintf("%s/vms/%s.json", (char *)*state, one.id);
	assert_int_equal(file_read(path, 1 << 20, &text, NULL, NULL), 0);
	assert_string_equal(text, claimed);
}

struct removal {
	const char *run_dir;
	unsigned calls;
};

static void remove_it(const struct journal_entry *entry, void *userdata)
{
	struct removal *removal = userdata;
	removal->calls++;
	assert_int_equal(journal_remove(removal->run_dir, entry->id, NULL), 0);
}

static void test_scan_while_entries_go(void **state)
{
	struct removal removal = { .run_dir = *state };
	for (int i = 0; i < 20; i++) {
		_cleanup_free_ char *id = xasprintf("vm%d", i);
		struct journal_entry entry = sample(id);
		assert_int_equal(journal_write(*state, &entry, NULL), 0);
	}
	assert_int_equal(journal_scan(*state, remove_it, &removal, NULL), 0);
	assert_int_equal(removal.calls, 20);
}

static void test_scan_of_nothing(void **state)
{
	_cleanup_(strbuf_done) struct strbuf seen = {};
	assert_int_equal(journal_scan(*state, count, &seen, NULL), 0);
	assert_string_equal(strbuf_text(&seen), "");
}

static void test_symlink_is_not_followed(void **state)
{
	const char *run_dir = *state;
	struct journal_entry entry = sample("v");
	_cleanup_free_ char *victim = path_join(run_dir, "victim");
	_cleanup_free_ char *tmp = xasprintf("%s/vms/v.json.tmp", run_dir);
	put(run_dir, "unrelated", "");
	assert_int_equal(symlink(victim, tmp), 0);
	assert_true(journal_write(run_dir, &entry, NULL) < 0);
	assert_false(path_exists(victim));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round_trip, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_rewrite_and_remove, folder_setup,
						folder_teardown),
		cmocka_unit_test_setup_teardown(test_names_are_checked, folder_setup,
						folder_teardown),
		cmocka_unit_test(test_hostile_entries),
		cmocka_unit_test(test_hostile_values),
		cmocka_unit_test_setup_teardown(test_scan_sets_bad_ones_aside, folder_setup,
						folder_teardown),
		cmocka_unit_test_setup_teardown(test_scan_leaves_other_versions, folder_setup,
						folder_teardown),
		cmocka_unit_test_setup_teardown(test_scan_takes_back_what_it_can_read, folder_setup,
						folder_teardown),
		cmocka_unit_test_setup_teardown(test_of_an_older_kiln, folder_setup,
						folder_teardown),
		cmocka_unit_test_setup_teardown(test_scan_while_entries_go, folder_setup,
						folder_teardown),
		cmocka_unit_test_setup_teardown(test_scan_of_nothing, folder_setup,
						folder_teardown),
		cmocka_unit_test_setup_teardown(test_symlink_is_not_followed, folder_setup,
						folder_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
