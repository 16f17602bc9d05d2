/* Machines that grow to their claim, or are booted for it, against a stand-in for QEMU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/strbuf.h"
#include "base/strv.h"
#include "factory/vm/vm_priv.h"
#include "tests/unit/vm/fake_qemu.h"

enum { DEADLINE_MS = 20 * 1000, SHORT_MS = 100 };

#define TEMPLATE_ID "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static char self[4096]; /* path of this binary */

struct bench {
	char *run_dir;
	struct loop *loop;
	struct template_manifest manifest;
	struct vm *vm;
	struct strbuf trace; /* states, in order */
	enum vm_state wanted;
	bool done;
	char *why;        /* of the end */
	int number;       /* of the claim or the growth; 1: no answer yet */
	char *error;      /* its sentence */
	bool handed_over; /* it came with descriptors */
};

static int setup(void **state)
{
	struct bench *bench = xnew(struct bench);
	char path[] = "/tmp/kiln-test-size-XXXXXX";
	assert_non_null(mkdtemp(path));
	bench->run_dir = xstrdup(path);
	bench->loop = loop_new();
	bench->number = 1;
	memcpy(bench->manifest.id, TEMPLATE_ID, sizeof(TEMPLATE_ID));
	bench->manifest.name = xstrdup("default");
	bench->manifest.dir = path_join(path, "template");
	bench->manifest.vcpus = 1;
	bench->manifest.spare_vcpus = 3;
	bench->manifest.memory_bytes = (uint64_t)256 << 20;
	bench->manifest.max_memory_mib = 512;
	bench->manifest.boot_room_kib = 8192;
	assert_int_equal(dir_make(bench->manifest.dir, 0700, NULL), 0);
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;
	vm_free(bench->vm);
	loop_free(bench->loop);
	strv_done(&bench->manifest.argv);
	strv_done(&bench->manifest.boot_argv);
	free(bench->manifest.name);
	free(bench->manifest.dir);
	strbuf_done(&bench->trace);
	free(bench->why);
	free(bench->error);
	assert_int_equal(path_remove(bench->run_dir, NULL), 0);
	free(bench->run_dir);
	free(bench);
	return 0;
}

static void on_state(_unused_ struct vm *vm, _unused_ enum vm_state old, enum vm_state now,
		     const struct error *why, void *userdata)
{
	struct bench *bench = userdata;
	strbuf_addf(&bench->trace, "%s ", vm_state_to_string(now));
	if (why)
		replace_string(&bench->why, error_message(why));
	bench->done = bench->done || now == bench->wanted || now == VM_GONE;
}

static void run_until(struct bench *bench, enum vm_state wanted)
{
	bench->wanted = wanted;
	bench->done = vm_state(bench->vm) == wanted;
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
	if (vm_state(bench->vm) != wanted)
		fail_msg("it ended: %s", bench->why);
}

static void run_until_answer(struct bench *bench)
{
	bench->wanted = VM_GONE;
	bench->done = bench->number != 1;
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
}

static void start(struct bench *bench, const char *mode, const struct vm_size *boot)
{
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *file = path_join(bench->manifest.dir, "state");
	struct strv *argv = boot ? &bench->manifest.boot_argv : &bench->manifest.argv;
	const struct vm_options options = { .loop = bench->loop,
					    .manifest = &bench->manifest,
					    .run_dir = bench->run_dir,
					    .boot = boot,
					    .on_state = on_state,
					    .userdata = bench };
	if (!boot)
		assert_int_equal(file_write_atomic(file, "state", 5, 0600, NULL), 0);
	strv_add(argv, self);
	strv_add(argv, "fake-qemu");
	strv_add(argv, mode);
	strv_add(argv, "{{share_dir}}");
	if (boot)
		strv_add(argv, "{{vcpus}}/{{last_vcpu}}/{{memory_kib}}/{{max_memory_kib}}");
	if (vm_clone(&options, &bench->vm, &err) < 0)
		fail_msg("%s", error_message(&err));
	run_until(bench, VM_PARKED);
}

static void on_claimed(_unused_ struct vm *vm, int number, const struct vm_handover *handover,
		       const struct error *err, void *userdata)
{
	struct bench *bench = userdata;
	assert_int_equal(bench->number, 1);
	bench->number = number;
	if (number < 0)
		replace_string(&bench->error, error_message(err));
	if (handover) {
		bench->handed_over = handover->agent_fd >= 0 && handover->qmp_fd >= 0 &&
				     handover->pidfd >= 0 && handover->next_stream % 2 == 1;
		close_fd(handover->agent_fd);
		close_fd(handover->qmp_fd);
		close_fd(handover->pidfd);
	}
	bench->done = true;
}

static void claim(struct bench *bench, uint32_t vcpus, uint32_t memory_mib)
{
	const struct vm_size size = { vcpus, memory_mib };
	vm_claim(bench->vm, "pod-1", &size, on_claimed, bench);
	run_until_answer(bench);
}

