#include "base/clone.h"

#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <unistd.h>

static pid_t clone_with_pidfd(uint64_t flags, int cgroup, int *ret_pidfd)
{
	struct clone_args args = {
		.flags = flags | CLONE_PIDFD,
		.pidfd = (uintptr_t)ret_pidfd,
		.exit_signal = SIGCHLD,
	};

	/* It has the exit signal of who clones it, then. */
	if (flags & CLONE_PARENT)
		args.exit_signal = 0;
	if (cgroup >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)cgroup;
	}

	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	/* Seccomp profiles hide clone3. Our own child keeps its pid until it is reaped. */
	if (pid < 0 && errno == ENOSYS && flags == 0 && cgroup < 0) {
		pid = _Fork();
		if (pid > 0)
			*ret_pidfd = pidfd_open(pid, 0);
	}
	return pid;
}

pid_t clone_process(uint64_t flags, int cgroup, int *ret_pidfd)
{
	sigset_t all, before;
	int pidfd = -EBADF;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);

	pid_t pid = clone_with_pidfd(flags, cgroup, &pidfd);
	int saved = errno;

	if (pid == 0)
		return 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (pid > 0)
		*ret_pidfd = pidfd;
	errno = saved;
	return pid;
}
