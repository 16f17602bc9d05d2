/* A machine's life against a stand-in for QEMU: every edge of the table, every way to die, and
 * that nothing of it is left on the host afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "base/spawn.h"
#include "factory/client/reap.h"
#include "tests/unit/state_table.h"
#include "tests/unit/vm/vm_bench.h"

/* ---- tables */

static void test_edges(void **state _unused_)
{
	assert_states(&vm_states, "spawned: restored warming gone\n"
				  "restored: warming gone\n"
				  "warming: restored spare parked gone\n"
				  "spare: restored gone\n"
				  "parked: claimed gone\n"
				  "claimed: gone\n"
				  "gone:\n");
}

static void test_names(void **state _unused_)
{
	for (int s = VM_SPAWNED; s <= VM_GONE; s++)
		assert_int_equal(vm_state_from_string(vm_state_to_string(s)), s);
	assert_string_equal(vm_state_to_string(VM_GONE + 1), "invalid");
	assert_int_equal(vm_state_from_string("invalid"), -EINVAL);
}

/* ---- the wanted life */

static void test_clone_to_parked(void **state)
{
	struct bench *bench = *state;
	start(bench, "ok");
	assert_int_equal(journaled_state(bench), VM_SPAWNED);
	run_until(bench, VM_PARKED);
	assert_string_equal(strbuf_text(&bench->trace), "restored warming parked ");
	assert_int_equal(journaled_state(bench), VM_PARKED);
	assert_string_equal(vm_sandbox_id(bench->vm), "");
	vm_destroy(bench->vm, NULL);
	vm_destroy(bench->vm, "twice is once");
	expect_gone(bench, "destroyed");
}

static void test_lost_first_request(void **state)
{
	struct bench *bench = *state;
	park(bench, "forgetful");
	vm_destroy(bench->vm, NULL);
	expect_gone(bench, "destroyed");
}

static void test_claim(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	park(bench, "ok");
	claim(bench);
	assert_int_equal(bench->answer, 0);
	assert_true(bench->handover.agent_fd >= 0 && bench->handover.qmp_fd >= 0);
	assert_int_equal(bench->handover.next_stream % 2, 1);
	assert_true(bench->handover.next_stream > 1);
	assert_int_equal(spawn_reap(bench->handover.pidfd, &(int){ 0 }), -EAGAIN);

	assert_false(vm_confirmed(bench->vm));
	vm_confirm(bench->vm);
	assert_int_equal(journal_read(bench->run_dir, vm_id(bench->vm), &entry, NULL), 0);
	assert_int_equal(entry.state, VM_CLAIMED);
	assert_string_equal(entry.sandbox_id, "pod-1");
	assert_true(entry.confirmed);
	assert_int_equal(entry.next_stream, bench->handover.next_stream);
	vm_destroy(bench->vm, "its sandbox is over");
	expect_gone(bench, "its sandbox is over");
}

static void test_handed_over_channel_works(void **state)
{
	struct bench *bench = *state;
	_cleanup_(error_done) struct error err = {};
	ProtobufCMessage *response = NULL;
	Grpc__CheckRequest request = GRPC__CHECK_REQUEST__INIT;
	park(bench, "ok");
	claim(bench);
	struct ttrpc_client *agent = ttrpc_client_new(
		bench->loop, steal_fd(&bench->handover.agent_fd),
		&(struct ttrpc_client_options){ .first_stream = bench->handover.next_stream });
	assert_int_equal(ttrpc_client_call_wait(agent, bench->loop,
						&(struct ttrpc_call_options){
							.service = &grpc__health__descriptor,
							.method = "Version",
							.request = &request.base,
							.timeout_ms = DEADLINE_MS,
						},
						&response, NULL, NULL, &err),
			 0);
	assert_string_equal(((Grpc__VersionCheckResponse *)response)->agent_version, "1.2.3");
	protobuf_c_message_free_unpacked(response, NULL);
	ttrpc_client_free(agent);
	vm_destroy(bench->vm, NULL);
	expect_gone(bench, "destroyed");
}

/* ---- ways to die */

static void test_failures(void **state)
{
	static const struct {
		const char *mode, *why;
	} cases[] = {
		{ "no-start", "QEMU ended with status 1: qemu: unknown ?[31moption" },
		{ "bad-state", "QEMU ended with status 1: qemu: load of migration failed" },
		{ "no-cont", "starting the vCPUs: no" },
		{ "deaf", "warming step \"check\"" },
		{ "odd-version", "warming step \"version\": the agent's version has odd" },
		{ "no-reseed", "warming step \"reseed\": the guest cannot be reseeded" },
		{ "no-mac", "warming step \"mac\": no address" },
		{ "bad-rehearsal", "warming step \"rehearse wait\": the throwaway container" },
		{ "endless-output", "warming step \"rehearse output\"" },
		{ "killed-warming", "QEMU was killed by signal 9" },
		{ "endless-line", "cont was not answered: Message too long" },
		{ "hangs-up", "starting the vCPUs: cont was not answered" },
	};
	struct bench *bench = *state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		start(bench, cases[i].mode);
		expect_gone(bench, cases[i].why);
		vm_free(steal_ptr(bench->vm));
	}
}

