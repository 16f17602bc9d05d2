/* Containers that share a pid namespace: that of their pod, or that of one of them. */
#include <dirent.h>

#include "tests/unit/agent/container_fixture.h"

#define MAY_LOOK                                                                                   \
	", \"capabilities\": {\"bounding\": [\"CAP_SYS_PTRACE\"], \"effective\": "                 \
	"[\"CAP_SYS_PTRACE\"], \"permitted\": [\"CAP_SYS_PTRACE\"]}"

static const char with_pod[] = "\"sandbox_pidns\": true";

/* with: members of the request; line: for sh -c. They get into the format by what is there for the
 * id. */
static char *sharing_json(const char *id, const char *with, const char *line, const char *members)
{
	_cleanup_free_ char *ids = xasprintf("%s\", %s, \"exec_id\": \"%s", id, with, id);
	_cleanup_free_ char *process = xasprintf("\"args\": [\"sh\", \"-c\", \"%s\"]%s", line,
						 members);

	return spec_json(ids, process, "", "");
}

static void run(const char *id, const char *with, const char *line)
{
	_cleanup_free_ char *json = sharing_json(id, with, line, "");

	must("CreateContainer", "%s", json);
	must("StartContainer", "{\"container_id\": \"%s\"}", id);
}

/* Until it has said a line. */
static void await_line(const char *id)
{
	_cleanup_(strbuf_done) struct strbuf out = {};

	assert_true(read_once("ReadStdout", id, "", &out));
}

/* What a container that is there for it says. */
static void expect_inside(const char *with, const char *members, const char *line,
			  const char *expected)
{
	_cleanup_free_ char *json = sharing_json("asked", with, line, members);

	must("CreateContainer", "%s", json);
	must("StartContainer", "{\"container_id\": \"asked\"}");
	_cleanup_free_ char *out = read_all("ReadStdout", "asked", "");
	_cleanup_free_ char *errout = read_all("ReadStderr", "asked", "");
	assert_string_equal(errout, "");
	assert_string_equal(out, expected);
	assert_int_equal(wait_for("asked", ""), 0);
	must("RemoveContainer", "{\"container_id\": \"asked\"}");
}

/* Of the shells of other containers those that say a word. */
#define COUNT(word) "cat /proc/[0-9]*/cmdline | grep -ac " word "[s]leeper"

static void containers_of_a_pod_see_each_other(void **state _unused_)
{
	skip_unless_possible();
	run("a", with_pod, "echo up; : one_sleeper; while :; do sleep 1000; done");
	await_line("a");
	expect_inside(with_pod, "", COUNT("one_"), "1\n");
	expect_inside(with_pod, "", "cat /proc/1/comm; [ $$ != 1 ] && echo not_first",
		      "pod-init\nnot_first\n");
	/* Others have their own. */
	expect_inside("\"sandbox_pidns\": false", "", "echo $$", "1\n");
	/* An exec is where its container is. */
	must("ExecProcess",
	     "{\"container_id\": \"a\", \"exec_id\": \"e\", \"process\": {\"cwd\": \"/\", "
	     "\"args\": [\"/bin/cat\", \"/proc/1/comm\"]}}");
	_cleanup_free_ char *out = read_all("ReadStdout", "a", "e");
	assert_string_equal(out, "pod-init\n");
}

/* Whatever may be looked at, there is nothing of the guest's. */
static void nothing_of_the_guest_is_seen(void **state _unused_)
{
	skip_unless_possible();
	run("a", with_pod, "echo up; while :; do sleep 1000; done");
	await_line("a");
	expect_inside(with_pod, MAY_LOOK,
		      "ls /proc/1/root/; ls /proc/1/fd/ | wc -l; grep CapEff /proc/1/status",
		      "proc\n0\nCapEff:\t0000000000000000\n");
	expect_inside(with_pod, "", "grep -c . /proc/uptime; :", "0\n"); /* masked as ever */
}

static void each_ends_alone(void **state _unused_)
{
	skip_unless_possible();
	run("a", with_pod, "echo up; : one_sleeper; while :; do sleep 1000; done");
	run("b", with_pod, "sh -c ': two_sleeper; while :; do sleep 1000; done' & echo up; exit 3");
	await_line("a");
	assert_int_equal(wait_for("b", ""), 3);
	/* With the first process end the others, as if it were that of a namespace. */
	expect_inside(with_pod, "",
		      "while [ $(" COUNT("two_") ") != 0 ]; do :; done; " COUNT("one_"), "1\n");
	must("RemoveContainer", "{\"container_id\": \"b\"}");
	run("b", with_pod, "echo up; while :; do sleep 1000; done");
	await_line("b");
	must("SignalProcess", "{\"container_id\": \"b\", \"signal\": 9}");
	assert_int_equal(wait_for("b", ""), 137);
	expect_inside(with_pod, "", COUNT("one_"), "1\n");
}

