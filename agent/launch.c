#include "agent/launch.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clone.h"
#include "base/memory.h"
#include "base/socket.h"

enum { STACK_SIZE = 256 * 1024, ERRNO_MAX = 4095 /* the kernel's */ };

static const char *const state_names[] = {
	[LAUNCH_BUILDING] = "building", [LAUNCH_PREPARING] = "preparing",
	[LAUNCH_WAITING] = "waiting",   [LAUNCH_GOING] = "going",
	[LAUNCH_OVER] = "over",
};
DEFINE_STRING_TABLE(launch_state, enum launch_state, state_names)

static const unsigned next_states[] = {
	[LAUNCH_BUILDING] = STATE(LAUNCH_PREPARING),
	[LAUNCH_PREPARING] = STATE(LAUNCH_WAITING) | STATE(LAUNCH_GOING) | STATE(LAUNCH_OVER),
	[LAUNCH_WAITING] = STATE(LAUNCH_GOING) | STATE(LAUNCH_OVER),
	[LAUNCH_GOING] = STATE(LAUNCH_OVER),
	[LAUNCH_OVER] = 0,
};
const struct state_machine launch_states = STATE_MACHINE("launch", state_names, next_states);

struct launch {
	struct loop *loop;         /* borrowed */
	struct loop_watch *watch;  /* owned; NULL when BUILDING and OVER */
	int sync;                  /* owned; -EBADF when OVER */
	volatile pid_t *successor; /* a page, owned; NULL unless BUILDING */
	enum launch_state state;
	bool waits; /* it is WAITING when it is ready, not GOING at once */
	launch_fn fn;
	void *userdata; /* borrowed */
};

/* Not worth a line in the log: the process has one for each (agent/process.c). */
static void set_state(struct launch *launch, enum launch_state state)
{
	state_change(&launch_states, NULL, launch->state, state);
	launch->state = state;
}

/* ---------------------------------------------------------------- clone */

/* Does not return in the child. */
static pid_t clone_child(const struct launch_options *options, uint64_t more_flags, int *ret_pidfd,
			 struct error *err)
{
	pid_t pid = clone_process(options->clone_flags | more_flags | CLONE_CLEAR_SIGHAND,
				  options->cgroup_fd, ret_pidfd);

	if (pid == 0)
		child_run(options->plan);
	return pid < 0 ? error_set_errno(err, errno, "cannot clone a process") : pid;
}

struct birth {
	const struct launch_options *options;
	struct error *err;
	pid_t pid; /* or what went wrong */
};

/* In the agent's memory, with descriptors, namespaces and credentials of its own. It must not wait
 * for anything of the container's: the agent waits for it. */
static int give_birth(void *userdata)
{
	struct birth *birth = userdata;
	int pidfd;

	birth->pid = child_join(birth->options->plan, birth->options->cgroup_fd, birth->err);
	if (birth->pid == 0)
		birth->pid = clone_child(birth->options, CLONE_PARENT, &pidfd, birth->err);
	_exit(0);
}

static pid_t clone_into_container(const struct launch_options *options, int *ret_pidfd,
				  struct error *err)
{
	struct birth birth = { .options = options, .err = err, .pid = -ECHILD };
	char *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

	if (stack == MAP_FAILED)
		return error_set_errno(err, errno, "cannot clone a process");

	/* The agent's handlers must not run in a process that shares its memory. */
	sigset_t all, before;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);

	pid_t pid = clone(give_birth, stack + STACK_SIZE, CLONE_VM | CLONE_VFORK | SIGCHLD, &birth);
	int number = errno;

	if (pid > 0)
		waitpid(pid, NULL, 0);
	sigprocmask(SIG_SETMASK, &before, NULL);
	munmap(stack, STACK_SIZE);
	if (pid < 0)
		return error_set_errno(err, number, "cannot clone a process");
	if (birth.pid < 0)
		return birth.pid;

	/* It is the agent's child, so its number stays its own until it is collected. */
	int pidfd = (int)syscall(SYS_pidfd_open, birth.pid, 0);

	if (pidfd < 0) {
		error_set_errno(err, errno, "cannot watch a process");
		kill(birth.pid, SIGKILL);
		waitpid(birth.pid, NULL, 0);
		return -EAGAIN;
	}
	*ret_pidfd = pidfd;
	return birth.pid;
}

/* ---------------------------------------------------------------- events */

static void finish(struct launch *launch, enum launch_event event, struct error *err)
{
	set_state(launch, LAUNCH_OVER);
	loop_watch_free(steal_ptr(launch->watch));
	launch->sync = close_fd(launch->sync);
	launch->fn(event, -EBADF, err, launch->userdata);
}

static void on_stream_end(struct launch *launch)
{
	_cleanup_(error_done) struct error err = {};

	if (launch->state == LAUNCH_GOING) {
		finish(launch, LAUNCH_STARTED, NULL);
		return;
	}
	error_set(&err, ECONNRESET, "the process ended before it was started");
	finish(launch, LAUNCH_FAILED, &err);
}

