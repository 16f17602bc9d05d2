#include "factory/bake/bake_process.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

enum {
	CALM_WINDOW_MS = 100,
	CALM_TICKS = 1, /* of the CPU in a window: as good as nothing */
	CALM_LIMIT_MS = 5000,
	PID_FILE_MAX = 32,
	CMDLINE_MAX = 256 * 1024,
	STAT_MAX = 4096,
};

void bake_process_done(struct bake_process *process)
{
	process->pidfd = close_fd(process->pidfd);
	strv_done(&process->argv);
}

static int read_pid(const char *path, pid_t *ret_pid, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	uint64_t pid;

	int r = file_read(path, PID_FILE_MAX, &text, NULL, err);
	if (r < 0)
		return r;
	text[strcspn(text, "\n")] = '\0';
	if (str_to_u64(text, 2, INT32_MAX, &pid) < 0)
		return error_set(err, EBADMSG, "%s holds no process id", path);
	*ret_pid = (pid_t)pid;
	return 0;
}

static int read_argv(pid_t pid, struct strv *ret, struct error *err)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/cmdline", (int)pid);
	_cleanup_free_ char *text = NULL;
	size_t len;

	int r = file_read(path, CMDLINE_MAX, &text, &len, err);
	if (r < 0)
		return r;
	for (size_t at = 0; at < len; at += strlen(text + at) + 1)
		strv_add(ret, text + at);
	return 0;
}

/* libvirt names each QEMU: -name guest=NAME,debug-threads=on. */
static bool argv_has_name(const struct strv *argv, const char *name)
{
	_cleanup_free_ char *start = xasprintf("guest=%s,", name);

	for (size_t i = 0; i < argv->count; i++)
		if (str_after(argv->items[i], start))
			return true;
	return false;
}

int bake_process_find(const char *pid_file, const char *name, struct bake_process *ret_process,
		      struct error *err)
{
	_cleanup_(bake_process_done) struct bake_process process = BAKE_PROCESS_NONE;

	int r = read_pid(pid_file, &process.pid, err);
	if (r < 0)
		return r;
	process.pidfd = (int)syscall(SYS_pidfd_open, process.pid, 0);
	/* Alive after its arguments were read: they were not those of a successor. */
	if (process.pidfd < 0 || read_argv(process.pid, &process.argv, NULL) < 0 ||
	    syscall(SYS_pidfd_send_signal, process.pidfd, 0, NULL, 0) < 0 ||
	    !argv_has_name(&process.argv, name))
		return error_set(err, ESRCH, "the QEMU of %s (%d) is gone", name, (int)process.pid);
	*ret_process = (struct bake_process){
		.pid = process.pid,
		.pidfd = steal_fd(&process.pidfd),
		.argv = process.argv,
	};
	process.argv = (struct strv){};
	return 0;
}

/* CPU time used, in clock ticks (user and system: fields 14 and 15 of stat). */
static int cpu_ticks(pid_t pid, uint64_t *ret_ticks, struct error *err)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/stat", (int)pid);
	_cleanup_free_ char *text = NULL;
	uint64_t user, system;

	int r = file_read(path, STAT_MAX, &text, NULL, err);
	if (r < 0)
		return r;
	const char *rest = strrchr(text, ')'); /* the name before it may hold anything */
	if (!rest ||
	    sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64,
		   &user, &system) != 2)
		return error_set(err, EBADMSG, "cannot read %s", path);
	*ret_ticks = user + system;
	return 0;
}

int bake_process_wait_calm(const struct bake_process *process, struct error *err)
{
	const struct timespec window = { .tv_nsec = CALM_WINDOW_MS * 1000000L };
	uint64_t deadline = clock_monotonic_ms() + CALM_LIMIT_MS;
	uint64_t before = 0, after = 0;

	int r = cpu_ticks(process->pid, &before, err);
	while (r == 0 && clock_monotonic_ms() < deadline) {
		nanosleep(&window, NULL);
		r = cpu_ticks(process->pid, &after, err);
		if (r == 0 && after - before <= CALM_TICKS)
			break;
		before = after;
	}
	return r;
}
