/* Machines that grow to their claim, or are booted for it, against a stand-in for QEMU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/vm/vm_bench.h"

enum { SHORT_MS = 100 };

static int setup_with_room(void **state)
{
	setup(state);
	struct bench *bench = *state;
	bench->manifest.vcpus = 1;
	bench->manifest.spare_vcpus = 3;
	bench->manifest.memory_bytes = (uint64_t)256 << 20;
	bench->manifest.max_memory_mib = 512;
	bench->manifest.boot_room_kib = 8192;
	return 0;
}

/* A machine for which there is no state to start from. */
static void boot(struct bench *bench, const struct vm_size *size)
{
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *file = path_join(bench->manifest.dir, "state");
	struct strv *argv = &bench->manifest.boot_argv;
	struct vm_options options = options_of(bench);
	options.boot = size;
	assert_int_equal(unlink(file), 0);
	set_fake_argv(argv, self, "ok");
	strv_add(argv, "{{vcpus}}/{{last_vcpu}}/{{memory_kib}}/{{max_memory_kib}}");
	if (vm_start(&options, &bench->vm, &err) < 0)
		fail_msg("%s", error_message(&err));
	run_until(bench, VM_PARKED);
}

static void claim_size(struct bench *bench, uint32_t vcpus, uint32_t memory_mib)
{
	const struct vm_size size = { vcpus, memory_mib };
	vm_claim(bench->vm, "pod-1", &size, on_claimed, bench);
	run_until_answer(bench);
}

static void expect_size(struct bench *bench, uint32_t vcpus, uint32_t memory_mib)
{
	assert_int_equal(bench->answer, 0);
	assert_true(bench->handover.agent_fd >= 0 && bench->handover.qmp_fd >= 0);
	assert_true(bench->handover.pidfd >= 0);
	assert_int_equal(bench->handover.next_stream % 2, 1);
	assert_int_equal(vm_state(bench->vm), VM_CLAIMED);
	assert_int_equal(vm_size(bench->vm).vcpus, vcpus);
	assert_int_equal(vm_size(bench->vm).memory_mib, memory_mib);
	vm_destroy(bench->vm, NULL);
	run_until(bench, VM_GONE);
}

/* ---- growing */

static void test_large_enough_does_not_grow(void **state)
{
	struct bench *bench = *state;
	park(bench, "no-device");
	claim_size(bench, 1, 200);
	expect_size(bench, 1, 256);
}

static void test_grows_in_vcpus(void **state)
{
	struct bench *bench = *state;
	park(bench, "no-device");
	claim_size(bench, 4, 0);
	expect_size(bench, 4, 256);
}

static void test_grows_in_memory(void **state)
{
	struct bench *bench = *state;
	park(bench, "ok");
	claim_size(bench, 0, 401);
	expect_size(bench, 1, 401);
}

static void test_grows_in_both(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	park(bench, "ok");
	claim_size(bench, 2, 512);
	assert_int_equal(journal_read(bench->run_dir, vm_id(bench->vm), &entry, NULL), 0);
	assert_int_equal(entry.state, VM_CLAIMED);
	assert_true(entry.next_stream > 1);
	expect_size(bench, 2, 512);
}

static void test_fails_closed(void **state)
{
	static const struct {
		const char *mode, *why;
		uint32_t vcpus, memory_mib;
	} cases[] = {
		{ "few-cpus", "the guest does not grow: its vCPUs: 2 vCPUs are to come", 3, 0 },
		{ "no-device", "the guest does not grow: its memory device: no", 2, 512 },
		{ "killed-growing", "killed by signal 9", 2, 0 },
		{ "ok", "it cannot grow to 5 vCPUs and 0 MiB, only to 4 and 512", 5, 0 },
		{ "ok", "it cannot grow to 0 vCPUs and 513 MiB, only to 4 and 512", 0, 513 },
	};
	struct bench *bench = *state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bench->answer = 1;
		park(bench, cases[i].mode);
		claim_size(bench, cases[i].vcpus, cases[i].memory_mib);
		assert_true(bench->answer < 0);
		if (!strstr(bench->answer_why, cases[i].why))
			fail_msg("\"%s\" does not say \"%s\"", bench->answer_why, cases[i].why);
		run_until(bench, VM_GONE);
		vm_free(steal_ptr(bench->vm));
	}
}

