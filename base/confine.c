#include "base/confine.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

/* ---------------------------------------------------------------- system calls */

_must_check_ static int filter_load(scmp_filter_ctx filter, struct error *err)
{
	/* A tree in the place of a list, and no thread that lives on alone. */
	int r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);

	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (r == 0)
		r = seccomp_load(filter);
	return r < 0 ? error_set_errno(
			       err, -r,
			       "cannot give up the system calls that are not needed any "
			       "more (the kernel needs CONFIG_SECCOMP_FILTER; a filter of the service "
			       "manager's has to allow seccomp)")
		     : 0;
}

/* What is left of all. It opens nothing and calls nobody. ioctl(2) is not needed either: it can
 * type into a terminal. */
static const int allowed[] = {
	/* descriptors */
	SCMP_SYS(read),
	SCMP_SYS(write),
	SCMP_SYS(readv),
	SCMP_SYS(writev),
	SCMP_SYS(recvfrom),
	SCMP_SYS(recvmsg),
	SCMP_SYS(sendto),
	SCMP_SYS(sendmsg),
	SCMP_SYS(shutdown),
	SCMP_SYS(close),
	SCMP_SYS(lseek),
	SCMP_SYS(fcntl),
	SCMP_SYS(fstat),
	SCMP_SYS(newfstatat), /* how glibc makes fstat(3) */
	/* waiting */
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_pwait2),
	SCMP_SYS(timerfd_settime),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(wait4),
	/* memory, and libc's own */
	SCMP_SYS(brk),
	SCMP_SYS(mmap),
	SCMP_SYS(mremap),
	SCMP_SYS(mprotect),
	SCMP_SYS(munmap),
	SCMP_SYS(madvise),
	SCMP_SYS(futex),
	SCMP_SYS(sched_yield),
	SCMP_SYS(getrandom),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	/* signals that it gets, and its end */
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
};

int confine(struct error *err)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int r = filter ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(allowed); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
	r = r < 0 ? error_set_errno(err, -r, "cannot make a filter of system calls")
		  : filter_load(filter, err);
	seccomp_release(filter);
	return r;
}

static const struct {
	unsigned group; /* enum confine_calls */
	int number;
} refused[] = {
	{ CONFINE_HOST, SCMP_SYS(acct) },
	{ CONFINE_HOST, SCMP_SYS(adjtimex) },
	{ CONFINE_HOST, SCMP_SYS(clock_adjtime) },
	{ CONFINE_HOST, SCMP_SYS(clock_settime) },
	{ CONFINE_HOST, SCMP_SYS(delete_module) },
	{ CONFINE_HOST, SCMP_SYS(finit_module) },
	{ CONFINE_HOST, SCMP_SYS(init_module) },
	{ CONFINE_HOST, SCMP_SYS(ioperm) },
	{ CONFINE_HOST, SCMP_SYS(iopl) },
	{ CONFINE_HOST, SCMP_SYS(kexec_file_load) },
	{ CONFINE_HOST, SCMP_SYS(kexec_load) },
	{ CONFINE_HOST, SCMP_SYS(nfsservctl) },
	{ CONFINE_HOST, SCMP_SYS(quotactl) },
	{ CONFINE_HOST, SCMP_SYS(quotactl_fd) },
	{ CONFINE_HOST, SCMP_SYS(reboot) },
	{ CONFINE_HOST, SCMP_SYS(setdomainname) },
	{ CONFINE_HOST, SCMP_SYS(sethostname) },
	{ CONFINE_HOST, SCMP_SYS(settimeofday) },
	{ CONFINE_HOST, SCMP_SYS(swapoff) },
	{ CONFINE_HOST, SCMP_SYS(swapon) },
	{ CONFINE_HOST, SCMP_SYS(syslog) },
	{ CONFINE_HOST, SCMP_SYS(vhangup) },

	{ CONFINE_PROCESSES, SCMP_SYS(kcmp) },
	{ CONFINE_PROCESSES, SCMP_SYS(pidfd_getfd) },
	{ CONFINE_PROCESSES, SCMP_SYS(process_madvise) },
	{ CONFINE_PROCESSES, SCMP_SYS(process_vm_readv) },
	{ CONFINE_PROCESSES, SCMP_SYS(process_vm_writev) },
	{ CONFINE_PROCESSES, SCMP_SYS(ptrace) },

	{ CONFINE_CORNERS, SCMP_SYS(_sysctl) },
	{ CONFINE_CORNERS, SCMP_SYS(add_key) },
	{ CONFINE_CORNERS, SCMP_SYS(io_uring_enter) },
	{ CONFINE_CORNERS, SCMP_SYS(io_uring_register) },
	{ CONFINE_CORNERS, SCMP_SYS(io_uring_setup) },
	{ CONFINE_CORNERS, SCMP_SYS(keyctl) },
	{ CONFINE_CORNERS, SCMP_SYS(lookup_dcookie) },
	{ CONFINE_CORNERS, SCMP_SYS(modify_ldt) },
	{ CONFINE_CORNERS, SCMP_SYS(perf_event_open) },
	{ CONFINE_CORNERS, SCMP_SYS(personality) },
	{ CONFINE_CORNERS, SCMP_SYS(remap_file_pages) },
	{ CONFINE_CORNERS, SCMP_SYS(request_key) },
	{ CONFINE_CORNERS, SCMP_SYS(sysfs) },
	{ CONFINE_CORNERS, SCMP_SYS(uselib) },
	{ CONFINE_CORNERS, SCMP_SYS(userfaultfd) },
	{ CONFINE_CORNERS, SCMP_SYS(ustat) },
	{ CONFINE_CORNERS, SCMP_SYS(vmsplice) },

	{ CONFINE_MOUNTS, SCMP_SYS(bpf) },
	{ CONFINE_MOUNTS, SCMP_SYS(chroot) },
	{ CONFINE_MOUNTS, SCMP_SYS(fsconfig) },
	{ CONFINE_MOUNTS, SCMP_SYS(fsmount) },
	{ CONFINE_MOUNTS, SCMP_SYS(fsopen) },
	{ CONFINE_MOUNTS, SCMP_SYS(fspick) },
	{ CONFINE_MOUNTS, SCMP_SYS(mount) },
	{ CONFINE_MOUNTS, SCMP_SYS(mount_setattr) },
	{ CONFINE_MOUNTS, SCMP_SYS(move_mount) },
	{ CONFINE_MOUNTS, SCMP_SYS(name_to_handle_at) },
	{ CONFINE_MOUNTS, SCMP_SYS(open_by_handle_at) },
	{ CONFINE_MOUNTS, SCMP_SYS(open_tree) },
	{ CONFINE_MOUNTS, SCMP_SYS(pivot_root) },
	{ CONFINE_MOUNTS, SCMP_SYS(setns) },
	{ CONFINE_MOUNTS, SCMP_SYS(umount2) },
	{ CONFINE_MOUNTS, SCMP_SYS(unshare) },
};

