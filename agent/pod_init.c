#include "agent/pod_init.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/caps.h"
#include "agent/mounts.h"
#include "agent/reaper.h"
#include "base/clone.h"
#include "base/file.h"
#include "base/log.h"
#include "base/strings.h"

#define OOM_SCORE "-998" /* as engines give a pause container: the last to be killed */

/* ---------------------------------------------------------------- the process (child) */

static int attach(int tree, int dir, const char *path, struct error *err)
{
	_cleanup_close_ int target = openat(dir, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = target < 0 ? -errno : mount_attach(tree, target);

	return r < 0 ? error_set_errno(err, r, "cannot mount on %s", path) : 0;
}

static int show_proc(int root, struct error *err)
{
	const struct mount_options options = {
		.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
	};
	_cleanup_close_ int proc = -EBADF;
	int r;

	if (mkdirat(root, "proc", 0555) < 0)
		return error_set_errno(err, errno, "cannot make a folder for /proc");
	r = mount_new("proc", "proc", &options, &proc, err);
	return r == 0 ? attach(proc, root, "proc", err) : r;
}

/* Room for /proc and nothing else. */
static int enter_empty_root(struct error *err)
{
	static const char *data[] = { "size=4k", "nr_inodes=2", "mode=755" };
	const struct mount_options options = { .data = data, .ndata = ARRAY_SIZE(data) };
	_cleanup_close_ int root = -EBADF;
	int r;

	if (mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
		return error_set_errno(err, errno, "cannot make the mounts private");
	r = mount_new("tmpfs", "tmpfs", &options, &root, err);
	if (r == 0)
		r = attach(root, AT_FDCWD, "/proc", err);
	if (r == 0)
		r = show_proc(root, err);
	if (r == 0 && (r = mount_set_readonly(root, false)) < 0)
		r = error_set_errno(err, r, "cannot make the root read-only");
	return r == 0 ? mount_pivot(root, err) : r;
}

static int drop_privileges(struct error *err)
{
	const struct caps none = {};
	int r = caps_apply_bounding(&none);

	if (r == 0)
		r = caps_apply(&none, 0);
	if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		r = -errno;
	return r < 0 ? error_set_errno(err, r, "cannot drop capabilities") : 0;
}

static int prepare(struct error *err)
{
	/* Where it may not, outside of a guest, it has the agent's. */
	(void)!file_write_value("/proc/self/oom_score_adj", OOM_SCORE, NULL);

	int r = enter_empty_root(err);

	return r == 0 ? drop_privileges(err) : r;
}

/* ready is told what went wrong, and closed. */
static _Noreturn void run(int ready)
{
	_cleanup_(error_done) struct error err = {};

	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	prctl(PR_SET_NAME, "pod-init", 0, 0, 0);
	setsid();
	signal(SIGCHLD, SIG_IGN);
	if (dup2(ready, 0) < 0 || close_range(1, ~0U, 0) < 0)
		_exit(1);
	if (prepare(&err) < 0) {
		(void)!write_full(0, error_message(&err), strlen(error_message(&err)));
		_exit(1);
	}
	close(0);
	for (;;)
		pause();
}

/* ---------------------------------------------------------------- the agent's side */

static void forget(struct pod_init *init)
{
	init->pid = 0;
	init->pids.pidfd = close_fd(init->pids.pidfd);
	init->pids.ready = close_fd(init->pids.ready);
}

static void on_exit_status(int status _unused_, void *userdata)
{
	log_warning(NULL, "the first process of the pod's pid namespace has ended, and with it all "
			  "containers that share it");
	forget(userdata);
}

void pod_init_init(struct pod_init *init, struct agent *agent)
{
	*init = (struct pod_init){ .agent = agent, .pids = { -EBADF, -EBADF } };
}

static int start(struct pod_init *init, struct error *err)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set_errno(err, errno, "cannot make a pipe");

	_cleanup_close_ int ours = ends[0], theirs = ends[1];
	pid_t pid = clone_process(CLONE_NEWPID | CLONE_NEWNS | CLONE_CLEAR_SIGHAND, -EBADF,
				  &init->pids.pidfd);

	if (pid == 0)
		run(theirs);
	if (pid < 0)
		return error_set_errno(err, errno, "cannot clone a process");
	init->pid = pid;
	init->pids.ready = steal_fd(&ours);
	reaper_add(init->agent->reaper, pid, on_exit_status, init);
	return 0;
}

int pod_init_get(struct pod_init *init, const struct pid_namespace **ret, struct error *err)
{
	int r = init->pid ? 0 : start(init, err);

	if (r < 0)
		return error_wrap(err, "cannot make a pid namespace for the pod");
	*ret = &init->pids;
	return 0;
}

void pod_init_end(struct pod_init *init)
{
	if (!init->pid)
		return;
	reaper_remove(init->agent->reaper, init->pid);
	(void)syscall(SYS_pidfd_send_signal, init->pids.pidfd, SIGKILL, NULL, 0);
	forget(init);
}
