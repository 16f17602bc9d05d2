/* A machine's life against a stand-in for QEMU: every edge of the table, every way to die, and
 * that nothing of it is left on the host afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/id.h"
#include "base/spawn.h"
#include "base/strbuf.h"
#include "base/strv.h"
#include "factory/vm/remains.h"
#include "factory/vm/vm_priv.h"
#include "tests/unit/vm/fake_qemu.h"

enum { DEADLINE_MS = 20 * 1000, GRACE_MS = 300 };

#define TEMPLATE_ID "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static char self[4096]; /* path of this binary */

struct bench {
	char *run_dir;
	struct loop *loop;
	struct template_manifest manifest;
	struct vm *vm;
	enum vm_state wanted; /* done is set when it is reached */
	bool done;
	struct strbuf trace; /* "spawned>restored ..." */
	char *why;
	vm_claim_fn on_claimed;
	int claim_number; /* 1: no answer yet */
	struct vm_handover handover;
};

static int setup(void **state)
{
	struct bench *bench = xnew(struct bench);
	char path[] = "/tmp/kiln-test-vm-XXXXXX";
	assert_non_null(mkdtemp(path));
	bench->run_dir = xstrdup(path);
	bench->loop = loop_new();
	bench->claim_number = 1;
	bench->handover = (struct vm_handover){ -EBADF, -EBADF, -EBADF, 0 };
	memcpy(bench->manifest.id, TEMPLATE_ID, sizeof(TEMPLATE_ID));
	bench->manifest.name = xstrdup("default");
	bench->manifest.dir = path_join(path, "template");
	assert_int_equal(dir_make(bench->manifest.dir, 0700, NULL), 0);
	_cleanup_free_ char *file = path_join(bench->manifest.dir, "state");
	assert_int_equal(file_write_atomic(file, "state", 5, 0600, NULL), 0);
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;
	vm_free(bench->vm);
	close_fd(bench->handover.agent_fd);
	close_fd(bench->handover.qmp_fd);
	close_fd(bench->handover.pidfd);
	loop_free(bench->loop);
	strv_done(&bench->manifest.argv);
	free(bench->manifest.name);
	free(bench->manifest.dir);
	strbuf_done(&bench->trace);
	free(bench->why);
	assert_int_equal(path_remove(bench->run_dir, NULL), 0);
	free(bench->run_dir);
	free(bench);
	return 0;
}

static void on_state(struct vm *vm, enum vm_state old, enum vm_state now, const struct error *why,
		     void *userdata)
{
	struct bench *bench = userdata;
	assert_true(vm_state_may_follow(old, now));
	assert_int_equal(vm_state(vm), now);
	assert_true((now == VM_GONE) == (why != NULL));
	strbuf_addf(&bench->trace, "%s ", vm_state_to_string(now));
	if (why)
		replace_string(&bench->why, error_message(why));
	bench->done = bench->done || now == bench->wanted || now == VM_GONE;
}

static struct vm_options options_of(struct bench *bench)
{
	return (struct vm_options){ .loop = bench->loop,
				    .manifest = &bench->manifest,
				    .run_dir = bench->run_dir,
				    .lease_grace_ms = GRACE_MS,
				    .on_state = on_state,
				    .userdata = bench };
}

static void run_until(struct bench *bench, enum vm_state wanted)
{
	bench->wanted = wanted;
	bench->done = vm_state(bench->vm) == wanted;
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
	assert_int_equal(vm_state(bench->vm), wanted);
}

static void start_as(struct bench *bench, const char *mode, bool spare)
{
	_cleanup_(error_done) struct error err = {};
	struct vm_options options = options_of(bench);
	options.spare = spare;
	strv_done(&bench->manifest.argv);
	strv_add(&bench->manifest.argv, self);
	strv_add(&bench->manifest.argv, "fake-qemu");
	strv_add(&bench->manifest.argv, mode);
	strv_add(&bench->manifest.argv, "{{share_dir}}");
	if (vm_clone(&options, &bench->vm, &err) < 0)
		fail_msg("%s", error_message(&err));
	assert_int_equal(vm_state(bench->vm), VM_SPAWNED);
}

static void start(struct bench *bench, const char *mode)
{
	start_as(bench, mode, false);
}

