/* What a factory that died leaves behind, against a stand-in for QEMU: its machines are adopted by
 * the next one or reaped, and a process that only has an old number is spared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/spawn.h"
#include "factory/client/reap.h"
#include "tests/unit/vm/vm_bench.h"

static void test_adopt_parked(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	park(bench, "ok");
	lose(bench, &entry);
	adopt(bench, &entry, true);
	run_until(bench, VM_PARKED);
	assert_string_equal(strbuf_text(&bench->trace), "parked ");
	claim(bench);
	assert_int_equal(bench->answer, 0);
	vm_destroy(bench->vm, NULL);
	expect_gone(bench, "destroyed");
}

static void test_adopt_what_must_end(void **state)
{
	static const struct {
		enum vm_state lost_in;
		bool with_template;
		const char *why;
	} cases[] = {
		{ VM_SPAWNED, true, "it was spawned when the factory died" },
		{ VM_SPARE, true, "it was spare when the factory died" },
		{ VM_RESTORED, true, "it was restored when the factory died" },
		{ VM_WARMING, true, "it was warming when the factory died" },
		{ VM_PARKED, false, "its template does not exist any more" },
	};
	struct bench *bench = *state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(journal_entry_done) struct journal_entry entry = {};
		start_for(bench, cases[i].lost_in);
		lose(bench, &entry);
		adopt(bench, &entry, cases[i].with_template);
		expect_gone(bench, cases[i].why);
		vm_free(steal_ptr(bench->vm));
	}
}

static void test_adopt_parked_that_runs(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	start(bench, "ok");
	run_until(bench, VM_WARMING);
	lose(bench, &entry);
	entry.state = VM_PARKED;
	adopt(bench, &entry, true);
	expect_gone(bench, "QEMU does not say paused");
}

static void test_adopt_dead(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	park(bench, "ok");
	pid_t pid = vm_pid(bench->vm);
	lose(bench, &entry);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	adopt(bench, &entry, true);
	expect_gone(bench, "its process");
}

static void claim_and_lose(struct bench *bench, const char *mode, bool confirm,
			   struct journal_entry *ret_entry)
{
	park(bench, mode);
	claim(bench);
	assert_int_equal(bench->answer, 0);
	if (confirm)
		vm_confirm(bench->vm);
	lose(bench, ret_entry);
}

static void test_adopt_claimed(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	claim_and_lose(bench, "ok", true, &entry);
	adopt(bench, &entry, false);
	assert_int_equal(vm_state(bench->vm), VM_CLAIMED);
	assert_string_equal(vm_sandbox_id(bench->vm), "pod-1");
	assert_true(vm_confirmed(bench->vm));
	assert_int_equal(kill(vm_pid(bench->vm), SIGKILL), 0);
	expect_gone(bench, "QEMU");
}

static void test_adopt_unconfirmed_but_held(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	claim_and_lose(bench, "ok", false, &entry);
	adopt(bench, &entry, true);
	assert_int_equal(vm_state(bench->vm), VM_CLAIMED);
	for (int i = 0; i < 200 && !vm_confirmed(bench->vm); i++)
		loop_run_until(bench->loop, &(bool){ false }, 10);
	assert_true(vm_confirmed(bench->vm));
	vm_destroy(bench->vm, NULL);
	expect_gone(bench, "destroyed");
}

static void test_adopt_unconfirmed_and_unheld(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	claim_and_lose(bench, "unheld", false, &entry);
	adopt(bench, &entry, true);
	expect_gone(bench, "the claimer never got it");
}

static void test_adopt_spares_a_reused_pid(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	park(bench, "ok");
	pid_t pid = vm_pid(bench->vm);
	lose(bench, &entry);
	entry.start_time--;
	_cleanup_free_ char *dir = remains_dir(bench->run_dir, entry.id);
	assert_int_equal(remains_note_process(dir, pid, entry.start_time, NULL), 0);
	adopt(bench, &entry, true);
	run_until(bench, VM_GONE);
	assert_non_null(strstr(bench->why, "is gone"));
	assert_int_equal(kill(pid, 0), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* ---- where a process cannot be looked at */

