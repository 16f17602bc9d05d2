#include "agent/kept_signals.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

/* Nothing tells that a process has asked for a signal: it is looked at. */
enum { LOOK_MS = 10, STATUS_MAX = 4096 };

struct kept_signals {
	struct loop_timer *timer; /* owned; runs while something is kept, after the start */
	pid_t pid;
	int pidfd;            /* borrowed */
	uint64_t kept;        /* bit N - 1 for signal N */
	uint64_t deadline_ms; /* 0: the program does not run yet */
};

static uint64_t bit(int signo)
{
	return UINT64_C(1) << (signo - 1);
}

static uint64_t read_mask(const char *status, const char *name)
{
	const char *at = strstr(status, name);

	return at ? strtoull(at + strlen(name), NULL, 16) : 0;
}

/* What the process takes: it has said what is to happen by them. */
static uint64_t taken_signals(pid_t pid)
{
	char path[32], status[STATUS_MAX];

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read_full(fd, status, sizeof(status) - 1) : 0;

	status[n > 0 ? n : 0] = '\0';
	return read_mask(status, "\nSigBlk:") | read_mask(status, "\nSigIgn:") |
	       read_mask(status, "\nSigCgt:");
}

static int send_now(const struct kept_signals *kept, int signo)
{
	return syscall(SYS_pidfd_send_signal, kept->pidfd, signo, NULL, 0) < 0 ? -errno : 0;
}

static bool is_late(const struct kept_signals *kept)
{
	return clock_monotonic_ms() >= kept->deadline_ms;
}

static void look(void *userdata)
{
	struct kept_signals *kept = userdata;
	uint64_t due = is_late(kept) ? kept->kept : kept->kept & taken_signals(kept->pid);

	for (int signo = 1; signo <= SIGRTMAX; signo++)
		if (due & bit(signo))
			(void)!send_now(kept, signo);
	kept->kept &= ~due;
	if (kept->kept)
		loop_timer_start(kept->timer, LOOK_MS);
}

struct kept_signals *kept_signals_new(struct loop *loop, pid_t pid, int pidfd)
{
	struct kept_signals *kept = xnew(struct kept_signals);

	kept->timer = loop_timer_new(loop, look, kept);
	kept->pid = pid;
	kept->pidfd = pidfd;
	return kept;
}

void kept_signals_started(struct kept_signals *kept)
{
	kept->deadline_ms = clock_monotonic_ms() + KEPT_SIGNALS_MS;
	if (kept->kept)
		look(kept);
}

int kept_signals_send(struct kept_signals *kept, int signo)
{
	bool runs = kept->deadline_ms != 0;

	if (runs && (is_late(kept) || (taken_signals(kept->pid) & bit(signo))))
		return send_now(kept, signo);
	kept->kept |= bit(signo);
	if (runs)
		loop_timer_start(kept->timer, LOOK_MS);
	return 0;
}

void kept_signals_free(struct kept_signals *kept)
{
	if (!kept)
		return;
	loop_timer_free(kept->timer);
	free(kept);
}