static void orphans_are_collected(void **state _unused_)
{
	skip_unless_possible();
	expect_inside(with_pod, "",
		      "orphan=$(sh -c 'cat /dev/zero >/dev/null & echo $!'); kill -9 $orphan; "
		      "while [ -e /proc/$orphan ]; do :; done; echo gone",
		      "gone\n");
}

static void what_fails_says_why(void **state _unused_)
{
	skip_unless_possible();
	_cleanup_free_ char *json = spec_json("a\", \"sandbox_pidns\": true, \"exec_id\": \"a",
					      "\"args\": [\"/bin/nosuch\"]", "", "");
	for (int i = 0; i < 20; i++)
		must_fail("/bin/nosuch", "CreateContainer", "%s", json);
	_cleanup_free_ char *hidden = spec_json(
		"a\", \"sandbox_pidns\": true, \"exec_id\": \"a", "\"args\": [\"/bin/true\"]", "",
		"{\"destination\": \"/proc\", \"type\": \"proc\", \"source\": \"proc\","
		" \"options\": [\"hidepid=2\"]},");
	must_fail("option \"hidepid=2\" is not supported where processes are shared",
		  "CreateContainer", "%s", hidden);
	_cleanup_free_ char *both = sharing_json(
		"a", "\"sandbox_pidns\": true, \"pidns_container\": \"b\"", "true", "");
	must_fail("cannot both be shared", "CreateContainer", "%s", both);
	_cleanup_free_ char *none = sharing_json("a", "\"pidns_container\": \"b\"", "true", "");
	must_fail("it is not there", "CreateContainer", "%s", none);
}

static void a_container_can_be_joined(void **state _unused_)
{
	static const char with_a[] = "\"pidns_container\": \"a\"";

	skip_unless_possible();
	run("a", "\"sandbox_pidns\": false", "echo up; while :; do sleep 1000; done");
	await_line("a");
	expect_inside(with_a, "", "grep -ac sleep /proc/1/cmdline; echo $0", "1\nsh\n");
	run("b", with_a, "echo up; while :; do sleep 1000; done");
	await_line("b");
	must("SignalProcess", "{\"container_id\": \"a\", \"exec_id\": \"a\", \"signal\": 9}");
	assert_int_equal(wait_for("a", ""), 137);
	assert_int_equal(wait_for("b", ""), 137); /* as the kernel has it */
	_cleanup_free_ char *json = sharing_json("c", with_a, "true", "");
	must_fail("in the stopped state", "CreateContainer", "%s", json);
}

static void terminals_are_as_ever(void **state _unused_)
{
	skip_unless_possible();
	expect_inside(with_pod, ", \"terminal\": true", "tty; stat -c %F /dev/console",
		      "/dev/pts/0\r\ncharacter special file\r\n");
}

/* Children of this process that are called so. */
static unsigned count_inits(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	unsigned count = 0;

	assert_non_null(proc);
	while ((entry = readdir(proc))) {
		_cleanup_free_ char *path = xasprintf("/proc/%s/stat", entry->d_name);
		_cleanup_free_ char *text = NULL;
		int parent;
		if (file_read(path, 4096, &text, NULL, NULL) == 0 &&
		    sscanf(text, "%*d (pod-init) %*c %d", &parent) == 1 && parent == getpid())
			count++;
	}
	closedir(proc);
	return count;
}

/* One that was killed is there until it is collected. */
static void await_no_init(void)
{
	while (count_inits() > 0)
		must("ListInterfaces", "{}");
}

static void the_namespace_goes_with_the_pod(void **state _unused_)
{
	skip_unless_possible();
	await_no_init();
	expect_inside("\"sandbox_pidns\": false", "", "true", "");
	assert_int_equal(count_inits(), 0); /* nobody has asked */
	expect_inside(with_pod, "", "true", "");
	expect_inside(with_pod, "", "true", "");
	assert_int_equal(count_inits(), 1);
	must("DestroySandbox", "{}");
	await_no_init();
	must("CreateSandbox", "{\"sandbox_id\": \"box\", \"sandbox_pidns\": true}");
	expect_inside(with_pod, "", "true", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIFE(containers_of_a_pod_see_each_other),
		LIFE(nothing_of_the_guest_is_seen),
		LIFE(each_ends_alone),
		LIFE(orphans_are_collected),
		LIFE(what_fails_says_why),
		LIFE(a_container_can_be_joined),
		LIFE(terminals_are_as_ever),
		LIFE(the_namespace_goes_with_the_pod),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
