#include "agent/trim.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>

#include "agent/reaper.h"
#include "base/file.h"
#include "base/memory.h"
#include "proto/guest.pb-c.h"

enum {
	KEPT_FREE = 8 << 20, /* above the kernel's low watermark: nothing is swapped or killed */
	HUGE_PAGE = 2 << 20, /* few page tables, which are not zero when they are freed */
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

/* Takes what is free and gives it back; the bytes that were taken. */
static uint64_t zero_free(void)
{
	uint64_t free = free_bytes();

	if (free < KEPT_FREE + HUGE_PAGE)
		return 0;

	size_t size = (size_t)((free - KEPT_FREE) / HUGE_PAGE * HUGE_PAGE);
	void *area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (area == MAP_FAILED)
		return 0;
	(void)madvise(area, size, MADV_HUGEPAGE); /* a kernel without them is as good */
	if (madvise(area, size, MADV_POPULATE_WRITE) < 0)
		size = 0;
	munmap(area, size);
	return size;
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
	if (drop_and_compact(&err) < 0) {
		result->number = err.number;
		snprintf(result->text, sizeof(result->text), "%s", error_message(&err));
		_exit(STATUS_FAILED);
	}
	result->zeroed = zero_free();
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
