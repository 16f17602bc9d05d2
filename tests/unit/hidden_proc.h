/* A process from which /proc hides those of others (hidepid=), in a mount namespace of its own. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <grp.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HIDDEN_NOBODY = 65534, HIDDEN_NOT_HERE = 77 };

static inline bool proc_hide_others(const char *options)
{
	return unshare(CLONE_NEWNS) == 0 &&
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("proc", "/proc", "proc", 0, options) == 0 && setgroups(0, NULL) == 0 &&
	       setresgid(HIDDEN_NOBODY, HIDDEN_NOBODY, HIDDEN_NOBODY) == 0 &&
	       setresuid(HIDDEN_NOBODY, HIDDEN_NOBODY, HIDDEN_NOBODY) == 0;
}

/* Calls fn in a child that is nobody, with /proc mounted with these options; it must be true.
 * Skips the test where that cannot be had. */
static inline void run_with_proc(const char *options, bool (*fn)(void *userdata), void *userdata)
{
	int status = -1;
	pid_t pid = geteuid() == 0 ? fork() : -1;

	if (pid == 0)
		_exit(!proc_hide_others(options) ? HIDDEN_NOT_HERE : fn(userdata) ? 0 : 1);
	if (pid < 0)
		skip();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == HIDDEN_NOT_HERE)
		skip();
	assert_int_equal(status, 0);
}

/* To fn this process, its parent, is hidden. */
static inline void run_with_proc_hidden(bool (*fn)(void *userdata), void *userdata)
{
	run_with_proc("hidepid=invisible", fn, userdata);
}
