#include "agent/child.h"

#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "agent/devices.h"
#include "agent/executable.h"
#include "agent/home.h"
#include "agent/modules.h"
#include "agent/pty.h"
#include "agent/rootpath.h"
#include "base/clone.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/strings.h"

#define NULL_DEVICE makedev(1, 3)

/* As containerd's unit has it; the most that the kernel allows by default (fs.nr_open). */
enum { NOFILE_SOFT = 1024, NOFILE_HARD = 1048576 };

enum { STATUS_FAILED = 127 };

/* What an exec shares with the container when it is born: all but the network, which is the
 * guest's, and the cgroup namespace. */
enum { JOIN_FLAGS = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID };

/* What it cannot enter that without. */
static const uint64_t caps_to_enter = UINT64_C(1) << CAP_SYS_ADMIN;

/* What a child cannot become its user without, and give its stdio to that user. */
static const uint64_t caps_to_become = UINT64_C(1) << CAP_SETUID | UINT64_C(1) << CAP_SETGID |
				       UINT64_C(1) << CAP_CHOWN;

/* What it cannot load its filter without, unless it can have no new privileges. */
static uint64_t caps_to_filter(const struct child_plan *plan)
{
	bool needed = plan->filter->count > 0 && !plan->process->process->nonewprivileges;

	return needed ? UINT64_C(1) << CAP_SYS_ADMIN : 0;
}

/* ---------------------------------------------------------------- descriptors */

static int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* Nothing of the agent's may stay open here: a copy of another container's pipe would hold
 * back the end of its output. */
static void close_all_but(int *kept, size_t count)
{
	unsigned next = 3;

	qsort(kept, count, sizeof(*kept), compare);
	for (size_t i = 0; i < count; i++) {
		if (kept[i] < (int)next)
			continue;
		if (kept[i] > (int)next)
			close_range(next, (unsigned)kept[i] - 1, 0);
		next = (unsigned)kept[i] + 1;
	}
	close_range(next, ~0U, 0);
}

static int take_descriptors(const struct child_plan *plan, struct error *err)
{
	/* Where a terminal will be, the agent's stdin (/dev/null) takes the place of its console.
	 */
	for (int to = 0; to <= 2; to++)
		if (dup2(plan->stdio[to] >= 0 ? plan->stdio[to] : 0, to) < 0)
			return error_set_errno(err, errno, "cannot put stdio in place");
	return 0;
}

/* /dev/stdout leads to the pipe or the terminal, which the user must be able to open again. Not so
 * the container's /dev/null, which is everybody's. */
static void give_stdio_to(uid_t uid, bool has_null)
{
	for (int fd = has_null ? STDIN_FILENO + 1 : STDIN_FILENO; uid != 0 && fd <= STDERR_FILENO;
	     fd++)
		(void)!fchown(fd, uid, (gid_t)-1);
}

/* ---------------------------------------------------------------- the sync socket */

static void send_message(const struct child_plan *plan, enum child_message_kind kind, int number,
			 const char *text, int terminal)
{
	struct child_message message = { .kind = kind, .number = number };

	snprintf(message.text, sizeof(message.text), "%s", text);
	size_t len = offsetof(struct child_message, text) + strlen(message.text) + 1;
	if (socket_send(plan->sync, &message, len, &terminal, terminal >= 0 ? 1 : 0) < 0)
		_exit(STATUS_FAILED); /* the agent is gone */
}

static _Noreturn void fail(const struct child_plan *plan, const struct error *err)
{
	send_message(plan, CHILD_FAILED, err->number, error_message(err), -EBADF);
	_exit(STATUS_FAILED);
}

/* The end of the stream instead: nobody will ever start this process. */
static void wait_for_go(const struct child_plan *plan)
{
	char go;
	ssize_t n;

	do
		n = read(plan->sync, &go, 1);
	while (n < 0 && errno == EINTR);
	if (n != 1)
		_exit(STATUS_FAILED);
}

/* ---------------------------------------------------------------- namespaces and root */

