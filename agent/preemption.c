#include "agent/preemption.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <linux/sched/types.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/strings.h"

/* Of the agent: the granularity counts a third of what it is. */
enum { AGENT_NICE = -5, VALUE_MAX = 64 };

/* debugfs without a place in the tree, where containers and their mounts could meet it. */
static int open_debugfs(int *ret_fd)
{
	_cleanup_close_ int context = fsopen("debugfs", FSOPEN_CLOEXEC);

	if (context < 0 || fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;

	int fd = fsmount(context, FSMOUNT_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

/* The kernel's own text of a value is what is written back. */
static int read_value(int folder, const char *name, char ret_text[static VALUE_MAX],
		      struct error *err)
{
	_cleanup_close_ int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -errno : read_full(fd, ret_text, VALUE_MAX - 1);

	if (n < 0)
		return error_set_errno(err, (int)n, "cannot read sched/%s of debugfs", name);
	ret_text[n] = '\0';
	return 0;
}

static int write_value(int folder, const char *name, const char *text, struct error *err)
{
	_cleanup_close_ int fd = openat(folder, name, O_WRONLY | O_CLOEXEC);
	int r = fd < 0 ? -errno : write_full(fd, text, strlen(text));

	return r < 0 ? error_set_errno(err, r, "cannot write sched/%s of debugfs", name) : 0;
}

int preemption_limit_in(int folder, struct error *err)
{
	char latency[VALUE_MAX], scaling[VALUE_MAX];
	int r = read_value(folder, "latency_ns", latency, err);

	if (r == 0)
		r = read_value(folder, "tunable_scaling", scaling, err);
	if (r == 0)
		r = write_value(folder, "wakeup_granularity_ns", latency, err);
	/* Has the kernel take note of it: it computes the value anew when a vCPU comes or goes. */
	return r < 0 ? r : write_value(folder, "tunable_scaling", scaling, err);
}

/* Its children are as all processes are. */
static int raise_agent(struct error *err)
{
	struct sched_attr attr = {
		.size = sizeof(attr),
		.sched_policy = SCHED_NORMAL,
		.sched_flags = SCHED_FLAG_RESET_ON_FORK,
		.sched_nice = AGENT_NICE,
	};

	if (syscall(SYS_sched_setattr, 0, &attr, 0) < 0)
		return error_set_errno(err, errno, "cannot raise the agent's priority");
	return 0;
}

int preemption_limit(struct error *err)
{
	_cleanup_close_ int debugfs = -EBADF;
	int r = open_debugfs(&debugfs);

	if (r < 0)
		return error_set_errno(err, r, "cannot mount debugfs");

	_cleanup_close_ int folder = openat(debugfs, "sched", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (folder < 0)
		return error_set_errno(err, errno, "cannot open sched of debugfs");
	r = preemption_limit_in(folder, err);
	return r < 0 ? r : raise_agent(err);
}