/* Leaves this many descriptors to be opened; the limit of before. */
static rlim_t leave_descriptors(unsigned left)
{
	struct rlimit limit;
	int fd = open("/", O_PATH | O_CLOEXEC);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	rlim_t before = limit.rlim_cur;
	limit.rlim_cur = (rlim_t)fd + left;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	return before;
}

static void give_descriptors(rlim_t before)
{
	struct rlimit limit;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = before;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void test_adopt_claimed_without_descriptors(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	claim_and_lose(bench, "ok", true, &entry);
	entry.claimer_pid = getpid();
	assert_int_equal(process_start_time(getpid(), &entry.claimer_start), 0);
	rlim_t before = leave_descriptors(0);
	adopt(bench, &entry, false);
	expect_claimed_for(bench, 2 * GRACE_MS);
	give_descriptors(before);
	while (bench->vm->pidfd < 0 && vm_state(bench->vm) == VM_CLAIMED)
		loop_run_until(bench->loop, &(bool){ false }, 10);
	assert_int_equal(kill(vm_pid(bench->vm), SIGKILL), 0);
	expect_gone(bench, "QEMU");
}

/* Then its process is known, and its monitor cannot be connected to. */
static void test_adopt_unconfirmed_without_descriptors(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	claim_and_lose(bench, "ok", false, &entry);
	rlim_t before = leave_descriptors(0);
	adopt(bench, &entry, true);
	give_descriptors(before);
	int pidfd = pidfd_open(entry.pid, 0);
	assert_true(pidfd >= 0);
	vm_watch_process(bench->vm, pidfd);
	before = leave_descriptors(0);
	expect_claimed_for(bench, 5 * GRACE_MS); /* longer than until it is tried again */
	assert_false(vm_confirmed(bench->vm));
	give_descriptors(before);
	while (!vm_confirmed(bench->vm) && vm_state(bench->vm) == VM_CLAIMED)
		loop_run_until(bench->loop, &(bool){ false }, 10);
	assert_true(vm_confirmed(bench->vm));
	vm_destroy(bench->vm, NULL);
	expect_gone(bench, "destroyed");
}

/* Nobody has it: it is one machine less, but not one that goes on by itself. */
static void test_adopt_parked_without_descriptors(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	park(bench, "ok");
	lose(bench, &entry);
	rlim_t before = leave_descriptors(0);
	adopt(bench, &entry, true);
	assert_int_not_equal(vm_state(bench->vm), VM_GONE);
	give_descriptors(before);
	expect_gone(bench, "cannot be looked at");
}

/* The same of a claimed one that is released meanwhile. */
static void test_release_without_descriptors(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	claim_and_lose(bench, "ok", true, &entry);
	rlim_t before = leave_descriptors(0);
	adopt(bench, &entry, false);
	vm_destroy(bench->vm, "released");
	give_descriptors(before);
	expect_gone(bench, "released");
}

/* ---- machines that a claimer makes for itself */

static void start_own(struct bench *bench)
{
	struct vm_options options = options_of(bench);
	options.sandbox_id = "pod-2";
	set_fake_argv(&bench->manifest.argv, self, "ok");
	assert_int_equal(vm_start(&options, &bench->vm, NULL), 0);
}

static void test_adopt_what_its_claimer_makes(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	_cleanup_(error_done) struct error err = {};
	start_own(bench);
	assert_int_equal(journaled_state(bench), VM_SPAWNED);
	lose(bench, &entry);
	assert_int_equal(entry.claimer_pid, getpid());
	assert_string_equal(entry.sandbox_id, "pod-2");
	adopt(bench, &entry, false);
	assert_true(vm_confirmed(bench->vm));
	expect_claimed_for(bench, 2 * GRACE_MS);
	vm_destroy(bench->vm, NULL);
	expect_gone(bench, "destroyed");
	vm_free(steal_ptr(bench->vm));

	struct vm_options options = options_of(bench);
	entry.pid = 0;
	assert_int_equal(vm_adopt(&options, &entry, &bench->vm, &err), -EBUSY);
}

/* Whether its claimer lives is not known. */
static void test_adopt_what_is_made_without_descriptors(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	start_own(bench);
	lose(bench, &entry);
	rlim_t before = leave_descriptors(0);
	adopt(bench, &entry, false);
	expect_claimed_for(bench, 2 * GRACE_MS);
	give_descriptors(before);
	vm_destroy(bench->vm, NULL);
	expect_gone(bench, "destroyed");
}

static void test_adopt_what_its_dead_claimer_made(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	start_own(bench);
	run_until(bench, VM_PARKED);
	lose(bench, &entry);
	entry.claimer_start--;
	adopt(bench, &entry, true);
	expect_gone(bench, "died while making it");
}

/* ---- reaping */

/* The factory died between starting QEMU and writing its pid down. */
static void test_reap_without_pid(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	_cleanup_free_ char *qemu = path_join(bench->run_dir, "qemu-fake");
	_cleanup_free_ char *program = realpath(self, NULL);
	_cleanup_free_ char *output = NULL;
	if (geteuid() != 0)
		skip(); /* only a program of root's is taken for QEMU */
	assert_int_equal(
		spawn_and_wait(SPAWN_ARGV("install", "-m", "755", program, qemu), &output, NULL),
		0);
	set_fake_argv(&bench->manifest.argv, qemu, "ok");
	struct vm_options options = options_of(bench);
	assert_int_equal(vm_start(&options, &bench->vm, NULL), 0);
	run_until(bench, VM_PARKED);
	pid_t pid = vm_pid(bench->vm);
	lose(bench, &entry);
	entry.pid = 0;
	entry.start_time = 0;
	entry.state = VM_SPAWNED;
	assert_int_equal(journal_write(bench->run_dir, &entry, NULL), 0);
	assert_int_equal(reap_machine(bench->run_dir, entry.id, NULL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_nothing_left(bench, entry.id, pid);
}

static void test_reap_of_nothing(void **state)
{
	struct bench *bench = *state;
	assert_int_equal(reap_machine(bench->run_dir, "nobody", NULL), 0);
	assert_int_equal(reap_machine(bench->run_dir, "../x", NULL), -EINVAL);
}

static void test_reap_spares_a_reused_pid(void **state)
{
	struct bench *bench = *state;
	struct journal_entry entry = { .id = (char *)"old",
				       .template_id = (char *)"t",
				       .template_name = (char *)"default",
				       .state = VM_PARKED,
				       .pid = getpid(),
				       .start_time = 1 };
	assert_int_equal(journal_write(bench->run_dir, &entry, NULL), 0);
	assert_int_equal(reap_machine(bench->run_dir, "old", NULL), 0);
	assert_int_equal(journal_read(bench->run_dir, "old", &entry, NULL), -ENOENT);
}

int main(int argc, char **argv)
{
	be_fake_qemu_if_asked(argc, argv);
	const struct CMUnitTest tests[] = {
		LIFE(test_adopt_parked),
		LIFE(test_adopt_what_must_end),
		LIFE(test_adopt_parked_that_runs),
		LIFE(test_adopt_dead),
		LIFE(test_adopt_claimed),
		LIFE(test_adopt_unconfirmed_but_held),
		LIFE(test_adopt_unconfirmed_and_unheld),
		LIFE(test_adopt_spares_a_reused_pid),
		LIFE(test_adopt_claimed_without_descriptors),
		LIFE(test_adopt_unconfirmed_without_descriptors),
		LIFE(test_adopt_parked_without_descriptors),
		LIFE(test_release_without_descriptors),
		LIFE(test_adopt_what_its_claimer_makes),
		LIFE(test_adopt_what_is_made_without_descriptors),
		LIFE(test_adopt_what_its_dead_claimer_made),
		LIFE(test_reap_without_pid),
		LIFE(test_reap_of_nothing),
		LIFE(test_reap_spares_a_reused_pid),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
