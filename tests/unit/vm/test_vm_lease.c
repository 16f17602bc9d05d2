/* Leases against a stand-in for QEMU: a claimed machine lives as long as its claimer, and a moment
 * more for another to take it over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/wait.h>

#include "tests/unit/hidden_proc.h"
#include "tests/unit/vm/vm_bench.h"

/* Another process that might have claimed a machine. */
static pid_t claimer_new(void)
{
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		pause();
		_exit(0);
	}
	return pid;
}

static void claimer_end(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void claim_for(struct bench *bench, pid_t claimer)
{
	park(bench, "ok");
	claim(bench);
	vm_lease(bench->vm, claimer);
	vm_confirm(bench->vm);
}

static void test_lease_ends_with_the_claimer(void **state)
{
	struct bench *bench = *state;
	pid_t claimer = claimer_new();
	claim_for(bench, claimer);
	expect_claimed_for(bench, 2 * GRACE_MS);
	claimer_end(claimer);
	expect_claimed_for(bench, GRACE_MS / 3);
	expect_gone(bench, "died, and nobody took it over");
}

static void test_lease_is_renewed(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	pid_t first = claimer_new(), second = claimer_new();
	claim_for(bench, first);
	claimer_end(first);
	expect_claimed_for(bench, GRACE_MS / 3);
	vm_lease(bench->vm, second);
	vm_lease(bench->vm, second);
	vm_lease(bench->vm, 0); /* of another pid namespace: changes nothing */
	expect_claimed_for(bench, 2 * GRACE_MS);
	assert_int_equal(journal_read(bench->run_dir, vm_id(bench->vm), &entry, NULL), 0);
	assert_int_equal(entry.claimer_pid, second);
	claimer_end(second);
	expect_gone(bench, "died, and nobody took it over");
}

static void test_lease_of_a_dead_one(void **state)
{
	struct bench *bench = *state;
	pid_t claimer = claimer_new();
	claimer_end(claimer);
	claim_for(bench, claimer);
	expect_gone(bench, "died, and nobody took it over");
}

static void test_lease_outlives_the_factory(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	pid_t claimer = claimer_new();
	claim_for(bench, claimer);
	lose(bench, &entry);
	adopt(bench, &entry, false);
	expect_claimed_for(bench, 2 * GRACE_MS);
	claimer_end(claimer);
	expect_gone(bench, "died, and nobody took it over");
}

static void test_lease_whose_claimer_died_with_the_factory(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	pid_t claimer = claimer_new();
	claim_for(bench, claimer);
	lose(bench, &entry);
	claimer_end(claimer);
	adopt(bench, &entry, false);
	expect_claimed_for(bench, GRACE_MS / 3);
	expect_gone(bench, "died, and nobody took it over");
}

/* As the factory, a user, is to a shim, which is root. */
static bool a_hidden_claimer_keeps_it(void *userdata _unused_)
{
	void *state = NULL;
	if (access(self, X_OK) < 0)
		_exit(HIDDEN_NOT_HERE);
	assert_int_equal(setup(&state), 0);
	struct bench *bench = state;
	claim_for(bench, getppid());
	expect_claimed_for(bench, 2 * GRACE_MS);
	vm_destroy(bench->vm, NULL);
	expect_gone(bench, "destroyed");
	return teardown(&state) == 0;
}

static void test_lease_of_one_that_is_hidden(void **state _unused_)
{
	run_with_proc_hidden(a_hidden_claimer_keeps_it, NULL);
}

int main(int argc, char **argv)
{
	be_fake_qemu_if_asked(argc, argv);
	const struct CMUnitTest tests[] = {
		LIFE(test_lease_ends_with_the_claimer),
		LIFE(test_lease_is_renewed),
		LIFE(test_lease_of_a_dead_one),
		LIFE(test_lease_outlives_the_factory),
		LIFE(test_lease_whose_claimer_died_with_the_factory),
		cmocka_unit_test(test_lease_of_one_that_is_hidden),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