static void on_grown(struct growth *growth, int number, const struct error *err, void *userdata)
{
	struct bench *bench = userdata;
	bench->answer = number;
	replace_string(&bench->answer_why, number < 0 ? error_message(err) : "");
	growth_free(growth);
	bench->done = true;
}

static struct growth *grow(struct bench *bench, uint32_t vcpus, uint64_t memory_bytes)
{
	return growth_start(&(struct growth_options){
		.loop = bench->loop,
		.qmp = bench->vm->qmp,
		.agent = bench->vm->agent,
		.object = "vm",
		.vcpus = vcpus,
		.memory_bytes = memory_bytes,
		.deadline_ms = SHORT_MS,
		.on_done = on_grown,
		.userdata = bench,
	});
}

static void test_half_of_the_memory_is_a_failure(void **state)
{
	struct bench *bench = *state;
	park(bench, "half");
	grow(bench, 1, 64 << 20);
	run_until_answer(bench);
	assert_int_equal(bench->answer, -ETIMEDOUT);
	assert_string_equal(bench->answer_why,
			    "the guest does not grow: after 100 ms its vCPUs are online, and 32 of "
			    "64 MiB are added");
	vm_destroy(bench->vm, NULL);
	run_until(bench, VM_GONE);
}

static void test_freed_while_it_grows(void **state)
{
	struct bench *bench = *state;
	park(bench, "ok");
	growth_free(grow(bench, 1, 64 << 20));
	vm_destroy(bench->vm, NULL);
	run_until(bench, VM_GONE);
	assert_int_equal(bench->answer, 1);
}

static void test_destroyed_while_it_grows(void **state)
{
	struct bench *bench = *state;
	const struct vm_size size = { 2, 512 };
	park(bench, "half");
	vm_claim(bench->vm, "pod-1", &size, on_claimed, bench);
	while (!bench->vm->growth) {
		const bool never = false;
		(void)loop_run_until(bench->loop, &never, 1);
	}
	vm_destroy(bench->vm, "its factory ends");
	run_until(bench, VM_GONE);
	assert_true(bench->answer < 0);
	assert_string_equal(bench->answer_why, "its factory ends");
}

/* ---- booting */

static void test_boots_without_a_state(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	_cleanup_free_ char *arguments = NULL;
	boot(bench, &(struct vm_size){ 2, 300 });
	assert_string_equal(strbuf_text(&bench->trace), "warming parked ");
	assert_int_equal(journal_read(bench->run_dir, vm_id(bench->vm), &entry, NULL), 0);
	assert_true(entry.booted);
	_cleanup_free_ char *path = xasprintf("/proc/%d/cmdline", (int)vm_pid(bench->vm));
	size_t len = 0;
	assert_int_equal(file_read(path, 65536, &arguments, &len, NULL), 0);
	assert_non_null(memmem(arguments, len, "2/1/307200/315392", 17));
	claim_size(bench, 0, 0);
	expect_size(bench, 2, 300);
}

static void test_booted_one_is_not_adopted_as_parked(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	boot(bench, &(struct vm_size){ 2, 300 });
	lose(bench, &entry);
	adopt(bench, &entry, true);
	run_until(bench, VM_GONE);
	assert_string_equal(bench->why, "it was booted for a claim that is over");
}

#define SIZE(test) cmocka_unit_test_setup_teardown(test, setup_with_room, teardown)

int main(int argc, char **argv)
{
	be_fake_qemu_if_asked(argc, argv);
	const struct CMUnitTest tests[] = {
		SIZE(test_large_enough_does_not_grow),
		SIZE(test_grows_in_vcpus),
		SIZE(test_grows_in_memory),
		SIZE(test_grows_in_both),
		SIZE(test_fails_closed),
		SIZE(test_half_of_the_memory_is_a_failure),
		SIZE(test_freed_while_it_grows),
		SIZE(test_destroyed_while_it_grows),
		SIZE(test_boots_without_a_state),
		SIZE(test_booted_one_is_not_adopted_as_parked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