static void expect_size(struct bench *bench, uint32_t vcpus, uint32_t memory_mib)
{
	assert_int_equal(bench->number, 0);
	assert_true(bench->handed_over);
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
	start(bench, "no-device", NULL);
	claim(bench, 1, 200);
	expect_size(bench, 1, 256);
}

static void test_grows_in_vcpus(void **state)
{
	struct bench *bench = *state;
	start(bench, "no-device", NULL);
	claim(bench, 4, 0);
	expect_size(bench, 4, 256);
}

static void test_grows_in_memory(void **state)
{
	struct bench *bench = *state;
	start(bench, "ok", NULL);
	claim(bench, 0, 401);
	expect_size(bench, 1, 401);
}

static void test_grows_in_both(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	start(bench, "ok", NULL);
	claim(bench, 2, 512);
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
		{ "ok", "it cannot grow to 5 vCPUs and 0 MiB, but to 4 and 512", 5, 0 },
		{ "ok", "it cannot grow to 0 vCPUs and 513 MiB, but to 4 and 512", 0, 513 },
	};
	struct bench *bench = *state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bench->number = 1;
		strv_done(&bench->manifest.argv);
		bench->manifest.argv = (struct strv){};
		start(bench, cases[i].mode, NULL);
		claim(bench, cases[i].vcpus, cases[i].memory_mib);
		assert_true(bench->number < 0);
		if (!strstr(bench->error, cases[i].why))
			fail_msg("\"%s\" does not say \"%s\"", bench->error, cases[i].why);
		run_until(bench, VM_GONE);
		vm_free(steal_ptr(bench->vm));
	}
}

static void on_grown(struct growth *growth, int number, const struct error *err, void *userdata)
{
	struct bench *bench = userdata;
	bench->number = number;
	replace_string(&bench->error, number < 0 ? error_message(err) : "");
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
	start(bench, "half", NULL);
	grow(bench, 1, 64 << 20);
	run_until_answer(bench);
	assert_int_equal(bench->number, -ETIMEDOUT);
	assert_string_equal(bench->error,
			    "the guest does not grow: after 100 ms its vCPUs are online, and 32 of "
			    "64 MiB are added");
	vm_destroy(bench->vm, NULL);
	run_until(bench, VM_GONE);
}

static void test_freed_while_it_grows(void **state)
{
	struct bench *bench = *state;
	start(bench, "ok", NULL);
	growth_free(grow(bench, 1, 64 << 20));
	vm_destroy(bench->vm, NULL);
	run_until(bench, VM_GONE);
	assert_int_equal(bench->number, 1);
}

static void test_destroyed_while_it_grows(void **state)
{
	struct bench *bench = *state;
	const struct vm_size size = { 2, 512 };
	start(bench, "half", NULL);
	vm_claim(bench->vm, "pod-1", &size, on_claimed, bench);
	while (!bench->vm->growth) {
		const bool never = false;
		(void)loop_run_until(bench->loop, &never, 1);
	}
	vm_destroy(bench->vm, "its factory ends");
	run_until(bench, VM_GONE);
	assert_true(bench->number < 0);
	assert_string_equal(bench->error, "its factory ends");
}

/* ---- booting */

static void test_boots_without_a_state(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	_cleanup_free_ char *arguments = NULL;
	start(bench, "ok", &(struct vm_size){ 2, 300 });
	assert_string_equal(strbuf_text(&bench->trace), "warming parked ");
	assert_int_equal(journal_read(bench->run_dir, vm_id(bench->vm), &entry, NULL), 0);
	assert_true(entry.booted);
	_cleanup_free_ char *path = xasprintf("/proc/%d/cmdline", (int)vm_pid(bench->vm));
	size_t len = 0;
	assert_int_equal(file_read(path, 65536, &arguments, &len, NULL), 0);
	assert_non_null(memmem(arguments, len, "2/1/307200/315392", 17));
	claim(bench, 0, 0);
	expect_size(bench, 2, 300);
}

static void test_booted_one_is_not_adopted_as_parked(void **state)
{
	struct bench *bench = *state;
	struct journal_entry entry = {};
	const struct vm_options options = { .loop = bench->loop,
					    .manifest = &bench->manifest,
					    .run_dir = bench->run_dir,
					    .on_state = on_state,
					    .userdata = bench };
	start(bench, "ok", &(struct vm_size){ 2, 300 });
	assert_int_equal(journal_read(bench->run_dir, vm_id(bench->vm), &entry, NULL), 0);
	vm_free(steal_ptr(bench->vm)); /* the factory dies */
	assert_int_equal(vm_adopt(&options, &entry, &bench->vm, NULL), 0);
	run_until(bench, VM_GONE);
	assert_string_equal(bench->why, "it was booted for a claim that is over");
	journal_entry_done(&entry);
}

#define SIZE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(int argc, char **argv)
{
	if (argc >= 3 && str_equal(argv[1], "fake-qemu"))
		return fake_qemu_main(argv);
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
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
