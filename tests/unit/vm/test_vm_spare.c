/* Spares against a stand-in for QEMU: a machine that comes up half-way, waits, and goes on when it
 * is used; or is wanted, or dies, before it got so far. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/vm/vm_bench.h"

static void test_spare_waits_until_it_is_used(void **state)
{
	struct bench *bench = *state;
	start_as(bench, "ok", true);
	uint64_t begun_ns = vm_spawned_ns(bench->vm);
	run_until(bench, VM_SPARE);
	pid_t pid = vm_pid(bench->vm);
	assert_int_equal(journaled_state(bench), VM_SPARE);
	assert_false(loop_run_until(bench->loop, &(const bool){ false }, 50));
	assert_int_equal(vm_state(bench->vm), VM_SPARE);
	vm_use_spare(bench->vm);
	assert_true(vm_spawned_ns(bench->vm) > begun_ns);
	run_until(bench, VM_PARKED);
	assert_string_equal(strbuf_text(&bench->trace),
			    "restored warming spare restored warming parked ");
	assert_int_equal(vm_pid(bench->vm), pid);
	vm_destroy(bench->vm, NULL);
	expect_gone(bench, "destroyed");
}

static void test_spare_that_is_wanted_before_it_is_there(void **state)
{
	struct bench *bench = *state;
	start_as(bench, "ok", true);
	vm_use_spare(bench->vm);
	run_until(bench, VM_PARKED);
	assert_string_equal(strbuf_text(&bench->trace), "restored warming parked ");
	vm_destroy(bench->vm, NULL);
	expect_gone(bench, "destroyed");
}

static void test_spare_that_is_wanted_as_it_comes_up(void **state)
{
	struct bench *bench = *state;
	start_as(bench, "ok", true);
	run_until(bench, VM_WARMING);
	vm_use_spare(bench->vm);
	run_until(bench, VM_PARKED);
	assert_string_equal(strbuf_text(&bench->trace), "restored warming parked ");
	vm_destroy(bench->vm, NULL);
	expect_gone(bench, "destroyed");
}

static void test_spare_that_is_wanted_as_it_is_stopped(void **state)
{
	struct bench *bench = *state;
	int release;
	start_as(bench, "held-stop", true);
	run_until(bench, VM_WARMING);
	for (int ms = 0; bench->vm->warm && ms < DEADLINE_MS; ms++)
		loop_run_until(bench->loop, &(const bool){ false }, 1);
	assert_null(bench->vm->warm);
	assert_int_equal(vm_state(bench->vm), VM_WARMING);
	vm_use_spare(bench->vm);
	assert_int_equal(vm_connect_in(vm_dir(bench->vm), "shim.sock", &release, NULL), 0);
	run_until(bench, VM_RESTORED);
	run_until(bench, VM_WARMING);
	assert_string_equal(strbuf_text(&bench->trace), "restored warming restored warming ");
	vm_destroy(bench->vm, NULL);
	expect_gone(bench, "destroyed");
	close_fd(release);
}

static void test_spare_that_does_not_come_up(void **state)
{
	struct bench *bench = *state;
	start_as(bench, "no-sandbox", true);
	expect_gone(bench, "warming step \"rehearse sandbox\": no room");
	assert_string_equal(strbuf_text(&bench->trace), "restored warming gone ");
}

static void test_spare_that_cannot_be_loaded(void **state)
{
	struct bench *bench = *state;
	start_as(bench, "bad-state", true);
	expect_gone(bench, "load of migration failed");
}

static void test_spare_that_dies_as_it_is_wanted(void **state)
{
	struct bench *bench = *state;
	start_as(bench, "ok", true);
	run_until(bench, VM_SPARE);
	vm_destroy(bench->vm, "not needed");
	vm_use_spare(bench->vm);
	expect_gone(bench, "not needed");
	assert_string_equal(strbuf_text(&bench->trace), "restored warming spare gone ");
}

int main(int argc, char **argv)
{
	be_fake_qemu_if_asked(argc, argv);
	const struct CMUnitTest tests[] = {
		LIFE(test_spare_waits_until_it_is_used),
		LIFE(test_spare_that_is_wanted_before_it_is_there),
		LIFE(test_spare_that_is_wanted_as_it_comes_up),
		LIFE(test_spare_that_is_wanted_as_it_is_stopped),
		LIFE(test_spare_that_does_not_come_up),
		LIFE(test_spare_that_cannot_be_loaded),
		LIFE(test_spare_that_dies_as_it_is_wanted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
