#include "base/confine.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/memory.h"

/* What is left. It opens nothing and calls nobody. ioctl(2) is not needed either: it can type into
 * a terminal. */
static const unsigned allowed[] = {
	/* descriptors */
	SYS_read,
	SYS_write,
	SYS_readv,
	SYS_writev,
	SYS_recvfrom,
	SYS_recvmsg,
	SYS_sendto,
	SYS_sendmsg,
	SYS_shutdown,
	SYS_close,
	SYS_lseek,
	SYS_fcntl,
	SYS_fstat,
	SYS_newfstatat, /* how glibc makes fstat(3) */
	/* waiting */
	SYS_poll,
	SYS_ppoll,
	SYS_epoll_ctl,
	SYS_epoll_wait,
	SYS_epoll_pwait,
	SYS_epoll_pwait2,
	SYS_timerfd_settime,
	SYS_clock_gettime,
	SYS_clock_nanosleep,
	SYS_gettimeofday,
	SYS_restart_syscall,
	SYS_wait4,
	/* memory, and libc's own */
	SYS_brk,
	SYS_mmap,
	SYS_mremap,
	SYS_mprotect,
	SYS_munmap,
	SYS_madvise,
	SYS_futex,
	SYS_sched_yield,
	SYS_getrandom,
	SYS_getpid,
	SYS_gettid,
	/* signals that it gets, and its end */
	SYS_rt_sigaction,
	SYS_rt_sigprocmask,
	SYS_rt_sigreturn,
	SYS_sigaltstack,
	SYS_exit,
	SYS_exit_group,
};

enum { HEAD = 4, TAIL = 2, LENGTH = HEAD + ARRAY_SIZE(allowed) + TAIL };

/* A call in another machine's numbering (the kernel takes those of 32 bits) ends the process. */
static void write_filter(struct sock_filter filter[static LENGTH])
{
	const struct sock_filter head[HEAD] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	};
	const struct sock_filter tail[TAIL] = {
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_filter *next = filter;

	for (size_t i = 0; i < HEAD; i++)
		*next++ = head[i];
	for (size_t i = 0; i < ARRAY_SIZE(allowed); i++) {
		unsigned char over = (unsigned char)(ARRAY_SIZE(allowed) - i);

		*next++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], over,
						       0);
	}
	for (size_t i = 0; i < TAIL; i++)
		*next++ = tail[i];
}

int confine(struct error *err)
{
	struct sock_filter filter[LENGTH];
	const struct sock_fprog program = { .len = LENGTH, .filter = filter };

	write_filter(filter);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
		return error_set_errno(err, errno,
				       "cannot give up the rights that are not needed any more "
				       "(the kernel needs CONFIG_SECCOMP_FILTER)");
	return 0;
}
