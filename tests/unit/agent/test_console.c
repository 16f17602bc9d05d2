/* Programs in the guest's own root, real ones of this machine. */
#include "container_fixture.h"

/* The console as a template without one has it, and back. */
static void allow(bool allowed)
{
	console_free(fixture.agent.console);
	fixture.agent.console = console_new(&fixture.agent, allowed);
}

static void test_not_allowed(void **state _unused_)
{
	skip_unless_possible();
	allow(false);
	must_fail("allows no debug console", "ExecProcess",
		  "{\"exec_id\": \"e\", \"process\": {\"args\": [\"/bin/true\"]}}");
	must_fail("there is no program \"e\"", "WaitProcess", "{\"exec_id\": \"e\"}");
	allow(true);
}

/* In none of the containers, and with all that the agent has. */
static void test_where_and_as_what_it_runs(void **state _unused_)
{
	_cleanup_free_ char *caps = NULL, *mounts = xnew_array(char, 256);

	skip_unless_possible();
	create("one", "\"args\": [\"sleep\", \"1000\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	must("ExecProcess",
	     "{\"exec_id\": \"e\", \"process\": {\"args\": [\"busybox\", \"sh\", \"-c\","
	     " \"readlink /proc/self/ns/mnt; id -u; echo $WHO; grep CapEff /proc/self/status;"
	     " echo no >&2; exit 5\"], \"env\": [\"PATH=/bin:/usr/bin\", \"WHO=me\"]}}");
	_cleanup_free_ char *out = read_all("ReadStdout", "", "e");
	_cleanup_free_ char *errout = read_all("ReadStderr", "", "e");
	assert_int_equal(wait_for("", "e"), 5);
	assert_string_equal(errout, "no\n");
	ssize_t n = readlink("/proc/self/ns/mnt", mounts, 255);
	assert_true(n > 0);
	mounts[n] = '\0';
	char *rest = (char *)str_after(out, mounts);
	assert_non_null(rest);
	assert_non_null(str_after(rest, "\n0\nme\nCapEff:\t"));
	/* Of a container's process only those of its spec, none here. */
	caps = run_shell("", "", "", "grep CapEff /proc/self/status", 0);
	assert_string_equal(caps, "CapEff:\t0000000000000000\n");
	assert_null(strstr(rest, "CapEff:\t0000000000000000\n"));
	must("RemoveContainer", "{\"container_id\": \"one\"}");
}

static void test_input_and_signals(void **state _unused_)
{
	skip_unless_possible();
	must("ExecProcess",
	     "{\"exec_id\": \"e\", \"process\": {\"args\": [\"busybox\", \"cat\"]}}");
	must_fail("exists already", "ExecProcess",
		  "{\"exec_id\": \"e\", \"process\": {\"args\": [\"busybox\", \"true\"]}}");
	write_all("", "e", "words", 5);
	must("CloseStdin", "{\"exec_id\": \"e\"}");
	_cleanup_free_ char *out = read_all("ReadStdout", "", "e");
	assert_string_equal(out, "words");
	assert_int_equal(wait_for("", "e"), 0);
	must("ExecProcess",
	     "{\"exec_id\": \"e\", \"process\": {\"args\": [\"busybox\", \"sleep\", \"1000\"]}}");
	must("SignalProcess", "{\"exec_id\": \"e\", \"signal\": 9}");
	assert_int_equal(wait_for("", "e"), 128 + 9);
	/* All of a container that is none. */
	must_fail("no container \"\"", "SignalProcess", "{\"signal\": 9}");
}

static void test_a_terminal(void **state _unused_)
{
	struct strbuf out = {};

	skip_unless_possible();
	must("ExecProcess",
	     "{\"exec_id\": \"t\", \"process\": {\"terminal\": true, \"args\": [\"busybox\","
	     " \"sh\", \"-c\", \"stty size; read x; stty size\"],"
	     " \"env\": [\"PATH=/bin:/usr/bin\"],"
	     " \"consoleSize\": {\"height\": 20, \"width\": 70}}}");
	while (!strchr(strbuf_text(&out), '\n'))
		assert_true(read_once("ReadStdout", "", "t", &out));
	assert_string_equal(out.text, "20 70\r\n");
	must("TtyWinResize", "{\"exec_id\": \"t\", \"row\": 30, \"column\": 90}");
	write_all("", "t", "\n", 1);
	while (read_once("ReadStdout", "", "t", &out))
		;
	assert_non_null(strstr(out.text, "30 90\r\n"));
	assert_int_equal(wait_for("", "t"), 0);
	strbuf_done(&out);
}

/* A shell where no program is named; what fails leaves nothing. */
static void test_no_program(void **state _unused_)
{
	skip_unless_possible();
	must("ExecProcess", "{\"exec_id\": \"e\"}");
	write_all("", "e", "exit 7\n", 7);
	assert_int_equal(wait_for("", "e"), 7);
	for (int i = 0; i < 2; i++)
		must_fail("exec: \"/no/such\"", "ExecProcess",
			  "{\"exec_id\": \"f\", \"process\": {\"args\": [\"/no/such\"]}}");
	must_fail("not valid", "ExecProcess",
		  "{\"exec_id\": \"../f\", \"process\": {\"args\": [\"/no/such\"]}}");
	must_fail("there is no program \"f\"", "WaitProcess", "{\"exec_id\": \"f\"}");
}

/* Some may run at once; those that have ended give way, whether anybody has asked for their end or
 * not. */
static void test_how_many(void **state _unused_)
{
	skip_unless_possible();
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 16; i++)
			must("ExecProcess",
			     "{\"exec_id\": \"p%d-%d\", \"process\": {\"args\": [\"busybox\","
			     " \"sleep\", \"1000\"]}}",
			     round, i);
		must_fail("has 16 programs already", "ExecProcess",
			  "{\"exec_id\": \"q\", \"process\": {\"args\": [\"busybox\", \"true\"]}}");
		for (int i = 0; i < 16; i++) {
			_cleanup_free_ char *id = xasprintf("p%d-%d", round, i);
			must("SignalProcess", "{\"exec_id\": \"%s\", \"signal\": 15}", id);
			assert_int_equal(wait_for("", id), 128 + 15);
		}
	}
	must("ExecProcess",
	     "{\"exec_id\": \"q\", \"process\": {\"args\": [\"busybox\", \"true\"]}}");
	assert_int_equal(wait_for("", "q"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIFE(test_not_allowed),       LIFE(test_where_and_as_what_it_runs),
		LIFE(test_input_and_signals), LIFE(test_a_terminal),
		LIFE(test_no_program),        LIFE(test_how_many),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