static void on_failure(struct launch *launch, const struct child_message *message)
{
	_cleanup_(error_done) struct error err = {};

	bool is_errno = message->number > 0 && message->number <= ERRNO_MAX;

	if (message->kind == CHILD_FAILED)
		error_set(&err, is_errno ? message->number : EIO, "%.*s", CHILD_TEXT_MAX,
			  message->text);
	else
		error_set(&err, EPROTO,
			  "the process being set up has sent a message that it must not send");
	finish(launch, LAUNCH_FAILED, &err);
}

/* True where there may be more. */
static bool receive_one(struct launch *launch)
{
	struct child_message message = {};
	int fds[SOCKET_MAX_FDS];
	size_t nfds = 0;
	ssize_t n = socket_receive(launch->sync, &message, sizeof(message) - 1, fds, &nfds);

	if (n == -EAGAIN)
		return false;
	for (size_t i = 1; i < nfds; i++)
		close_fd(fds[i]);
	if (n > 0 && message.kind == CHILD_READY && launch->state == LAUNCH_PREPARING) {
		set_state(launch, launch->waits ? LAUNCH_WAITING : LAUNCH_GOING);
		launch->fn(LAUNCH_READY, nfds > 0 ? fds[0] : -EBADF, NULL, launch->userdata);
		return true;
	}
	if (nfds > 0)
		close_fd(fds[0]);
	if (n > 0)
		on_failure(launch, &message);
	else
		on_stream_end(launch);
	return false;
}

void launch_drain(struct launch *launch)
{
	while (launch->state != LAUNCH_OVER && receive_one(launch))
		;
}

static void on_readable(int fd _unused_, unsigned events _unused_, void *userdata)
{
	launch_drain(userdata);
}

/* ---------------------------------------------------------------- who goes on */

static volatile pid_t *successor_new(struct error *err)
{
	void *page = mmap(NULL, sizeof(pid_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			  -1, 0);

	if (page == MAP_FAILED)
		error_set_errno(err, errno, "cannot share a page with a process");
	return page == MAP_FAILED ? NULL : page;
}

static void successor_free(volatile pid_t *successor)
{
	if (successor)
		munmap((void *)successor, sizeof(pid_t));
}

/* It may have ended and be collected, and its number be another's. */
static int open_child(pid_t pid)
{
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	siginfo_t info;

	if (pidfd < 0 || waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
		return -errno;
	return steal_fd(&pidfd);
}

bool launch_go_on(struct launch *launch, pid_t *ret_pid, int *ret_pidfd)
{
	if (launch->state != LAUNCH_BUILDING)
		return false;

	pid_t pid = *launch->successor;
	int pidfd = pid > 0 ? open_child(pid) : -ECHILD;

	successor_free(steal_ptr(launch->successor));
	set_state(launch, LAUNCH_PREPARING);
	if (pidfd < 0)
		return false;
	launch->watch = loop_watch_new(launch->loop, launch->sync, LOOP_READ, on_readable, launch);
	*ret_pid = pid;
	*ret_pidfd = pidfd;
	return true;
}

/* ---------------------------------------------------------------- life */

static int start(struct launch *launch, const struct launch_options *options, pid_t *ret_pid,
		 int *ret_pidfd, struct error *err)
{
	struct child_plan *plan = options->plan;

	if (plan->pids) {
		launch->successor = plan->successor = successor_new(err);
		if (!launch->successor)
			return -ENOMEM;
	}
	pid_t pid = plan->join_pidfd >= 0 ? clone_into_container(options, ret_pidfd, err)
					  : clone_child(options, 0, ret_pidfd, err);
	if (pid < 0)
		return pid;
	launch->state = plan->pids ? LAUNCH_BUILDING : LAUNCH_PREPARING;
	if (!plan->pids)
		launch->watch = loop_watch_new(launch->loop, launch->sync, LOOP_READ, on_readable,
					       launch);
	*ret_pid = pid;
	return 0;
}

int launch_new(struct loop *loop, const struct launch_options *options, struct launch **ret,
	       pid_t *ret_pid, int *ret_pidfd, struct error *err)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set_errno(err, errno, "cannot make a socket pair");

	_cleanup_close_ int ours = pair[0], childs = pair[1];
	int r = fd_set_nonblocking(ours);
	if (r < 0)
		return error_set_errno(err, r, "cannot prepare a socket");

	options->plan->sync = childs;

	struct launch *launch = xnew(struct launch);

	launch->loop = loop;
	launch->sync = steal_fd(&ours);
	/* A container's first process waits for its start, others run at once. */
	launch->waits = options->plan->rootfs != NULL;
	launch->fn = options->fn;
	launch->userdata = options->userdata;
	r = start(launch, options, ret_pid, ret_pidfd, err);
	if (r < 0)
		launch_free(launch);
	else
		*ret = launch;
	return r;
}

int launch_go(struct launch *launch)
{
	if (launch->state != LAUNCH_WAITING)
		return -EPIPE;

	ssize_t n = socket_send(launch->sync, "g", 1, NULL, 0);

	if (n < 0)
		return (int)n;
	set_state(launch, LAUNCH_GOING);
	return 0;
}

void launch_free(struct launch *launch)
{
	if (!launch)
		return;
	loop_watch_free(launch->watch);
	successor_free(launch->successor);
	close_fd(launch->sync);
	free(launch);
}
