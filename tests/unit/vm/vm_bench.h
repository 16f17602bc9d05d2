/* What the programs that test a machine share: one machine over the stand-in for QEMU, run until
 * it is in a state or has answered a claim, lost and adopted as a factory that died would. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/pidfd.h"
#include "base/strbuf.h"
#include "base/strv.h"
#include "factory/vm/preload.h"
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
	struct strbuf trace; /* "restored warming ...": the states, in order */
	char *why;
	int answer;       /* to the claim; 1: none yet */
	char *answer_why; /* where it is an error */
	struct vm_handover handover;
};

static inline int setup(void **state)
{
	struct bench *bench = xnew(struct bench);
	char path[] = "/tmp/kiln-test-vm-XXXXXX";
	assert_non_null(mkdtemp(path));
	bench->run_dir = xstrdup(path);
	bench->loop = loop_new();
	bench->answer = 1;
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

static inline int teardown(void **state)
{
	struct bench *bench = *state;
	vm_free(bench->vm);
	close_fd(bench->handover.agent_fd);
	close_fd(bench->handover.qmp_fd);
	close_fd(bench->handover.pidfd);
	loop_free(bench->loop);
	strv_done(&bench->manifest.argv);
	strv_done(&bench->manifest.boot_argv);
	free(bench->manifest.name);
	free(bench->manifest.dir);
	strbuf_done(&bench->trace);
	free(bench->why);
	free(bench->answer_why);
	assert_int_equal(path_remove(bench->run_dir, NULL), 0);
	free(bench->run_dir);
	free(bench);
	return 0;
}

static inline void on_state(struct vm *vm, enum vm_state old, enum vm_state now,
			    const struct error *why, void *userdata)
{
	struct bench *bench = userdata;
	assert_true(state_may_follow(&vm_states, old, now));
	assert_int_equal(vm_state(vm), now);
	assert_true((now == VM_GONE) == (why != NULL));
	strbuf_addf(&bench->trace, "%s ", vm_state_to_string(now));
	if (why)
		replace_string(&bench->why, error_message(why));
	bench->done = bench->done || now == bench->wanted || now == VM_GONE;
}

/* The stand-in for QEMU is this program, with the sanitizers' own libraries before all others. */
int preload_find(const struct preload_options *options _unused_,
		 struct strv *ret_libraries _unused_, struct strv *ret_environment _unused_,
		 struct error *err _unused_)
{
	return 0;
}

static inline struct vm_options options_of(struct bench *bench)
{
	return (struct vm_options){ .loop = bench->loop,
				    .manifest = &bench->manifest,
				    .run_dir = bench->run_dir,
				    .lease_grace_ms = GRACE_MS,
				    .on_state = on_state,
				    .userdata = bench };
}

static inline void run_until(struct bench *bench, enum vm_state wanted)
{
	bench->wanted = wanted;
	bench->done = vm_state(bench->vm) == wanted;
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
	if (vm_state(bench->vm) != wanted)
		fail_msg("it is %s, not %s: %s", vm_state_to_string(vm_state(bench->vm)),
			 vm_state_to_string(wanted), bench->why ? bench->why : "it lives");
}

/* argv becomes one that starts the stand-in, to behave as this mode says. */
static inline void set_fake_argv(struct strv *argv, const char *program, const char *mode)
{
	strv_done(argv);
	strv_add(argv, program);
	strv_add(argv, "fake-qemu");
	strv_add(argv, mode);
	strv_add(argv, "{{share_dir}}");
}

static inline void start_as(struct bench *bench, const char *mode, bool spare)
{
	_cleanup_(error_done) struct error err = {};
	struct vm_options options = options_of(bench);
	options.spare = spare;
	set_fake_argv(&bench->manifest.argv, self, mode);
	if (vm_start(&options, &bench->vm, &err) < 0)
		fail_msg("%s", error_message(&err));
	assert_int_equal(vm_state(bench->vm), VM_SPAWNED);
}

static inline void start(struct bench *bench, const char *mode)
{
	start_as(bench, mode, false);
}

static inline void park(struct bench *bench, const char *mode)
{
	start(bench, mode);
	run_until(bench, VM_PARKED);
}

/* A machine that is in this state, or on its way there. */
static inline void start_for(struct bench *bench, enum vm_state state)
{
	start_as(bench, "ok", state == VM_SPARE);
	run_until(bench, state);
}

static inline void assert_nothing_left(struct bench *bench, const char *id, pid_t pid)
{
	_cleanup_free_ char *dir = remains_dir(bench->run_dir, id);
	_cleanup_free_ char *entry = xasprintf("%s.json", dir);
	uint64_t ticks;
	assert_false(path_exists(dir));
	assert_false(path_exists(entry));
	assert_int_equal(process_start_time(pid, &ticks), -ESRCH);
}

static inline void expect_gone(struct bench *bench, const char *why)
{
	char *id = xstrdup(vm_id(bench->vm));
	pid_t pid = vm_pid(bench->vm);
	run_until(bench, VM_GONE);
	if (!strstr(bench->why, why))
		fail_msg("the reason is \"%s\", not \"%s\"", bench->why, why);
	assert_nothing_left(bench, id, pid);
	free(id);
}

static inline enum vm_state journaled_state(struct bench *bench)
{
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	assert_int_equal(journal_read(bench->run_dir, vm_id(bench->vm), &entry, NULL), 0);
	assert_int_equal(entry.pid, vm_pid(bench->vm));
	return entry.state;
}

/* ---- claims */

static inline void on_claimed(struct vm *vm, int number, const struct vm_handover *handover,
			      const struct error *err, void *userdata)
{
	struct bench *bench = userdata;
	assert_ptr_equal(vm, bench->vm);
	assert_int_equal(bench->answer, 1);
	assert_true((number < 0) == (err != NULL));
	bench->answer = number;
	if (err)
		replace_string(&bench->answer_why, error_message(err));
	if (handover)
		bench->handover = *handover;
	bench->done = true;
}

static inline void run_until_answer(struct bench *bench)
{
	bench->done = bench->answer != 1;
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
}

static inline void claim(struct bench *bench)
{
	vm_claim(bench->vm, "pod-1", NULL, on_claimed, bench);
	assert_int_equal(vm_state(bench->vm), VM_CLAIMED);
	assert_int_equal(bench->answer, 1);
	run_until_answer(bench);
}

/* ---- a factory that dies */

/* Like the death of a factory: object and channels end, the machine goes on. */
static inline void lose(struct bench *bench, struct journal_entry *ret_entry)
{
	_cleanup_free_ char *id = xstrdup(vm_id(bench->vm));
	vm_free(steal_ptr(bench->vm));
	assert_int_equal(journal_read(bench->run_dir, id, ret_entry, NULL), 0);
	strbuf_done(&bench->trace);
	replace_string(&bench->why, NULL);
}

static inline void adopt(struct bench *bench, const struct journal_entry *entry, bool with_template)
{
	struct vm_options options = options_of(bench);
	_cleanup_(error_done) struct error err = {};
	options.manifest = with_template ? &bench->manifest : NULL;
	assert_int_equal(vm_adopt(&options, entry, &bench->vm, &err), 0);
	assert_string_equal(strbuf_text(&bench->trace), "");
}

static inline void expect_claimed_for(struct bench *bench, unsigned ms)
{
	loop_run_until(bench->loop, &(bool){ false }, ms);
	assert_int_equal(vm_state(bench->vm), VM_CLAIMED);
}

/* Comes first in main: this program may have been started to be a machine's QEMU. */
static inline void be_fake_qemu_if_asked(int argc, char **argv)
{
	if (argc > 2 && str_equal(argv[1], "fake-qemu"))
		exit(fake_qemu_main(argv));
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		_exit(1);
}

#define LIFE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