static bool family_is_used(int family)
{
	return family == AF_UNIX || family == AF_INET || family == AF_INET6 ||
	       family == AF_NETLINK || family == AF_VSOCK;
}

static int refuse_rare_sockets(scmp_filter_ctx filter, uint32_t verdict)
{
	int r = seccomp_rule_add(filter, verdict, SCMP_SYS(socket), 1,
				 SCMP_A0(SCMP_CMP_GE, AF_MAX));

	for (int family = 0; r == 0 && family < AF_MAX; family++)
		if (!family_is_used(family))
			r = seccomp_rule_add(filter, verdict, SCMP_SYS(socket), 1,
					     SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)family));
	return r;
}

int confine_calls(unsigned calls, struct error *err)
{
	const uint32_t verdict = SCMP_ACT_ERRNO(EPERM);
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int r = filter ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(refused); i++)
		if (refused[i].group & calls)
			r = seccomp_rule_add(filter, verdict, refused[i].number, 0);
	if (r == 0 && calls & CONFINE_CORNERS)
		r = refuse_rare_sockets(filter, verdict);
	r = r < 0 ? error_set_errno(err, -r, "cannot make a filter of system calls")
		  : filter_load(filter, err);
	seccomp_release(filter);
	return r;
}

/* ---------------------------------------------------------------- places */

/* The versions of Landlock in which something came that is used here. */
enum {
	LANDLOCK_RENAMES = 2,   /* Linux 5.19 */
	LANDLOCK_TRUNCATES = 3, /* 6.2 */
	LANDLOCK_KNOWS_TCP = 4, /* 6.7 */
};

/* linux/landlock.h of Linux 6.7; before it there is only the first. */
struct ruleset {
	uint64_t files;
	uint64_t tcp;
};

struct port_rule {
	uint64_t allowed;
	uint64_t port;
};

#define RULE_NET_PORT 2

#define TRUNCATE    (1ULL << 14)
#define TCP_CONNECT (1ULL << 1)
#define CHANGE_FOLDER                                                                              \
	(LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |                           \
	 LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |                           \
	 LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |                               \
	 LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |                             \
	 LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER)

static int ruleset_allow(int ruleset, const char *folder, uint64_t files, struct error *err)
{
	_cleanup_close_ int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	const struct landlock_path_beneath_attr rule = { .allowed_access = files, .parent_fd = fd };

	if (fd < 0 || syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0))
		return error_set_errno(err, errno, "cannot keep the right to write to %s", folder);
	return 0;
}

static int ruleset_allow_tcp(int ruleset, uint16_t port, struct error *err)
{
	const struct port_rule rule = { .allowed = TCP_CONNECT, .port = port };

	if (syscall(SYS_landlock_add_rule, ruleset, RULE_NET_PORT, &rule, 0) < 0)
		return error_set_errno(err, errno, "cannot keep the right to connect to port %u",
				       port);
	return 0;
}

int confine_writes(const char *folder, uint16_t tcp_port, bool *ret_done, struct error *err)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0,
			       LANDLOCK_CREATE_RULESET_VERSION);
	bool truncates = version >= LANDLOCK_TRUNCATES, knows_tcp = version >= LANDLOCK_KNOWS_TCP;
	const struct ruleset handled = { .files = CHANGE_FOLDER | (truncates ? TRUNCATE : 0),
					 .tcp = TCP_CONNECT };

	*ret_done = version >= LANDLOCK_RENAMES;
	if (!*ret_done)
		return 0;
	_cleanup_close_ int ruleset = (int)syscall(
		SYS_landlock_create_ruleset, &handled,
		knows_tcp ? sizeof(handled) : sizeof(handled.files), 0);
	if (ruleset < 0)
		return error_set_errno(err, errno, "cannot make rules of who may write where");
	int r = ruleset_allow(ruleset, folder, handled.files, err);
	if (r == 0)
		r = ruleset_allow(ruleset, "/dev", LANDLOCK_ACCESS_FS_WRITE_FILE, err);
	if (r == 0 && knows_tcp && tcp_port != 0)
		r = ruleset_allow_tcp(ruleset, tcp_port, err);
	if (r < 0)
		return r;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		return error_set_errno(err, errno, "cannot give up the right to write elsewhere");
	return 0;
}