/* Answers that belong to nothing change nothing. */
static void test_odd_monitors(void **state)
{
	static const char *const modes[] = { "twice", "chatter" };
	struct bench *bench = *state;
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		park(bench, modes[i]);
		vm_destroy(bench->vm, NULL);
		expect_gone(bench, "destroyed");
		vm_free(steal_ptr(bench->vm));
	}
}

static void test_machine_without_a_card(void **state)
{
	struct bench *bench = *state;
	park(bench, "no-card");
	vm_destroy(bench->vm, NULL);
	expect_gone(bench, "destroyed");
}

static void test_no_program(void **state)
{
	struct bench *bench = *state;
	_cleanup_(error_done) struct error err = {};
	struct vm_options options = options_of(bench);
	strv_add(&bench->manifest.argv, "/nonexistent/qemu");
	assert_int_equal(vm_start(&options, &bench->vm, &err), -ENOENT);
	assert_null(bench->vm);
	assert_non_null(strstr(error_message(&err), "/nonexistent/qemu"));
	_cleanup_free_ char *vms = path_join(bench->run_dir, "vms");
	assert_int_equal(rmdir(vms), 0); /* which means that it is empty */
}

static void test_no_state_file(void **state)
{
	struct bench *bench = *state;
	_cleanup_(error_done) struct error err = {};
	struct vm_options options = options_of(bench);
	replace_string(&bench->manifest.dir, "/nonexistent");
	strv_add(&bench->manifest.argv, self);
	assert_int_equal(vm_start(&options, &bench->vm, &err), -ENOENT);
	assert_non_null(strstr(error_message(&err), "/nonexistent/state"));
}

static void test_killed_in_each_state(void **state)
{
	struct bench *bench = *state;
	for (int s = VM_SPAWNED; s <= VM_PARKED; s++) {
		start_for(bench, (enum vm_state)s);
		assert_int_equal(kill(vm_pid(bench->vm), SIGKILL), 0);
		expect_gone(bench, "QEMU was killed by signal 9");
		vm_free(steal_ptr(bench->vm));
	}
	park(bench, "ok");
	claim(bench);
	assert_int_equal(kill(vm_pid(bench->vm), SIGKILL), 0);
	expect_gone(bench, "QEMU was killed by signal 9");
}

static void test_destroyed_in_each_state(void **state)
{
	struct bench *bench = *state;
	for (int s = VM_SPAWNED; s <= VM_PARKED; s++) {
		start_for(bench, (enum vm_state)s);
		vm_destroy(bench->vm, "not wanted any more");
		expect_gone(bench, "not wanted any more");
		vm_free(steal_ptr(bench->vm));
	}
}

/* Who has the right to may be short of descriptors, say. */
static void test_a_kill_that_fails_is_tried_again(void **state)
{
	struct bench *bench = *state;
	park(bench, "ok");
	setenv("KILN_FAULT", "end.kill=EMFILE", 1);
	vm_destroy(bench->vm, "not wanted any more");
	unsetenv("KILN_FAULT");
	assert_int_equal(kill(vm_pid(bench->vm), 0), 0);
	expect_gone(bench, "not wanted any more");
}

/* Somebody says that it has ended. */
static void test_nothing_of_one_that_lives_is_removed(void **state)
{
	struct bench *bench = *state;
	park(bench, "ok");
	const struct journal_entry said = { .id = (char *)vm_id(bench->vm) };
	assert_int_equal(remains_remove(bench->run_dir, &said, NULL), -EBUSY);
	assert_true(path_exists(vm_share_dir(bench->vm)));
	vm_destroy(bench->vm, "not wanted any more");
	expect_gone(bench, "not wanted any more");
}

