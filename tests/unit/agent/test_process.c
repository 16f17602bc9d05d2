/* Processes in real containers by the agent's own handlers: their input, output and terminals,
 * signals, and more of them by exec. */
#include "tests/unit/agent/container_fixture.h"

#include <sys/resource.h>

#include "proto/guest.pb-c.h"

static void test_output_and_status(void **state _unused_)
{
	skip_unless_possible();
	create("one", "\"args\": [\"sh\", \"-c\", \"echo out; echo err >&2; exit 7\"]");
	must_fail("exists already", "CreateContainer", "{\"container_id\": \"one\"}");
	must("StartContainer", "{\"container_id\": \"one\"}");
	must_fail("cannot start", "StartContainer", "{\"container_id\": \"one\"}");
	assert_int_equal(wait_for("one", ""), 7);
	assert_int_equal(wait_for("one", "one"), 7);
	_cleanup_free_ char *out = read_all("ReadStdout", "one", "");
	_cleanup_free_ char *errout = read_all("ReadStderr", "one", "one");
	assert_string_equal(out, "out\n");
	assert_string_equal(errout, "err\n");
	must("SignalProcess", "{\"container_id\": \"one\", \"signal\": 15}");
	must("RemoveContainer", "{\"container_id\": \"one\"}");
	must_fail("no container \"one\"", "RemoveContainer", "{\"container_id\": \"one\"}");
}

static void test_start_of_no_program(void **state _unused_)
{
	skip_unless_possible();
	_cleanup_free_ char *file = path_join(fixture.rootfs, "bin/garbage");
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(file_write_atomic(file, "\1\2\3\4", 4, 0755, &err), 0);
	create("one", "\"args\": [\"garbage\"]");
	must_fail("exec /bin/garbage: Exec format error", "StartContainer",
		  "{\"container_id\": \"one\"}");
	assert_int_equal(wait_for("one", ""), 127);
	must("RemoveContainer", "{\"container_id\": \"one\"}");
	assert_int_equal(unlink(file), 0);
}

static void test_signals(void **state _unused_)
{
	skip_unless_possible();
	create("one", "\"args\": [\"sh\", \"-c\", \"trap 'exit 3' TERM; echo up; sleep 1000 & "
		      "wait\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	struct strbuf up = {};
	assert_true(read_once("ReadStdout", "one", "", &up));
	strbuf_done(&up);
	must_fail("no signal", "SignalProcess", "{\"container_id\": \"one\", \"signal\": 65}");
	must("SignalProcess", "{\"container_id\": \"one\", \"signal\": 15}");
	assert_int_equal(wait_for("one", ""), 3);
	create("two", "\"args\": [\"sleep\", \"1000\"]");
	must("StartContainer", "{\"container_id\": \"two\"}");
	must("SignalProcess", "{\"container_id\": \"two\", \"signal\": 9}");
	assert_int_equal(wait_for("two", ""), 137);
}

/* As Kata's: an empty exec id means all processes, the container's id its first one, and one that
 * has ended needs no signal. */
static void test_signals_to_one_and_to_all(void **state _unused_)
{
	skip_unless_possible();
	create("one",
	       "\"args\": [\"sh\", \"-c\", \"trap 'echo init' TERM; echo up;"
	       " sh -c 'trap \\\"echo child; exit\\\" TERM; echo up; while :; do sleep 0.1; done';"
	       " exit 6\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	struct strbuf text = {};
	while (!strstr(strbuf_text(&text), "up\nup\n"))
		assert_true(read_once("ReadStdout", "one", "", &text));
	must("SignalProcess", "{\"container_id\": \"one\", \"exec_id\": \"one\", \"signal\": 0}");
	must("SignalProcess", "{\"container_id\": \"one\", \"signal\": 15}");
	while (read_once("ReadStdout", "one", "", &text))
		;
	assert_non_null(strstr(text.text, "child\n"));
	assert_non_null(strstr(text.text, "init\n"));
	strbuf_done(&text);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(wait_for("one", ""), 6);
		must("SignalProcess", "{\"container_id\": \"one\", \"signal\": 15}");
		must("SignalProcess",
		     "{\"container_id\": \"one\", \"exec_id\": \"one\", \"signal\": 9}");
	}
}

/* What a caller sent does not come back whole. */
static void test_long_names_are_cut(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};
	char name[4096 + 1];

	skip_unless_possible();
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	_cleanup_free_ char *json = xasprintf("{\"container_id\": \"%s\"}", name);
	assert_int_equal(try_json("WaitProcess", &err, json), -1);
	assert_true(strlen(error_message(&err)) < 256);
}

