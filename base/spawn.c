#include "base/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clone.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/open_files.h"
#include "base/strings.h"

#define SPAWN_OUTPUT_MAX  (64 * 1024)
#define SPAWN_MESSAGE_MAX 1024 /* of the output, in an error */
#define FDS_FAILED        "cannot set up its descriptors"

#define PR_SET_MEMORY_MERGE_ 67 /* newer than Debian's headers */

/* What failed in the child, for the parent's sentence. The text is a literal, at the same place
 * in both. */
struct spawn_failure {
	int number; /* positive errno */
	const char *what;
};

/* What the child needs, all of it made before the clone: afterwards the child may only make
 * system calls, for another thread may have held the allocator's lock. */
struct spawn_plan {
	const struct spawn_options *options; /* borrowed */
	char *program;                       /* owned: the path to execute */
	char *const *env;                    /* borrowed */
	struct spawn_fd *fds;                /* owned; sorted by `to`, 0 to 2 always among them */
	size_t nfds;
	int high;                  /* first descriptor number above all of `to` */
	int null;                  /* owned: /dev/null */
	int report_in, report_out; /* owned: pipe for a spawn_failure; closed by execve */
};

static void spawn_plan_done(struct spawn_plan *plan)
{
	free(plan->program);
	free(plan->fds);
	close_fd(plan->null);
	close_fd(plan->report_in);
	close_fd(plan->report_out);
}

/* ---------------------------------------------------------------- before the clone */