static void test_forgotten_in_each_state(void **state)
{
	struct bench *bench = *state;
	for (int s = VM_SPAWNED; s <= VM_PARKED; s++) {
		start_for(bench, (enum vm_state)s);
		_cleanup_free_ char *id = xstrdup(vm_id(bench->vm));
		pid_t pid = vm_pid(bench->vm);
		vm_free(steal_ptr(bench->vm));
		assert_int_equal(kill(pid, 0), 0);
		assert_int_equal(reap_machine(bench->run_dir, id, NULL), 0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		assert_nothing_left(bench, id, pid);
	}
}

static void test_killed_while_being_claimed(void **state)
{
	struct bench *bench = *state;
	park(bench, "ok");
	assert_int_equal(kill(vm_pid(bench->vm), SIGSTOP), 0);
	vm_claim(bench->vm, "pod-1", NULL, on_claimed, bench);
	assert_int_equal(kill(vm_pid(bench->vm), SIGKILL), 0);
	expect_gone(bench, "QEMU was killed by signal 9");
	assert_true(bench->answer < 0);
	assert_int_equal(bench->handover.agent_fd, -EBADF);
}

static void test_destroyed_while_being_claimed(void **state)
{
	struct bench *bench = *state;
	park(bench, "ok");
	vm_claim(bench->vm, "pod-1", NULL, on_claimed, bench);
	vm_destroy(bench->vm, "its claimer went");
	expect_gone(bench, "its claimer went");
	assert_true(bench->answer < 0);
}

/* ---- mounts */

static void test_find_mounts(void **state _unused_)
{
	static const char text[] =
		"22 1 0:20 / /proc rw - proc proc rw\n"
		"40 22 0:30 / /run/k/vms/a/share/c1/rootfs rw shared:1 - overlay overlay rw\n"
		"41 22 0:31 / /run/k/vms/a/share/c1/rootfs/a\\040b\\134c rw - tmpfs tmpfs rw\n"
		"42 22 0:32 / /run/k/vms/ab/share rw - tmpfs tmpfs rw\n"
		"43 22 0:33 / /run/k/vms/a rw - tmpfs tmpfs rw\n"
		"nonsense\n"
		"44 22 0:34 /\n"
		"45 22 0:35 / /run/k/vms/a/\\1 rw - tmpfs tmpfs rw";
	_cleanup_(strv_done) struct strv mounts = {};
	remains_find_mounts(text, "/run/k/vms/a", &mounts);
	assert_int_equal(mounts.count, 4);
	assert_string_equal(mounts.items[0], "/run/k/vms/a/share/c1/rootfs/a b\\c");
	assert_string_equal(mounts.items[1], "/run/k/vms/a/share/c1/rootfs");
	assert_string_equal(mounts.items[2], "/run/k/vms/a/\\1");
	assert_string_equal(mounts.items[3], "/run/k/vms/a");
}

static void test_mounts_go_with_the_machine(void **state)
{
	struct bench *bench = *state;
	park(bench, "ok");
	_cleanup_free_ char *outer = path_join(vm_share_dir(bench->vm), "a b\\\n");
	_cleanup_free_ char *inner = path_join(outer, "inner");
	assert_int_equal(dir_make(outer, 0700, NULL), 0);
	if (mount("outer", outer, "tmpfs", 0, NULL) < 0)
		skip(); /* no right to mount here */
	assert_int_equal(dir_make(inner, 0700, NULL), 0);
	assert_int_equal(mount("inner", inner, "tmpfs", 0, NULL), 0);
	assert_int_equal(mount("again", inner, "tmpfs", 0, NULL), 0);
	vm_destroy(bench->vm, NULL);
	expect_gone(bench, "destroyed");
}

static void test_last_words(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *log = path_join(bench->run_dir, "qemu.log");
	_cleanup_free_ char *none = remains_last_words(bench->run_dir, -1);
	assert_string_equal(none, "QEMU ended");
	assert_int_equal(file_write_atomic(log, "one\ntwo\n\n", 9, 0600, NULL), 0);
	_cleanup_free_ char *two = remains_last_words(bench->run_dir, 256);
	assert_string_equal(two, "QEMU ended with status 1: two");
}

int main(int argc, char **argv)
{
	be_fake_qemu_if_asked(argc, argv);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_edges),
		cmocka_unit_test(test_names),
		LIFE(test_clone_to_parked),
		LIFE(test_lost_first_request),
		LIFE(test_claim),
		LIFE(test_handed_over_channel_works),
		LIFE(test_failures),
		LIFE(test_odd_monitors),
		LIFE(test_machine_without_a_card),
		LIFE(test_no_program),
		LIFE(test_no_state_file),
		LIFE(test_killed_in_each_state),
		LIFE(test_destroyed_in_each_state),
		LIFE(test_a_kill_that_fails_is_tried_again),
		LIFE(test_nothing_of_one_that_lives_is_removed),
		LIFE(test_forgotten_in_each_state),
		LIFE(test_killed_while_being_claimed),
		LIFE(test_destroyed_while_being_claimed),
		cmocka_unit_test(test_find_mounts),
		LIFE(test_mounts_go_with_the_machine),
		LIFE(test_last_words),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