/* A machine that is in this state, or on its way there. */
static void start_for(struct bench *bench, enum vm_state state)
{
	start_as(bench, "ok", state == VM_SPARE);
	run_until(bench, state);
}

static void assert_nothing_left(struct bench *bench, const char *id, pid_t pid)
{
	_cleanup_free_ char *dir = remains_dir(bench->run_dir, id);
	_cleanup_free_ char *entry = xasprintf("%s.json", dir);
	uint64_t ticks;
	assert_false(path_exists(dir));
	assert_false(path_exists(entry));
	assert_int_equal(process_start_time(pid, &ticks), -ESRCH);
}

static void expect_gone(struct bench *bench, const char *why)
{
	char *id = xstrdup(vm_id(bench->vm));
	pid_t pid = vm_pid(bench->vm);
	run_until(bench, VM_GONE);
	if (!strstr(bench->why, why))
		fail_msg("the reason is \"%s\", not \"%s\"", bench->why, why);
	assert_nothing_left(bench, id, pid);
	free(id);
}

static enum vm_state journaled_state(struct bench *bench)
{
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	assert_int_equal(journal_read(bench->run_dir, vm_id(bench->vm), &entry, NULL), 0);
	assert_int_equal(entry.pid, vm_pid(bench->vm));
	return entry.state;
}

/* ---- tables */

static void test_edges(_unused_ void **state)
{
	static const char *const wanted[] = {
		[VM_SPAWNED] = ".RW...G", [VM_RESTORED] = "..W...G", [VM_WARMING] = ".R.SP.G",
		[VM_SPARE] = ".R....G",   [VM_PARKED] = ".....CG",   [VM_CLAIMED] = "......G",
		[VM_GONE] = ".......",
	};
	for (int from = VM_SPAWNED; from <= VM_GONE; from++)
		for (int to = VM_SPAWNED; to <= VM_GONE; to++)
			assert_int_equal(vm_state_may_follow(from, to), wanted[from][to] != '.');
	assert_false(vm_state_may_follow(VM_GONE + 1, VM_GONE));
	assert_false(vm_state_may_follow(VM_PARKED, VM_GONE + 1));
}

static void test_names(_unused_ void **state)
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
	start(bench, "forgetful");
	run_until(bench, VM_PARKED);
	vm_destroy(bench->vm, NULL);
	expect_gone(bench, "destroyed");
}

static void on_claimed(struct vm *vm, int number, const struct vm_handover *handover,
		       const struct error *err, void *userdata)
{
	struct bench *bench = userdata;
	assert_ptr_equal(vm, bench->vm);
	assert_int_equal(bench->claim_number, 1);
	assert_true((number < 0) == (err != NULL));
	bench->claim_number = number;
	if (handover)
		bench->handover = *handover;
	bench->done = true;
}

static void claim(struct bench *bench)
{
	bench->done = false;
	vm_claim(bench->vm, "pod-1", NULL, on_claimed, bench);
	assert_int_equal(vm_state(bench->vm), VM_CLAIMED);
	assert_int_equal(bench->claim_number, 1);
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
}

static void test_claim(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	start(bench, "ok");
	run_until(bench, VM_PARKED);
	claim(bench);
	assert_int_equal(bench->claim_number, 0);
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
	start(bench, "ok");
	run_until(bench, VM_PARKED);
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

/* ---- a spare */

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
	};
	struct bench *bench = *state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		start(bench, cases[i].mode);
		expect_gone(bench, cases[i].why);
		vm_free(steal_ptr(bench->vm));
	}
}

static void test_machine_without_a_card(void **state)
{
	struct bench *bench = *state;
	start(bench, "no-card");
	run_until(bench, VM_PARKED);
	vm_destroy(bench->vm, NULL);
	expect_gone(bench, "destroyed");
}