static int set_sysctl(const Grpc__Linux__SysctlEntry *entry, struct error *err)
{
	_cleanup_free_ char *path = xasprintf("/proc/sys/%s", entry->key);
	bool dotted = !strchr(entry->key, '/');

	if (str_empty(entry->key) || strstr(entry->key, ".."))
		return error_set(err, EINVAL, "\"%s\" is no sysctl", entry->key);
	for (char *p = path + strlen("/proc/sys/"); dotted && *p; p++)
		if (*p == '.')
			*p = '/';
	int r = file_write_value(path, entry->value, err);
	return r < 0 ? error_wrap(err, "cannot set sysctl %s", entry->key) : 0;
}

static int set_sysctls(const Grpc__Linux *linux, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && linux && i < linux->n_sysctl; i++)
		r = set_sysctl(linux->sysctl[i], err);
	return r;
}

static int set_hostname(const struct child_plan *plan, struct error *err)
{
	if (str_empty(plan->hostname))
		return 0;
	if (!(plan->namespaces->clone_flags & CLONE_NEWUTS))
		return error_set(err, EINVAL,
				 "unable to set hostname without a private UTS namespace");
	if (sethostname(plan->hostname, strlen(plan->hostname)) < 0)
		return error_set_errno(err, errno, "cannot set the hostname");
	return 0;
}

static int set_domainname(const struct child_plan *plan, struct error *err)
{
	const char *name = plan->rootfs->spec->domainname;

	if (str_empty(name))
		return 0;
	if (!(plan->namespaces->clone_flags & CLONE_NEWUTS))
		return error_set(err, EINVAL,
				 "unable to set domainname without a private UTS namespace");
	if (setdomainname(name, strlen(name)) < 0)
		return error_set_errno(err, errno, "cannot set the domainname");
	return 0;
}

static int open_terminal(const struct child_plan *plan, int root, const char *fallback,
			 int *ret_master, int *ret_slave, struct error *err)
{
	if (!plan->process->process->terminal)
		return 0;
	return pty_open(root, fallback, &plan->process->window, ret_master, ret_slave, err);
}

/* For a container's first process. */
static int make_world(const struct child_plan *plan, int *ret_master, int *ret_slave,
		      struct error *err)
{
	const char *cwd = plan->process->process->cwd;
	_cleanup_close_ int root = -EBADF, dir = -EBADF;
	int r = namespace_enter(plan->namespaces, err);

	if (r == 0)
		r = set_hostname(plan, err);
	if (r == 0)
		r = set_domainname(plan, err);
	if (r == 0)
		r = set_sysctls(plan->rootfs->spec->linux, err);
	if (r == 0)
		r = rootfs_prepare(plan->rootfs, &root, err);
	if (r == 0)
		r = open_terminal(plan, root, "/dev/ptmx", ret_master, ret_slave, err);
	if (r == 0 && *ret_slave >= 0 && !plan->rootfs->bind_dev)
		r = devices_bind_console(root, *ret_slave, err);
	/* Where this fails, changing into it will say why. */
	if (r == 0 && !str_empty(cwd))
		(void)!rootpath_make(root, cwd, true, &dir, NULL);
	if (r == 0)
		r = rootfs_enter(plan->rootfs, root, err);
	if (r == 0)
		r = personality_set(plan->rootfs->spec->linux, err);
	return r < 0 ? error_wrap(err, "error during container init") : 0;
}

/* ---------------------------------------------------------------- attributes */

static int set_oom_score(const Grpc__Process *process, struct error *err)
{
	char value[16];

	if (process->oomscoreadj == 0)
		return 0;
	snprintf(value, sizeof(value), "%d", (int)process->oomscoreadj);
	return file_write_value("/proc/self/oom_score_adj", value, err);
}

/* The agent's own is for the agent: far too high for programs that walk through it, and too low for
 * those that raise it. It can be made higher in a guest; elsewhere root may lack the right. */
