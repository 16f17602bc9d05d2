/* Programs of the host around a container's life, with a real shell as the program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "shim/hooks.h"

enum { DEADLINE_MS = 20000 };

struct bench {
	struct loop *loop;
	char *bundle;
	bool done;
	int number;
	char *message;
};

static int setup(void **state)
{
	char path[] = "/tmp/kiln-test-hooks-XXXXXX";
	struct bench *bench = xnew(struct bench);

	assert_non_null(mkdtemp(path));
	bench->bundle = xstrdup(path);
	bench->loop = loop_new();
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	loop_free(bench->loop);
	assert_int_equal(path_remove(bench->bundle, NULL), 0);
	free(bench->message);
	free(bench->bundle);
	free(bench);
	return 0;
}

static void on_done(int number, const struct error *err, void *userdata)
{
	struct bench *bench = userdata;

	bench->done = true;
	bench->number = number;
	replace_string(&bench->message, error_message(err));
}

/* Runs one moment of a spec whose hooks are these. */
static void run(struct bench *bench, const char *lists, enum hooks_moment moment)
{
	_cleanup_free_ char *text = xasprintf(
		"{\"ociVersion\": \"1.0.2\", \"process\": {\"args\": [\"x\"], \"cwd\": \"/\"},"
		"\"root\": {\"path\": \"r\"}, \"annotations\": {\"a\": \"b\"},"
		"\"linux\": {\"namespaces\": [{\"type\": \"network\"},"
		"{\"type\": \"pid\"}, {\"type\": \"ipc\"}]}, \"hooks\": {%s}}",
		lists);
	_cleanup_(spec_free_cleanup) struct spec *spec = NULL;
	_cleanup_(error_done) struct error err = {};

	if (spec_parse(text, strlen(text), bench->bundle, &spec, &err) < 0)
		fail_msg("%s", error_message(&err));

	struct hooks *hooks = hooks_new(bench->loop, spec, "c1", bench->bundle);

	assert_non_null(hooks);
	assert_int_equal(hooks_have_first(hooks), hooks_come_first(spec));
	bench->done = false;
	hooks_run(hooks, moment, on_done, bench);
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
	hooks_free(hooks);
}

static void expect_file(const struct bench *bench, const char *name, const char *part)
{
	_cleanup_free_ char *path = path_join(bench->bundle, name);
	_cleanup_free_ char *text = NULL;

	assert_int_equal(file_read(path, 4096, &text, NULL, NULL), 0);
	if (!strstr(text, part))
		fail_msg("%s is not in %s", part, text);
}

static void state_is_told(void **state)
{
	struct bench *bench = *state;

	run(bench,
	    "\"poststop\": [{\"path\": \"/bin/sh\", \"args\": [\"sh\", \"-c\", \"cat >state; echo $A "
	    ">env\"], \"env\": [\"A=1\", \"PATH=/bin\"]}]",
	    HOOKS_STOP);
	assert_int_equal(bench->number, 0);
	expect_file(bench, "state", "\"id\":\"c1\"");
	expect_file(bench, "state", "\"status\":\"stopped\"");
	expect_file(bench, "state", "\"annotations\":{\"a\":\"b\"}");
	expect_file(bench, "env", "1");
}

/* The name that a program is called by need not be that of its file. */
static void arguments_are_told(void **state)
{
	struct bench *bench = *state;

	run(bench,
	    "\"poststop\": [{\"path\": \"/bin/sh\", \"args\": [\"other\", \"-c\", \"echo $0 >name\"]},"
	    "{\"path\": \"/bin/true\"}]",
	    HOOKS_STOP);
	assert_string_equal(bench->message ? bench->message : "", "no error");
	expect_file(bench, "name", "other\n");
}

static void number_is_in_a_network_of_its_own(void **state)
{
	struct bench *bench = *state;

	if (geteuid() != 0) {
		print_message("needs root: skipped\n");
		skip();
	}
	run(bench,
	    "\"prestart\": [{\"path\": \"/bin/sh\", \"args\": [\"sh\", \"-c\", \"p=$(grep -o "
	    "pid.:[0-9]* | tr -dc 0-9); readlink /proc/$p/ns/net >theirs; readlink "
	    "/proc/self/ns/net >ours; ! cmp -s ours theirs && test -s theirs\"]}]",
	    HOOKS_CREATE);
	assert_string_equal(bench->message ? bench->message : "", "no error");
	assert_int_equal(bench->number, 0);
}

static void failures_are_told(void **state)
{
	struct bench *bench = *state;

	run(bench,
	    "\"poststop\": [{\"path\": \"/bin/sh\", \"args\": [\"sh\", \"-c\", \"echo why >&2; exit "
	    "3\"]}, {\"path\": \"/bin/touch\", \"args\": [\"touch\", \"after\"]}]",
	    HOOKS_STOP);
	assert_int_equal(bench->number, -EIO);
	assert_string_equal(bench->message, "/bin/sh failed with status 3: why");
	_cleanup_free_ char *after = path_join(bench->bundle, "after");
	assert_false(path_exists(after));
	run(bench,
	    "\"poststop\": [{\"path\": \"/bin/sleep\", \"args\": [\"sleep\", \"60\"], "
	    "\"timeout\": 1}]",
	    HOOKS_STOP);
	assert_int_equal(bench->number, -ETIMEDOUT);
	run(bench, "\"poststop\": [{\"path\": \"/bin/nothing-here\"}]", HOOKS_STOP);
	assert_int_equal(bench->number, -EINVAL);
	run(bench, "\"poststop\": [{\"path\": \"sh\"}]", HOOKS_STOP);
	assert_int_equal(bench->number, -EINVAL);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(state_is_told),
		TEST(arguments_are_told),
		TEST(number_is_in_a_network_of_its_own),
		TEST(failures_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
