/* The probe of a parked machine against a monitor that answers as the test says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>
/* After what it needs. */
#include <cmocka.h>

#include "base/memory.h"
#include "base/socket.h"
#include "factory/vm/vm_priv.h"
#include "factory/vm/vm_probe.h"

struct fixture {
	struct loop *loop;
	struct vm *vm;
	int monitor; /* QEMU's end */
	unsigned calls;
	int number;
	char message[128];
};

static int setup(void **state)
{
	struct fixture *f = xnew(struct fixture);
	const struct journal_entry entry = { .id = (char *)"vm0", .state = VM_PARKED };
	int fds[2];

	f->loop = loop_new();
	const struct vm_options options = { .loop = f->loop, .run_dir = "/nowhere" };
	f->vm = vm_new(&options, &entry);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
			 0);
	f->vm->qmp = qmp_new(f->loop, fds[0], &(struct qmp_options){});
	f->monitor = fds[1];
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	vm_free(f->vm);
	close_fd(f->monitor);
	loop_free(f->loop);
	free(f);
	return 0;
}

static void settle(struct fixture *f)
{
	const bool never = false;

	(void)loop_run_until(f->loop, &never, 10);
}

static void say(struct fixture *f, const char *line)
{
	assert_int_equal(write(f->monitor, line, strlen(line)), (ssize_t)strlen(line));
	settle(f);
}

/* Reads one command of the client's and answers it with `body`. */
static void answer(struct fixture *f, const char *command, const char *body)
{
	_cleanup_free_ char *reply = NULL;
	char line[512];

	ssize_t n = read(f->monitor, line, sizeof(line) - 1);
	assert_true(n > 0);
	line[n] = '\0';
	json_t *request = json_loads(line, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(request, "execute")), command);
	char *id = json_dumps(json_object_get(request, "id"), JSON_ENCODE_ANY);
	/* The negotiation has no id. */
	reply = id ? xasprintf("{%s, \"id\": %s}\r\n", body, id) : xasprintf("{%s}\r\n", body);
	free(id);
	json_decref(request);
	say(f, reply);
}

static void greet(struct fixture *f)
{
	say(f, "{\"QMP\": {\"version\": {\"qemu\": {\"major\": 7}}, \"capabilities\": []}}\r\n");
	answer(f, "qmp_capabilities", "\"return\": {}");
}

static void on_probed(struct vm *vm, int number, const struct error *err, void *userdata)
{
	struct fixture *f = userdata;

	assert_ptr_equal(vm, f->vm);
	f->calls++;
	f->number = number;
	snprintf(f->message, sizeof(f->message), "%s", number < 0 ? error_message(err) : "");
}

static void a_paused_machine_is_well(void **state)
{
	struct fixture *f = *state;

	greet(f);
	vm_probe(f->vm, on_probed, f);
	settle(f);
	answer(f, "query-status", "\"return\": {\"status\": \"paused\", \"running\": false}");
	assert_int_equal(f->calls, 1);
	assert_int_equal(f->number, 0);
}

static void any_other_answer_is_a_failure(void **state)
{
	struct fixture *f = *state;
	static const char *const bodies[] = {
		"\"return\": {\"status\": \"running\", \"running\": true}",
		"\"return\": {\"status\": \"io-error\"}",
		"\"return\": {}",
		"\"return\": []",
		"\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}",
	};

	greet(f);
	for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
		vm_probe(f->vm, on_probed, f);
		settle(f);
		answer(f, "query-status", bodies[i]);
		assert_int_equal(f->calls, i + 1);
		assert_true(f->number < 0);
		assert_true(f->message[0] != '\0');
	}
}

static void a_spare_is_asked_too(void **state)
{
	struct fixture *f = *state;

	f->vm->entry.state = VM_SPARE;
	greet(f);
	vm_probe(f->vm, on_probed, f);
	settle(f);
	answer(f, "query-status", "\"return\": {\"status\": \"paused\", \"running\": false}");
	assert_int_equal(f->calls, 1);
	assert_int_equal(f->number, 0);
	vm_probe(f->vm, on_probed, f);
	settle(f);
	answer(f, "query-status", "\"return\": {\"status\": \"inmigrate\", \"running\": false}");
	assert_int_equal(f->calls, 2);
	assert_true(f->number < 0);
}

static void nobody_is_told_of_one_claimed_meanwhile(void **state)
{
	struct fixture *f = *state;

	greet(f);
	vm_probe(f->vm, on_probed, f);
	settle(f);
	f->vm->entry.state = VM_CLAIMED;
	answer(f, "query-status", "\"return\": {\"status\": \"running\"}");
	assert_int_equal(f->calls, 0);
	vm_probe(f->vm, on_probed, f);
	settle(f);
	assert_int_equal(f->calls, 0);
}

static void nobody_is_told_of_one_freed_meanwhile(void **state)
{
	struct fixture *f = *state;

	greet(f);
	vm_probe(f->vm, on_probed, f);
	vm_free(f->vm);
	f->vm = NULL;
	settle(f);
	assert_int_equal(f->calls, 0);
}

#define PROBE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PROBE_TEST(a_paused_machine_is_well),
		PROBE_TEST(any_other_answer_is_a_failure),
		PROBE_TEST(a_spare_is_asked_too),
		PROBE_TEST(nobody_is_told_of_one_claimed_meanwhile),
		PROBE_TEST(nobody_is_told_of_one_freed_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