static void test_no_program(void **state)
{
	struct bench *bench = *state;
	_cleanup_(error_done) struct error err = {};
	_cleanup_(strbuf_done) struct strbuf left = {};
	struct vm_options options = options_of(bench);
	strv_add(&bench->manifest.argv, "/nonexistent/qemu");
	assert_int_equal(vm_clone(&options, &bench->vm, &err), -ENOENT);
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
	assert_int_equal(vm_clone(&options, &bench->vm, &err), -ENOENT);
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
	start(bench, "ok");
	run_until(bench, VM_PARKED);
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

static void test_forgotten_in_each_state(void **state)
{
	struct bench *bench = *state;
	for (int s = VM_SPAWNED; s <= VM_PARKED; s++) {
		start_for(bench, (enum vm_state)s);
		_cleanup_free_ char *id = xstrdup(vm_id(bench->vm));
		pid_t pid = vm_pid(bench->vm);
		vm_free(steal_ptr(bench->vm));
		assert_int_equal(kill(pid, 0), 0);
		assert_int_equal(vm_reap(bench->run_dir, id, NULL), 0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		assert_nothing_left(bench, id, pid);
	}
}

static void test_killed_while_being_claimed(void **state)
{
	struct bench *bench = *state;
	start(bench, "ok");
	run_until(bench, VM_PARKED);
	assert_int_equal(kill(vm_pid(bench->vm), SIGSTOP), 0);
	vm_claim(bench->vm, "pod-1", NULL, on_claimed, bench);
	assert_int_equal(kill(vm_pid(bench->vm), SIGKILL), 0);
	expect_gone(bench, "QEMU was killed by signal 9");
	assert_true(bench->claim_number < 0);
	assert_int_equal(bench->handover.agent_fd, -EBADF);
}

static void test_destroyed_while_being_claimed(void **state)
{
	struct bench *bench = *state;
	start(bench, "ok");
	run_until(bench, VM_PARKED);
	vm_claim(bench->vm, "pod-1", NULL, on_claimed, bench);
	vm_destroy(bench->vm, "its claimer went");
	expect_gone(bench, "its claimer went");
	assert_true(bench->claim_number < 0);
}

/* ---- a factory that died */

/* Like the death of a factory: object and channels end, the machine goes on. */
static void lose(struct bench *bench, struct journal_entry *ret_entry)
{
	_cleanup_free_ char *id = xstrdup(vm_id(bench->vm));
	vm_free(steal_ptr(bench->vm));
	assert_int_equal(journal_read(bench->run_dir, id, ret_entry, NULL), 0);
	strbuf_done(&bench->trace);
	replace_string(&bench->why, NULL);
}

static void adopt(struct bench *bench, const struct journal_entry *entry, bool with_template)
{
	struct vm_options options = options_of(bench);
	_cleanup_(error_done) struct error err = {};
	options.manifest = with_template ? &bench->manifest : NULL;
	assert_int_equal(vm_adopt(&options, entry, &bench->vm, &err), 0);
	assert_string_equal(strbuf_text(&bench->trace), "");
}

static void test_adopt_parked(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	start(bench, "ok");
	run_until(bench, VM_PARKED);
	lose(bench, &entry);
	adopt(bench, &entry, true);
	run_until(bench, VM_PARKED);
	assert_string_equal(strbuf_text(&bench->trace), "parked ");
	claim(bench);
	assert_int_equal(bench->claim_number, 0);
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
		{ VM_PARKED, false, "its template is no more" },
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
	start(bench, "ok");
	run_until(bench, VM_PARKED);
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
	start(bench, mode);
	run_until(bench, VM_PARKED);
	claim(bench);
	assert_int_equal(bench->claim_number, 0);
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
	start(bench, "ok");
	run_until(bench, VM_PARKED);
	pid_t pid = vm_pid(bench->vm);
	lose(bench, &entry);
	entry.start_time--;
	adopt(bench, &entry, true);
	run_until(bench, VM_GONE);
	assert_non_null(strstr(bench->why, "is gone"));
	assert_int_equal(kill(pid, 0), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* ---- leases */

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
	start(bench, "ok");
	run_until(bench, VM_PARKED);
	claim(bench);
	vm_lease(bench->vm, claimer);
	vm_confirm(bench->vm);
}

static void expect_claimed_for(struct bench *bench, unsigned ms)
{
	loop_run_until(bench->loop, &(bool){ false }, ms);
	assert_int_equal(vm_state(bench->vm), VM_CLAIMED);
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

/* ---- machines that a claimer makes for itself */

static void start_own(struct bench *bench)
{
	struct vm_options options = options_of(bench);
	options.sandbox_id = "pod-2";
	strv_done(&bench->manifest.argv);
	strv_add(&bench->manifest.argv, self);
	strv_add(&bench->manifest.argv, "fake-qemu");
	strv_add(&bench->manifest.argv, "ok");
	assert_int_equal(vm_clone(&options, &bench->vm, NULL), 0);
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

/* The factory died between starting QEMU and writing its pid down. */
static void test_reap_without_pid(void **state)
{
	struct bench *bench = *state;
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	_cleanup_free_ char *qemu = path_join(bench->run_dir, "qemu-fake");
	assert_int_equal(symlink(self, qemu), 0);
	strv_add(&bench->manifest.argv, qemu);
	strv_add(&bench->manifest.argv, "fake-qemu");
	strv_add(&bench->manifest.argv, "ok");
	strv_add(&bench->manifest.argv, "{{share_dir}}");
	struct vm_options options = options_of(bench);
	assert_int_equal(vm_clone(&options, &bench->vm, NULL), 0);
	run_until(bench, VM_PARKED);
	pid_t pid = vm_pid(bench->vm);
	lose(bench, &entry);
	entry.pid = 0;
	entry.start_time = 0;
	entry.state = VM_SPAWNED;
	assert_int_equal(journal_write(bench->run_dir, &entry, NULL), 0);
	assert_int_equal(vm_reap(bench->run_dir, entry.id, NULL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_nothing_left(bench, entry.id, pid);
}

static void test_reap_of_nothing(void **state)
{
	struct bench *bench = *state;
	assert_int_equal(vm_reap(bench->run_dir, "nobody", NULL), 0);
	assert_int_equal(vm_reap(bench->run_dir, "../x", NULL), -EINVAL);
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
	assert_int_equal(vm_reap(bench->run_dir, "old", NULL), 0);
	assert_int_equal(journal_read(bench->run_dir, "old", &entry, NULL), -ENOENT);
}

/* ---- mounts */

static void test_find_mounts(_unused_ void **state)
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
	start(bench, "ok");
	run_until(bench, VM_PARKED);
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

#define LIFE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(int argc, char **argv)
{
	if (argc > 2 && str_equal(argv[1], "fake-qemu"))
		return fake_qemu_main(argv);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_edges),
		cmocka_unit_test(test_names),
		LIFE(test_clone_to_parked),
		LIFE(test_lost_first_request),
		LIFE(test_claim),
		LIFE(test_handed_over_channel_works),
		LIFE(test_spare_waits_until_it_is_used),
		LIFE(test_spare_that_is_wanted_before_it_is_there),
		LIFE(test_spare_that_is_wanted_as_it_comes_up),
		LIFE(test_spare_that_is_wanted_as_it_is_stopped),
		LIFE(test_spare_that_does_not_come_up),
		LIFE(test_spare_that_cannot_be_loaded),
		LIFE(test_spare_that_dies_as_it_is_wanted),
		LIFE(test_failures),
		LIFE(test_machine_without_a_card),
		LIFE(test_no_program),
		LIFE(test_no_state_file),
		LIFE(test_killed_in_each_state),
		LIFE(test_destroyed_in_each_state),
		LIFE(test_forgotten_in_each_state),
		LIFE(test_killed_while_being_claimed),
		LIFE(test_destroyed_while_being_claimed),
		LIFE(test_adopt_parked),
		LIFE(test_adopt_what_must_end),
		LIFE(test_adopt_parked_that_runs),
		LIFE(test_adopt_dead),
		LIFE(test_adopt_claimed),
		LIFE(test_adopt_unconfirmed_but_held),
		LIFE(test_adopt_unconfirmed_and_unheld),
		LIFE(test_adopt_spares_a_reused_pid),
		LIFE(test_lease_ends_with_the_claimer),
		LIFE(test_lease_is_renewed),
		LIFE(test_lease_of_a_dead_one),
		LIFE(test_lease_outlives_the_factory),
		LIFE(test_lease_whose_claimer_died_with_the_factory),
		LIFE(test_adopt_what_its_claimer_makes),
		LIFE(test_adopt_what_its_dead_claimer_made),
		LIFE(test_reap_without_pid),
		LIFE(test_reap_of_nothing),
		LIFE(test_reap_spares_a_reused_pid),
		cmocka_unit_test(test_find_mounts),
		LIFE(test_mounts_go_with_the_machine),
		LIFE(test_last_words),
	};
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