static bool is_executable(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* argv[0] as it is where it has a slash, else the first executable on PATH; the caller frees.
 * NULL: there is none. Relative folders on PATH are not looked at. */
static char *find_program(const char *name)
{
	const char *path = getenv("PATH");

	if (strchr(name, '/'))
		return xstrdup(name);
	if (str_empty(path))
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	while (*name && *path) {
		size_t len = strcspn(path, ":");
		_cleanup_free_ char *full = xasprintf("%.*s/%s", (int)len, path, name);

		if (*path == '/' && is_executable(full))
			return steal_ptr(full);
		path += len + (path[len] == ':');
	}
	return NULL;
}

static int by_target(const void *a, const void *b)
{
	const struct spawn_fd *left = a, *right = b;

	return (left->to > right->to) - (left->to < right->to);
}

static int plan_fds(struct spawn_plan *plan, struct error *err)
{
	const struct spawn_options *options = plan->options;

	plan->fds = xnew_array(struct spawn_fd, options->nfds + 3);
	for (size_t i = 0; i < options->nfds; i++) {
		if (options->fds[i].from < 0 || options->fds[i].to < 0)
			return error_set(err, EBADF, "cannot start %s: a descriptor is missing",
					 options->argv[0]);
		plan->fds[plan->nfds++] = options->fds[i];
	}
	for (int std = 0; std <= 2; std++) {
		bool named = false;

		for (size_t i = 0; i < options->nfds; i++)
			named |= options->fds[i].to == std;
		if (!named)
			plan->fds[plan->nfds++] = (struct spawn_fd){ plan->null, std };
	}
	qsort(plan->fds, plan->nfds, sizeof(plan->fds[0]), by_target);
	for (size_t i = 1; i < plan->nfds; i++) {
		if (plan->fds[i].to == plan->fds[i - 1].to)
			return error_set(err, EINVAL, "cannot start %s: descriptor %d twice",
					 options->argv[0], plan->fds[i].to);
	}
	plan->high = plan->fds[plan->nfds - 1].to + 1;
	return 0;
}

static int plan_make(struct spawn_plan *plan, struct error *err)
{
	const char *name = plan->options->argv[0];
	int pipe_fds[2];

	plan->env = plan->options->env ? plan->options->env : environ;
	plan->program = plan->options->program ? xstrdup(plan->options->program)
					       : find_program(name);
	if (!plan->program)
		return error_set(err, ENOENT, "cannot start %s: not found on PATH", name);
	plan->null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (plan->null < 0)
		return error_set_errno(err, errno, "cannot start %s: no /dev/null", name);
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return error_set_errno(err, errno, "cannot start %s: no pipe", name);
	plan->report_in = pipe_fds[0];
	plan->report_out = pipe_fds[1];
	return plan_fds(plan, err);
}

/* ---------------------------------------------------------------- in the child */

static _Noreturn void child_fail(int report, const char *what)
{
	struct spawn_failure failure = { .number = errno, .what = what };

	(void)!write(report, &failure, sizeof(failure));
	_exit(127);
}

/* Handlers of the parent must not run here: signals are blocked until all are default. */
static void child_reset_signals(void)
{
	/* The kernel's struct sigaction, all SIG_DFL. glibc's call would leave out the two signals
	 * it keeps to itself, which a parent further up may have ignored. */
	static const unsigned long by_default[4];
	sigset_t none;

	for (int signo = 1; signo < NSIG; signo++)
		syscall(SYS_rt_sigaction, signo, by_default, NULL,
			NSIG / 8); /* not SIGKILL, SIGSTOP */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Every source is first copied out of the way, above all targets: then no target can be a
 * source that is still needed. Returns the report pipe's new number. */
static int child_map_fds(struct spawn_plan *plan)
{
	int report = fcntl(plan->report_out, F_DUPFD_CLOEXEC, plan->high);

	if (report < 0)
		child_fail(plan->report_out, FDS_FAILED);
	for (size_t i = 0; i < plan->nfds; i++) {
		plan->fds[i].from = fcntl(plan->fds[i].from, F_DUPFD_CLOEXEC, plan->high);
		if (plan->fds[i].from < 0)
			child_fail(report, FDS_FAILED);
	}

	int next = 0;

	for (size_t i = 0; i < plan->nfds; i++) {
		int to = plan->fds[i].to;

		if (dup2(plan->fds[i].from, to) < 0)
			child_fail(report, FDS_FAILED);
		if (to > next &&
		    close_range((unsigned)next, (unsigned)to - 1, CLOSE_RANGE_CLOEXEC) < 0)
			child_fail(report, FDS_FAILED);
		next = to + 1;
	}
	if (close_range((unsigned)next, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		child_fail(report, FDS_FAILED);
	return report;
}

static void child_call_hook(const struct spawn_plan *plan)
{
	const struct spawn_options *options = plan->options;
	const char *what = "cannot be prepared";
	int r = options->in_child ? options->in_child(options->hook_data, &what) : 0;

	if (r < 0) {
		errno = -r;
		child_fail(plan->report_out, what);
	}
}

static _Noreturn void child_run(struct spawn_plan *plan)
{
	const struct spawn_options *options = plan->options;

	child_reset_signals();
	if (options->new_session && setsid() < 0)
		child_fail(plan->report_out, "cannot start a session");
	if (options->no_huge_pages && prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) < 0)
		child_fail(plan->report_out, "cannot turn off huge pages");
	if (options->merge_pages)
		(void)prctl(PR_SET_MEMORY_MERGE_, 1, 0, 0, 0);
	child_call_hook(plan);

	int report = child_map_fds(plan);

	if (options->cwd && chdir(options->cwd) < 0)
		child_fail(report, "cannot change to its folder");
	if (!options->limits_files)
		open_files_restore();
	execve(plan->program, options->argv, plan->env);
	child_fail(report, "cannot execute");
}

/* ---------------------------------------------------------------- in the parent */

int spawn(const struct spawn_options *options, pid_t *ret_pid, int *ret_pidfd, struct error *err)
{
	_cleanup_(spawn_plan_done) struct spawn_plan plan = {
		.options = options,
		.null = -EBADF,
		.report_in = -EBADF,
		.report_out = -EBADF,
	};
	struct spawn_failure failure;
	_cleanup_close_ int pidfd = -EBADF;
	int r = plan_make(&plan, err);

	if (r < 0)
		return r;

	pid_t pid = clone_process(0, -EBADF, &pidfd);

	if (pid == 0)
		child_run(&plan);
	if (pid < 0)
		return error_set_errno(err, errno, "cannot start %s", options->argv[0]);
	plan.report_out = close_fd(plan.report_out);
	if (options->in_parent)
		r = options->in_parent(options->hook_data, pid, err);
	if (r < 0)
		kill(pid, SIGKILL);
	/* The child's own words come before those of a parent that waited for it in vain. */
	if (read_full(plan.report_in, &failure, sizeof(failure)) == sizeof(failure)) {
		waitpid(pid, NULL, 0);
		return error_set_errno(err, failure.number, "cannot start %s: %s", options->argv[0],
				       failure.what);
	}
	if (r < 0) {
		waitpid(pid, NULL, 0);
		return error_wrap(err, "cannot start %s", options->argv[0]);
	}
	*ret_pid = pid;
	*ret_pidfd = steal_fd(&pidfd);
	return 0;
}

int spawn_reap(int pidfd, int *ret_status)
{
	siginfo_t info = {};
	int r;

	do
		r = waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	if (info.si_pid == 0)
		return -EAGAIN;
	if (info.si_code == CLD_EXITED)
		*ret_status = W_EXITCODE(info.si_status & 0xff, 0);
	else
		*ret_status = info.si_status | (info.si_code == CLD_DUMPED ? WCOREFLAG : 0);
	return 0;
}

/* ---------------------------------------------------------------- commands */

/* The last bytes of an output. */
struct tail {
	char *text; /* owned, SPAWN_OUTPUT_MAX + 1 bytes */
	size_t len;
};

static void tail_add(struct tail *tail, const char *data, size_t len)
{
	if (tail->len + len > SPAWN_OUTPUT_MAX) {
		size_t drop = tail->len + len - SPAWN_OUTPUT_MAX;

		memmove(tail->text, tail->text + drop, tail->len - drop);
		tail->len -= drop;
	}
	memcpy(tail->text + tail->len, data, len);
	tail->len += len;
	tail->text[tail->len] = '\0';
}

/* Reads until the pipe ends or, where a grandchild keeps it open, the child has ended. */
static int collect_output(int pipe, int pidfd, int cancel_fd, struct tail *tail)
{
	struct pollfd poll_fds[] = {
		{ .fd = pipe, .events = POLLIN },
		{ .fd = pidfd, .events = POLLIN },
		{ .fd = cancel_fd, .events = POLLIN },
	};
	char data[4096];

	for (;;) {
		ssize_t n = read(pipe, data, sizeof(data));

		if (n > 0)
			tail_add(tail, data, (size_t)n);
		else if (n == 0 || (errno != EAGAIN && errno != EINTR))
			return 0;
		else if (poll_fds[2].revents)
			return -ECANCELED;
		else if (poll_fds[1].revents)
			return 0;
		else
			poll(poll_fds, ARRAY_SIZE(poll_fds), -1);
	}
}

static int wait_for_end(int pidfd, int *ret_status)
{
	struct pollfd poll_fd = { .fd = pidfd, .events = POLLIN };
	int r;

	while ((r = spawn_reap(pidfd, ret_status)) == -EAGAIN)
		poll(&poll_fd, 1, -1);
	return r;
}

int spawn_status_error(const char *name, int status, const char *output, struct error *err)
{
	_cleanup_free_ char *text = xstrdup(output);
	size_t len = strlen(text);

	while (len > 0 && strchr(" \n\r\t", text[len - 1]))
		text[--len] = '\0';

	const char *end = len > SPAWN_MESSAGE_MAX ? text + len - SPAWN_MESSAGE_MAX : text;

	if (WIFSIGNALED(status))
		return error_set(err, EIO, "%s was ended by signal %d: %s", name, WTERMSIG(status),
				 end);
	if (WEXITSTATUS(status) != 0)
		return error_set(err, EIO, "%s failed with status %d: %s", name,
				 WEXITSTATUS(status), end);
	return 0;
}

/* The output's pipe is the child's alone from here on. */
static int start_with_pipe(const struct spawn_options *options, int *ret_pipe, int *ret_pidfd,
			   struct error *err)
{
	_cleanup_free_ struct spawn_fd *fds = xnew_array(struct spawn_fd, options->nfds + 2);
	struct spawn_options with_pipe = *options;
	int pipe_fds[2];
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return error_set_errno(err, errno, "cannot start %s: no pipe", options->argv[0]);

	_cleanup_close_ int in = pipe_fds[0], out = pipe_fds[1];

	for (size_t i = 0; i < options->nfds; i++)
		fds[i] = options->fds[i];
	fds[options->nfds] = (struct spawn_fd){ out, 1 };
	fds[options->nfds + 1] = (struct spawn_fd){ out, 2 };
	with_pipe.fds = fds;
	with_pipe.nfds = options->nfds + 2;

	int r = spawn(&with_pipe, &pid, ret_pidfd, err);

	if (r == 0)
		*ret_pipe = steal_fd(&in);
	return r;
}

int spawn_run(const struct spawn_options *options, int cancel_fd, int *ret_status,
	      char **ret_output, struct error *err)
{
	_cleanup_close_ int pipe = -EBADF, pidfd = -EBADF;
	int r = start_with_pipe(options, &pipe, &pidfd, err);

	if (r < 0)
		return r;

	_cleanup_free_ char *text = xcalloc(1, SPAWN_OUTPUT_MAX + 1);
	struct tail tail = { .text = text };
	int given_up = 0, status = 0;

	if (fcntl(pipe, F_SETFL, O_NONBLOCK) == 0)
		given_up = collect_output(pipe, pidfd, cancel_fd, &tail);
	if (given_up < 0)
		(void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
	r = wait_for_end(pidfd, &status);
	if (r < 0)
		return error_set_errno(err, r, "cannot wait for %s", options->argv[0]);
	if (given_up < 0)
		return error_set(err, -given_up, "%s was given up", options->argv[0]);
	*ret_status = status;
	if (ret_output)
		*ret_output = steal_ptr(text);
	return 0;
}

int spawn_and_wait(char *const *argv, char **ret_output, struct error *err)
{
	const struct spawn_options options = { .argv = argv };
	_cleanup_free_ char *output = NULL;
	int status = 0;
	int r = spawn_run(&options, -1, &status, &output, err);

	if (r == 0)
		r = spawn_status_error(argv[0], status, output, err);
	if (r == 0 && ret_output)
		*ret_output = steal_ptr(output);
	return r;
}