static void test_signals_before_they_are_asked_for(void **state _unused_)
{
	skip_unless_possible();
	create("one",
	       "\"args\": [\"sh\", \"-c\", \"sleep 1; trap 'exit 3' TERM; sleep 1000 & wait\"]");
	must("SignalProcess", "{\"container_id\": \"one\", \"signal\": 15}");
	must("StartContainer", "{\"container_id\": \"one\"}");
	must("SignalProcess", "{\"container_id\": \"one\", \"signal\": 15}");
	assert_int_equal(wait_for("one", ""), 3);
}

static void test_pause_is_seen_and_ends(void **state _unused_)
{
	skip_unless_possible();
	create("one", "\"args\": [\"sleep\", \"1000\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	must_fail("not paused", "ResumeContainer", "{\"container_id\": \"one\"}");
	must("PauseContainer", "{\"container_id\": \"one\"}");
	must_fail("paused already", "PauseContainer", "{\"container_id\": \"one\"}");
	must_fail("paused container", "ExecProcess",
		  "{\"container_id\": \"one\", \"exec_id\": \"e\", \"process\":"
		  " {\"args\": [\"/bin/true\"]}}");
	must("ResumeContainer", "{\"container_id\": \"one\"}");
	must("PauseContainer", "{\"container_id\": \"one\"}");
	must("RemoveContainer", "{\"container_id\": \"one\"}");
}

static void test_exec(void **state _unused_)
{
	skip_unless_possible();
	create("one", "\"args\": [\"sleep\", \"1000\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	must("ExecProcess",
	     "{\"container_id\": \"one\", \"exec_id\": \"e\", \"process\": {\"args\": [\"sh\","
	     " \"-c\", \"hostname; echo $$ $HOME; cat /proc/1/comm; exit 5\"],"
	     " \"env\": [\"PATH=/bin\"]}}");
	_cleanup_free_ char *out = read_all("ReadStdout", "one", "e");
	assert_non_null(strstr(out, "inside\n"));
	assert_non_null(strstr(out, " /root\nsleep\n"));
	assert_int_equal(wait_for("one", "e"), 5);
	/* The id is free again, and failed ones leave nothing. */
	for (int i = 0; i < 2; i++)
		must_fail("exec failed: unable to start container process: exec: \"nosuch\"",
			  "ExecProcess",
			  "{\"container_id\": \"one\", \"exec_id\": \"e\", \"process\":"
			  " {\"args\": [\"nosuch\"], \"env\": [\"PATH=/bin\"]}}");
	must_fail("chdir to cwd (\"/nosuch\")", "ExecProcess",
		  "{\"container_id\": \"one\", \"exec_id\": \"e\", \"process\":"
		  " {\"args\": [\"/bin/true\"], \"cwd\": \"/nosuch\"}}");
	must_fail("no process \"e\"", "WaitProcess",
		  "{\"container_id\": \"one\", \"exec_id\": \"e\"}");
	must_fail("exists already", "ExecProcess",
		  "{\"container_id\": \"one\", \"exec_id\": \"one\", \"process\":"
		  " {\"args\": [\"/bin/true\"]}}");
	must("RemoveContainer", "{\"container_id\": \"one\"}");
}

/* It enters the cgroup namespace itself, and has no capability left of that. */
static void test_an_exec_is_in_the_cgroup_namespace(void **state _unused_)
{
	skip_unless_possible();
	create("one", "\"args\": [\"sleep\", \"1000\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	must("ExecProcess",
	     "{\"container_id\": \"one\", \"exec_id\": \"e\", \"process\": {\"args\": [\"sh\","
	     " \"-c\", \"[ $(readlink /proc/1/ns/cgroup) = $(readlink /proc/self/ns/cgroup) ] && "
	     "echo same; grep 0:: /proc/self/cgroup; grep CapPrm /proc/self/status\"],"
	     " \"env\": [\"PATH=/bin\"]}}");
	_cleanup_free_ char *out = read_all("ReadStdout", "one", "e");
	assert_string_equal(out, fixture.cgroup ? "same\n0::/\nCapPrm:\t0000000000000000\n"
						: "same\nCapPrm:\t0000000000000000\n");
}

/* The container's files say who that is; what it writes to is the user's. */
static const struct {
	const char *user, *process, *ids;
} users[] = {
	{ "{\"uid\": \"kiln\"}", "", "1000\n1000\n1000 10 11\n/home/kiln\n" },
	{ "{\"uid\": \"kiln\", \"gid\": \"more\", \"additionalGids\": [\"wheel\", \"7\"]}", "",
	  "1000\n11\n11 7 10\n/home/kiln\n" },
	{ "{\"uid\": \"4294967294\"}", ", \"user\": {\"gid\": 5}", "4294967294\n5\n5\n/\n" },
	{ "{}", ", \"user\": {\"username\": \"kiln:0\"}", "1000\n0\n0\n/home/kiln\n" },
};

#define SHOW_USER "\"sh\", \"-c\", \"id -u; id -g; id -G; echo $HOME > /dev/stdout\""

static void test_users_by_name(void **state _unused_)
{
	skip_unless_possible();
	for (size_t i = 0; i < ARRAY_SIZE(users); i++) {
		_cleanup_free_ char *process = xasprintf("\"args\": [" SHOW_USER "]%s",
							 users[i].process);
		_cleanup_free_ char *spec = spec_json("one", process, "", "");
		must("CreateContainer", "{\"string_user\": %s, %s", users[i].user, spec + 1);
		must("StartContainer", "{\"container_id\": \"one\"}");
		_cleanup_free_ char *out = read_all("ReadStdout", "one", "");
		assert_string_equal(out, users[i].ids);
		must("RemoveContainer", "{\"container_id\": \"one\"}");
	}
}

static void test_execs_by_name(void **state _unused_)
{
	skip_unless_possible();
	create("one", "\"args\": [\"sleep\", \"1000\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	for (size_t i = 0; i < ARRAY_SIZE(users); i++) {
		must("ExecProcess",
		     "{\"container_id\": \"one\", \"exec_id\": \"e\", \"string_user\": %s,"
		     " \"process\": {\"args\": [" SHOW_USER "], \"env\": [\"PATH=/bin\"]%s}}",
		     users[i].user, users[i].process);
		_cleanup_free_ char *out = read_all("ReadStdout", "one", "e");
		assert_string_equal(out, users[i].ids);
		assert_int_equal(wait_for("one", "e"), 0);
	}
}

static void test_users_that_are_not_there(void **state _unused_)
{
	static const char nobody[] = "no user \"ghost\" is in the container's /etc/passwd";
	_cleanup_(error_done) struct error err = {};

	skip_unless_possible();
	_cleanup_free_ char *spec = spec_json("one", "\"args\": [\"sleep\", \"1000\"]", "", "");
	_cleanup_free_ char *named = xasprintf("{\"string_user\": {\"uid\": \"ghost\"}, %s",
					       spec + 1);
	assert_int_equal(try_json("CreateContainer", &err, named), -1);
	assert_non_null(strstr(error_message(&err), nobody));
	must("CreateContainer", "%s", spec);
	must("StartContainer", "{\"container_id\": \"one\"}");
	must_fail("no group \"ghosts\" is in the container's /etc/group", "ExecProcess",
		  "{\"container_id\": \"one\", \"exec_id\": \"e\", \"string_user\": {\"gid\":"
		  " \"ghosts\"}, \"process\": {\"args\": [\"/bin/true\"]}}");
	must_fail("both name a user", "ExecProcess",
		  "{\"container_id\": \"one\", \"exec_id\": \"e\", \"string_user\": {\"gid\":"
		  " \"0\"}, \"process\": {\"args\": [\"/bin/true\"],"
		  " \"user\": {\"username\": \"kiln\"}}}");
}

/* /dev/stdout leads to it. */
static void test_a_terminal_is_the_users(void **state _unused_)
{
	skip_unless_possible();
	create("one", "\"args\": [\"sh\", \"-c\", \"stat -c %u /dev/pts/0; echo a > /dev/stdout\"],"
		      " \"terminal\": true, \"user\": {\"uid\": 1000}");
	must("StartContainer", "{\"container_id\": \"one\"}");
	_cleanup_free_ char *out = read_all("ReadStdout", "one", "");
	assert_string_equal(out, "1000\r\na\r\n");
	assert_int_equal(wait_for("one", ""), 0);
}

/* An exec dies with the container's first process, and its status can be had. */
static void test_exec_dies_with_init(void **state _unused_)
{
	skip_unless_possible();
	create("one", "\"args\": [\"sleep\", \"1000\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	must("ExecProcess", "{\"container_id\": \"one\", \"exec_id\": \"e\", \"process\":"
			    " {\"args\": [\"/bin/sleep\", \"1000\"]}}");
	must("SignalProcess", "{\"container_id\": \"one\", \"signal\": 9}");
	assert_int_equal(wait_for("one", "e"), 137);
	assert_int_equal(wait_for("one", ""), 137);
	must_fail("cannot exec in a container in the stopped state", "ExecProcess",
		  "{\"container_id\": \"one\", \"exec_id\": \"f\", \"process\":"
		  " {\"args\": [\"/bin/true\"]}}");
}

static void test_stdin(void **state _unused_)
{
	enum { BLOCK = 48 * 1024, BLOCKS = 40 };
	_cleanup_free_ uint8_t *block = xcalloc(1, BLOCK);
	struct strbuf echoed = {};

	skip_unless_possible();
	create("one", "\"args\": [\"cat\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	for (size_t i = 0; i < BLOCKS; i++) {
		memset(block, 'a' + (int)(i % 26), BLOCK);
		write_all("one", "", block, BLOCK);
		while (echoed.len < (i + 1) * BLOCK)
			assert_true(read_once("ReadStdout", "one", "", &echoed));
		assert_memory_equal(echoed.text + i * BLOCK, block, BLOCK);
	}
	must("CloseStdin", "{\"container_id\": \"one\"}");
	must_fail("stdin is closed", "WriteStdin",
		  "{\"container_id\": \"one\", \"data\": \"YQ==\"}");
	assert_false(read_once("ReadStdout", "one", "", &echoed));
	assert_int_equal(wait_for("one", ""), 0);
	strbuf_done(&echoed);
}

/* A read that nobody waits for any more takes no bytes with it. */
static void test_read_given_up(void **state _unused_)
{
	Grpc__ReadStreamRequest request = GRPC__READ_STREAM_REQUEST__INIT;
	struct ttrpc_call_options options = {
		.service = &grpc__agent_service__descriptor,
		.method = "ReadStdout",
		.request = &request.base,
		.timeout_ms = 50,
	};
	_cleanup_(error_done) struct error err = {};
	ProtobufCMessage *response = NULL;
	struct strbuf out = {};

	skip_unless_possible();
	create("one", "\"args\": [\"cat\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	must_fail("0 bytes", "ReadStdout", "{\"container_id\": \"one\"}");
	request.container_id = (char *)"one";
	request.len = 10;
	assert_int_equal(ttrpc_client_call_wait(fixture.client, fixture.agent.loop, &options,
						&response, NULL, NULL, &err),
			 -ETIMEDOUT);
	write_all("one", "", "kept", 4);
	assert_true(read_once("ReadStdout", "one", "", &out));
	assert_string_equal(out.text, "kept");
	strbuf_done(&out);
}

/* More output than a pipe holds: the process waits for its reader, and nothing is lost. */
static void test_large_output(void **state _unused_)
{
	skip_unless_possible();
	create("one", "\"args\": [\"dd\", \"if=/dev/zero\", \"bs=64k\", \"count=160\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	struct strbuf out = {};
	while (read_once("ReadStdout", "one", "", &out))
		;
	assert_int_equal(out.len, 160 * 65536);
	strbuf_done(&out);
	assert_int_equal(wait_for("one", ""), 0);
}

static int close_output(const char *exec_id, bool drop_stdout, struct error *err)
{
	Kiln__Guest__V1__CloseOutputRequest request = KILN__GUEST__V1__CLOSE_OUTPUT_REQUEST__INIT;

	request.container_id = (char *)"one";
	request.exec_id = (char *)exec_id;
	request.drop_stdout = drop_stdout;
	ProtobufCMessage *response = call_service(&kiln__guest__v1__guest__descriptor,
						  "CloseOutput", &request.base, err);
	if (!response)
		return -1;
	protobuf_c_message_free_unpacked(response, NULL);
	return 0;
}

static void start_exec(const char *exec_id, const char *line)
{
	must("ExecProcess",
	     "{\"container_id\": \"one\", \"exec_id\": \"%s\", \"process\": {\"args\": [\"sh\","
	     " \"-c\", \"%s\"], \"env\": [\"PATH=/bin\"]}}",
	     exec_id, line);
}

/* What an exec has left behind writes more than a pipe holds; how its program ends is in a file. */
static void expect_left_behind(bool drop_stdout, const char *status)
{
	start_exec("left", ": >/tmp/status; (dd if=/dev/zero bs=64k count=16 2>/dev/null;"
			   " echo $? >/tmp/status) &");
	assert_int_equal(wait_for("one", "left"), 0);
	assert_int_equal(close_output("left", drop_stdout, NULL), 0);
	start_exec("looks", "until test -s /tmp/status; do sleep 0.1; done; cat /tmp/status");
	_cleanup_free_ char *said = read_all("ReadStdout", "one", "looks");
	assert_string_equal(said, status);
	/* Reads that come after it find the end, and not what was dropped. */
	_cleanup_free_ char *out = read_all("ReadStdout", "one", "left");
	assert_string_equal(out, "");
}

static void test_output_that_nobody_reads_any_more(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};

	skip_unless_possible();
	create("one", "\"args\": [\"sleep\", \"1000\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	expect_left_behind(false, "141\n"); /* 128 + SIGPIPE */
	expect_left_behind(true, "0\n");
	assert_int_equal(close_output("never", false, &err), -1);
	assert_non_null(strstr(error_message(&err), "there is no process \"never\""));
}

/* Execs that have ended and whose output nobody has read are kept for who may come, up to a bound.
 */
static void test_execs_that_are_given_up_make_room(void **state _unused_)
{
	enum { EXECS = 511 }; /* beside the first process */
	const struct rlimit files = { 4096, 4096 };
	char id[16];

	skip_unless_possible();
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	create("one", "\"args\": [\"sleep\", \"1000\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	for (int i = 0; i < EXECS; i++) {
		snprintf(id, sizeof(id), "e%d", i);
		start_exec(id, "echo");
		assert_int_equal(wait_for("one", id), 0);
	}
	must_fail("has 512 processes already", "ExecProcess",
		  "{\"container_id\": \"one\", \"exec_id\": \"f\", \"process\":"
		  " {\"args\": [\"/bin/true\"]}}");
	assert_int_equal(close_output("e7", false, NULL), 0);
	start_exec("f", "true");
	assert_int_equal(wait_for("one", "f"), 0);
}

static void test_terminal(void **state _unused_)
{
	skip_unless_possible();
	create("one", "\"terminal\": true, \"consoleSize\": {\"height\": 20, \"width\": 70},"
		      " \"args\": [\"sh\", \"-c\", \"tty; stty size; test -c /dev/console && echo "
		      "console; read x; stty size; echo bye\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	struct strbuf out = {};
	while (!strstr(strbuf_text(&out), "console\r\n"))
		assert_true(read_once("ReadStdout", "one", "", &out));
	assert_string_equal(out.text, "/dev/pts/0\r\n20 70\r\nconsole\r\n");
	must("TtyWinResize", "{\"container_id\": \"one\", \"row\": 30, \"column\": 90}");
	write_all("one", "", "\n", 1);
	while (read_once("ReadStdout", "one", "", &out))
		;
	assert_non_null(strstr(out.text, "30 90\r\nbye\r\n"));
	assert_int_equal(wait_for("one", ""), 0);
	strbuf_done(&out);
	create("two", "\"args\": [\"sleep\", \"1000\"]");
	must_fail("no terminal", "TtyWinResize", "{\"container_id\": \"two\", \"row\": 1}");
	must("StartContainer", "{\"container_id\": \"two\"}");
	must("ExecProcess", "{\"container_id\": \"two\", \"exec_id\": \"t\", \"process\":"
			    " {\"terminal\": true, \"args\": [\"/bin/tty\"]}}");
	_cleanup_free_ char *tty = read_all("ReadStdout", "two", "t");
	assert_string_equal(tty, "/dev/pts/0\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIFE(test_output_and_status),
		LIFE(test_start_of_no_program),
		LIFE(test_signals),
		LIFE(test_signals_to_one_and_to_all),
		LIFE(test_long_names_are_cut),
		LIFE(test_signals_before_they_are_asked_for),
		LIFE(test_pause_is_seen_and_ends),
		LIFE(test_exec),
		LIFE(test_an_exec_is_in_the_cgroup_namespace),
		LIFE(test_users_by_name),
		LIFE(test_execs_by_name),
		LIFE(test_users_that_are_not_there),
		LIFE(test_a_terminal_is_the_users),
		LIFE(test_exec_dies_with_init),
		LIFE(test_stdin),
		LIFE(test_read_given_up),
		LIFE(test_large_output),
		LIFE(test_output_that_nobody_reads_any_more),
		LIFE(test_execs_that_are_given_up_make_room),
		LIFE(test_terminal),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
