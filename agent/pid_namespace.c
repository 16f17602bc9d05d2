#include "agent/pid_namespace.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "agent/mounts.h"
#include "agent/rootpath.h"
#include "base/file.h"

enum { SENTENCE_MAX = 256 };

static int wait_until_ready(int ready, struct error *err)
{
	char sentence[SENTENCE_MAX];
	ssize_t n = ready >= 0 ? read_full(ready, sentence, sizeof(sentence)) : 0;

	if (n < 0)
		return error_set_errno(err, (int)n, "cannot hear of it");
	return n > 0 ? error_set(err, EIO, "%.*s", (int)n, sentence) : 0;
}

static int check_proc(int proc, struct error *err)
{
	struct statfs fs;

	if (fstatfs(proc, &fs) < 0)
		return error_set_errno(err, errno, "cannot look at its /proc");
	if (fs.f_type != PROC_SUPER_MAGIC)
		return error_set(err, EINVAL,
				 "who holds it has no procfs on /proc that could be shown");
	return 0;
}

/* Only a mount of the namespace that one is in can be copied. */
static int copy_proc(int pidfd, int *ret_proc, struct error *err)
{
	_cleanup_close_ int own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC), proc = -EBADF;
	_cleanup_close_ int folder = -EBADF;
	int r;

	if (own < 0)
		return error_set_errno(err, errno, "cannot open the own mount namespace");
	if (setns(pidfd, CLONE_NEWNS) < 0)
		return error_set_errno(err, errno, "cannot enter the mounts of who holds it");
	/* Who entered the mounts is in their root now. */
	r = rootpath_open_no_links(AT_FDCWD, "/proc", &folder);
	r = r < 0 ? error_set_errno(err, r, "cannot open its /proc")
		  : mount_copy(folder, "", false, &proc, err);
	if (setns(own, CLONE_NEWNS) < 0)
		return error_set_errno(err, errno, "cannot come back to the own mounts");
	if (r == 0)
		r = check_proc(proc, err);
	if (r == 0)
		*ret_proc = steal_fd(&proc);
	return r;
}

int pid_namespace_join(const struct pid_namespace *pids, int *ret_proc, struct error *err)
{
	int r = wait_until_ready(pids->ready, err);

	if (r == 0 && setns(pids->pidfd, CLONE_NEWPID) < 0)
		r = error_set_errno(err, errno, "who holds it may have ended");
	if (r == 0)
		r = copy_proc(pids->pidfd, ret_proc, err);
	return r < 0 ? error_wrap(err, "cannot join the pid namespace that is shared") : 0;
}
