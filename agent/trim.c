#include "agent/trim.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>

#include "agent/disk.h"
#include "agent/reaper.h"
#include "agent/watermarks.h"
#include "base/file.h"
#include "base/memory.h"
#include "proto/guest.pb-c.h"

enum {
	MARGIN = 4 << 20, /* above the watermarks, for what others take meanwhile */
	STEP_MAX = 16 << 20,
	SMALL = 96 << 20, /* as much as lists of small pages hold: khugepaged's low watermarks */
	HUGE_PAGE = 2 << 20,
	STATUS_FAILED = 1,
};

/* Written by the child, read once it is gone. */
struct trim_result {
	uint64_t free_before, free_after, zeroed;
	int number;     /* errno of a failure */
	char text[256]; /* what failed */
};

/* From the call to the child's end. */
struct trim {
	struct ttrpc_call *call;    /* owned; answered once */
	struct trim_result *shared; /* mapped */
};

/* ---------------------------------------------------------------- in the child */

static uint64_t free_bytes(void)
{
	struct sysinfo info;

	return sysinfo(&info) < 0 ? 0 : (uint64_t)info.freeram * info.mem_unit;
}

/* Pages that were freed last are on a vCPU's own list of small ones, a list for each zone, and no
 * huge page is ever made of those. Where there are huge pages they go faster and need few page
 * tables; but at the beginning and at the end, which is in another zone, small ones are taken. */
struct step {
	size_t size; /* 0: all is taken that the kernel can spare */
	bool small;
};

static int next_step(size_t taken, size_t left, struct step *ret_step, struct error *err)
{
	uint64_t spare;
	int r = watermarks_spare(&spare, err);

	if (r < 0)
		return r;
	spare = spare > MARGIN ? spare - MARGIN : 0;
	ret_step->small = taken < SMALL || spare < SMALL;
	if (spare > STEP_MAX)
		spare = STEP_MAX;
	if (spare > left)
		spare = left;
	ret_step->size = (size_t)spare / HUGE_PAGE * HUGE_PAGE;
	return 0;
}

static bool take(char *area, const struct step *step)
{
	/* A kernel that knows no huge pages refuses this, and has small ones only. */
	(void)madvise(area, step->size, step->small ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
	return madvise(area, step->size, MADV_POPULATE_WRITE) == 0;
}

/* Takes what is free and gives it back; ret_size: the bytes that were taken. It goes in steps, as
 * what can be spared becomes less by more than what was taken: by page tables, by what others
 * take, and where khugepaged raises the watermarks. Once all is given back, in the template and in
 * clones, they may be raised as they like. What they keep from us (up to 100 MiB) was hardly ever
 * in use: lowering them for this while made no template smaller. */
static int zero_free(uint64_t *ret_size, struct error *err)
{
	size_t size = (size_t)free_bytes() / HUGE_PAGE * HUGE_PAGE, taken = 0;
	char *area = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct step step = {};

	if (area == MAP_FAILED)
		return error_set_errno(err, errno, "cannot map %zu bytes", size);

	int r = next_step(taken, size, &step, err);

	while (r == 0 && step.size > 0 && take(area + taken, &step)) {
		taken += step.size;
		r = next_step(taken, size - taken, &step, err);
	}
	munmap(area, size);
	*ret_size = taken;
	return r;
}

static int drop_and_compact(struct error *err)
{
	int r = file_write_value("/proc/self/oom_score_adj", "1000", err);

	if (r == 0)
		r = file_write_value("/proc/sys/vm/drop_caches", "3", err);
	if (r == 0 && path_exists("/proc/sys/vm/compact_memory"))
		r = file_write_value("/proc/sys/vm/compact_memory", "1", err);
	return r;
}

static _Noreturn void child_trim(struct trim_result *result)
{
	_cleanup_(error_done) struct error err = {};

	result->free_before = free_bytes();
	if (drop_and_compact(&err) < 0 || zero_free(&result->zeroed, &err) < 0) {
		result->number = err.number;
		snprintf(result->text, sizeof(result->text), "%s", error_message(&err));
		_exit(STATUS_FAILED);
	}
	result->free_after = free_bytes();
	_exit(EXIT_SUCCESS);
}

/* ---------------------------------------------------------------- in the agent */

static void trim_free(struct trim *trim)
{
	munmap(trim->shared, sizeof(*trim->shared));
	free(trim);
}

static void on_child_end(int status, void *userdata)
{
	Kiln__Guest__V1__TrimResponse response = KILN__GUEST__V1__TRIM_RESPONSE__INIT;
	_cleanup_(error_done) struct error err = {};
	struct trim *trim = userdata;
	const struct trim_result *result = trim->shared;

	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS) {
		response.free_before_bytes = result->free_before;
		response.free_after_bytes = result->free_after;
		response.zeroed_bytes = result->zeroed;
		ttrpc_call_reply(trim->call, &response.base);
	} else {
		error_set(&err, result->number ? result->number : ECHILD, "%s",
			  result->number ? result->text : "the child that trims was killed");
		ttrpc_call_fail(trim->call, &err);
	}
	trim_free(trim);
}

/* Signals are the agent's: none may reach its handlers in the child. */
static pid_t fork_without_signals(void)
{
	sigset_t all, before;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);

	pid_t pid = fork();

	if (pid != 0)
		sigprocmask(SIG_SETMASK, &before, NULL);
	return pid;
}

void trim_start(struct agent *agent, struct ttrpc_call *call)
{
	struct trim *trim = xnew(struct trim);

	/* Those that came up after the agent. */
	disk_protect_images();
	void *shared = mmap(NULL, sizeof(*trim->shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (shared == MAP_FAILED) {
		ttrpc_call_fail_code(call, TTRPC_RESOURCE_EXHAUSTED, "there is no memory left");
		free(trim);
		return;
	}
	trim->call = call;
	trim->shared = shared;

	pid_t pid = fork_without_signals();

	if (pid == 0)
		child_trim(trim->shared);
	if (pid < 0) {
		ttrpc_call_fail_code(call, TTRPC_RESOURCE_EXHAUSTED, "cannot fork");
		trim_free(trim);
		return;
	}
	reaper_add(agent->reaper, pid, on_child_end, trim);
}