static void set_open_files(void)
{
	struct rlimit limit = { NOFILE_SOFT, NOFILE_HARD };

	if (setrlimit(RLIMIT_NOFILE, &limit) == 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0 ||
	    limit.rlim_cur <= NOFILE_SOFT)
		return;
	limit.rlim_cur = NOFILE_SOFT;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int set_limits(const struct process_plan *plan, struct error *err)
{
	bool has_nofile = false;

	for (size_t i = 0; i < plan->nlimits; i++) {
		const struct limit_plan *limit = &plan->limits[i];
		if (setrlimit(limit->resource, &limit->limit) < 0)
			return error_set_errno(err, errno, "cannot set %s",
					       plan->process->rlimits[i]->type);
		has_nofile |= limit->resource == RLIMIT_NOFILE;
	}
	if (!has_nofile)
		set_open_files();
	return 0;
}

static int set_user(const struct user_plan *user, struct error *err)
{
	uid_t uid = user->uid;
	gid_t gid = user->gid;

	if (setgroups(user->ngroups, user->groups) < 0)
		return error_set_errno(err, errno, "cannot set additional groups");
	if (setresgid(gid, gid, gid) < 0)
		return error_set_errno(err, errno, "cannot become group %u", gid);
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setresuid(uid, uid, uid) < 0 ||
	    prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
		return error_set_errno(err, errno, "cannot become user %u", uid);
	return 0;
}

/* Gives up what the process will not need to become what it shall be. */
static int limit_privileges(const struct child_plan *plan, uint64_t more, struct error *err)
{
	const struct caps *caps = &plan->process->caps;
	int r = caps_apply_bounding(caps);

	if (r == 0)
		r = caps_limit(caps, caps_to_become | caps_to_filter(plan) | more);
	return r < 0 ? error_set_errno(err, r, "cannot drop capabilities") : 0;
}

static int set_privileges(const struct child_plan *plan, struct error *err)
{
	const Grpc__Process *process = plan->process->process;
	int r = set_user(&plan->process->user, err);

	if (r < 0)
		return r;
	r = caps_apply(&plan->process->caps, caps_to_filter(plan));
	if (r < 0)
		return error_set_errno(err, r, "cannot set capabilities");
	if (process->nonewprivileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_set_errno(err, errno, "cannot set no_new_privs");
	return 0;
}

/* The last step: from here on the filter decides about this process, too. */
static int load_filter(const struct child_plan *plan, struct error *err)
{
	int r = plan->filter->count > 0 ? seccomp_program_load(plan->filter) : 0;

	if (r < 0)
		return error_set_errno(err, r, "cannot load the seccomp filter");
	if (caps_to_filter(plan) != 0)
		r = caps_finish(&plan->process->caps);
	return r < 0 ? error_set_errno(err, r, "cannot set capabilities under the seccomp filter")
		     : 0;
}

/* The kernel says of a folder outside of the root that it cannot be reached. */
static int enter_cwd(const Grpc__Process *process, struct error *err)
{
	const char *cwd = str_empty(process->cwd) ? "/" : process->cwd;
	char path[PATH_MAX];

	if (chdir(cwd) < 0)
		return error_set_errno(err, errno,
				       "chdir to cwd (\"%s\") set in config.json failed", cwd);
	if (syscall(SYS_getcwd, path, sizeof(path)) < 0 || *path != '/')
		return error_set(err, EACCES, "cwd (\"%s\") is outside of the container's root",
				 cwd);
	return 0;
}

/* What needs more than the process will have. */
static int prepare_privileged(const struct process_plan *plan, struct error *err)
{
	int r = set_oom_score(plan->process, err);

	if (r == 0)
		r = schedule_apply(&plan->schedule, err);
	return r == 0 ? set_limits(plan, err) : r;
}

/* The container's own, so that nothing of the guest's can be reached by it. One without keeps the
 * pipe that nobody writes to, which ends as soon. */
static void take_null_as_stdin(void)
{
	_cleanup_close_ int fd = open("/dev/null", O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == NULL_DEVICE &&
	    fcntl(fd, F_SETFL, 0) == 0)
		(void)dup2(fd, STDIN_FILENO);
}

/* After the root is entered, where names of users mean something. The folder may be one that only
 * the user may enter. */
static int become_process(const struct child_plan *plan, int slave, struct error *err)
{
	struct process_plan *process = plan->process;
	int r = user_plan_complete(&process->user, err);
	int entered = 0;

	setsid();
	if (r == 0 && slave >= 0)
		r = pty_take(slave, err);
	else if (r == 0 && plan->no_stdin)
		take_null_as_stdin();
	give_stdio_to(process->user.uid, slave < 0 && plan->no_stdin);
	if (r == 0)
		entered = enter_cwd(process->process, NULL);
	if (r == 0)
		r = set_privileges(plan, err);
	if (r == 0 && entered < 0)
		r = enter_cwd(process->process, err);
	umask(process->mask);
	return r;
}

/* An empty HOME counts as none, and is replaced: programs read the first one. */
static void add_home(struct process_plan *plan)
{
	size_t i = 0;

	if (!str_empty(process_plan_getenv(plan, "HOME")))
		return;
	while (i < plan->nenv && !str_after(plan->env[i], "HOME="))
		i++;
	plan->env[i] = home_variable(plan->user.uid);
}

static void reset_signals(void)
{
	sigset_t none;

	/* Handlers are gone since the clone; what is ignored survives even execve. */
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* ---------------------------------------------------------------- the two kinds */

/* Returns in the child alone. Who breaks into that has no hand on what the agent is told: the page
 * is not in it. */
static int go_on_inside(const struct child_plan *plan, struct error *err)
{
	int pidfd;

	if (madvise((void *)plan->successor, sizeof(*plan->successor), MADV_DONTFORK) < 0)
		return error_set_errno(err, errno, "cannot keep a page from a child");

	pid_t pid = clone_process(CLONE_PARENT, -EBADF, &pidfd);

	if (pid > 0) {
		*plan->successor = pid;
		_exit(0);
	}
	return pid < 0 ? error_set_errno(err, errno, "cannot clone the first process") : 0;
}

/* With processes that are shared, so that nothing but the container is left to be seen. */
static int make_world_beside(const struct child_plan *plan, int *ret_master, int *ret_slave,
			     struct error *err)
{
	_cleanup_close_ int proc = -EBADF;
	int r = pid_namespace_join(plan->pids, &proc, err);

	close_fd(plan->pids->pidfd);
	close_fd(plan->pids->ready);
	plan->rootfs->proc = proc;
	return r == 0 ? make_world(plan, ret_master, ret_slave, err) : r;
}

static bool may_set_up_network(const struct child_plan *plan)
{
	return plan->process->caps.bounding & UINT64_C(1) << CAP_NET_ADMIN;
}

/* A container's first process: nobody is in its pid namespace before it, or it is not in there yet.
 */
static int make_container(const struct child_plan *plan, int *ret_master, int *ret_slave,
			  struct error *err)
{
	int kept[] = { plan->sync, plan->pids ? plan->pids->pidfd : -EBADF,
		       plan->pids ? plan->pids->ready : -EBADF };
	int r = take_descriptors(plan, err);

	close_all_but(kept, ARRAY_SIZE(kept));
	if (may_set_up_network(plan))
		modules_load_iptables();
	if (r == 0)
		r = prepare_privileged(plan->process, err);
	if (r == 0)
		r = plan->pids ? make_world_beside(plan, ret_master, ret_slave, err)
			       : make_world(plan, ret_master, ret_slave, err);
	if (r == 0)
		r = limit_privileges(plan, 0, err);
	return r == 0 && plan->pids ? go_on_inside(plan, err) : r;
}

/* That of the process pidfd. It is opened by a file of the guest's /proc, which the child has not.
 */
static int open_cgroup_namespace(int pidfd, int *ret_fd, struct error *err)
{
	static const char self[] = "/proc/self/ns/cgroup";
	_cleanup_close_ int own = open(self, O_RDONLY | O_CLOEXEC), theirs = -EBADF;

	if (own < 0 || setns(pidfd, CLONE_NEWCGROUP) < 0)
		return error_set_errno(err, errno, "cannot join the container's cgroup namespace");
	theirs = open(self, O_RDONLY | O_CLOEXEC);
	if (theirs < 0 || setns(own, CLONE_NEWCGROUP) < 0)
		return error_set_errno(err, errno, "cannot leave the container's cgroup namespace");
	*ret_fd = steal_fd(&theirs);
	return 0;
}

/* The kernel lets nobody who is in a cgroup namespace, and in no group of it, clone into a group
 * (nsdelegate). So this is entered by the child, which is in its group. */
static int enter_cgroup_namespace(const struct child_plan *plan, struct error *err)
{
	const uint64_t more = caps_to_become | caps_to_filter(plan);

	if (setns(plan->cgroup_namespace, CLONE_NEWCGROUP) < 0)
		return error_set_errno(err, errno, "cannot join the container's cgroup namespace");
	close_fd(plan->cgroup_namespace);
	int r = caps_limit(&plan->process->caps, more);
	return r < 0 ? error_set_errno(err, r, "cannot drop capabilities") : 0;
}

int child_join(struct child_plan *plan, int cgroup, struct error *err)
{
	int kept[] = { plan->sync, plan->join_pidfd, cgroup };
	int r = take_descriptors(plan, err);

	close_all_but(kept, ARRAY_SIZE(kept));
	if (r == 0)
		r = prepare_privileged(plan->process, err);
	if (r == 0)
		r = open_cgroup_namespace(plan->join_pidfd, &plan->cgroup_namespace, err);
	if (r == 0 && setns(plan->join_pidfd, JOIN_FLAGS) < 0)
		r = error_set_errno(err, errno, "cannot join the container's namespaces");
	close_fd(plan->join_pidfd);
	return r == 0 ? limit_privileges(plan, caps_to_enter, err) : r;
}

/* A program of the guest's own, in whose place it is already. */
static int make_program(const struct child_plan *plan, struct error *err)
{
	int r = take_descriptors(plan, err);

	if (r == 0)
		r = prepare_privileged(plan->process, err);
	return r == 0 ? limit_privileges(plan, 0, err) : r;
}

/* An exec, born in the container, or a program of the guest's. */
static int finish_exec(const struct child_plan *plan, int *ret_master, int *ret_slave,
		       struct error *err)
{
	_cleanup_close_ int root = -EBADF;
	int kept[] = { plan->sync };
	int r = plan->join_pidfd >= 0 ? enter_cgroup_namespace(plan, err) : 0;

	if (r < 0)
		return r;
	close_all_but(kept, ARRAY_SIZE(kept));
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return error_set_errno(err, errno, "cannot open the root folder");
	return open_terminal(plan, root, NULL, ret_master, ret_slave, err);
}

static int prepare(const struct child_plan *plan, int *ret_master, char **ret_file,
		   struct error *err)
{
	struct process_plan *process = plan->process;
	int slave = -EBADF;
	int r = 0;

	umask(0);
	/* Nobody in the container may look into this copy of the agent. */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (!plan->rootfs && plan->join_pidfd < 0)
		r = make_program(plan, err);
	if (r == 0)
		r = plan->rootfs ? make_container(plan, ret_master, &slave, err)
				 : finish_exec(plan, ret_master, &slave, err);
	if (r == 0)
		r = become_process(plan, slave, err);
	if (r < 0)
		return r;
	add_home(process);
	return executable_find(process->args[0], process_plan_getenv(process, "PATH"), ret_file,
			       err);
}

void child_run(const struct child_plan *plan)
{
	_cleanup_(error_done) struct error err = {};
	int master = -EBADF;
	char *file = NULL;

	if (prepare(plan, &master, &file, &err) < 0)
		fail(plan, &err);
	send_message(plan, CHILD_READY, 0, "", master);
	close_fd(master);
	if (plan->rootfs)
		wait_for_go(plan);
	reset_signals();
	if (load_filter(plan, &err) < 0)
		fail(plan, &err);
	execve(file, plan->process->args, plan->process->env);
	error_set_errno(&err, errno, "exec %s", file);
	fail(plan, &err);
}
