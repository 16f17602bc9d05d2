#include "ctl/exec_streams.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clone.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/socket.h"

enum { CHUNK = 64 * 1024 };

static int open_pipe(struct exec_streams *streams, int stream, struct error *err)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set_errno(err, errno, "cannot make a pipe");
	streams->shims[stream] = stream == STDIN_FILENO ? ends[0] : ends[1];
	streams->ours[stream] = stream == STDIN_FILENO ? ends[1] : ends[0];
	if (stream == STDIN_FILENO)
		return 0;
	int r = fd_set_nonblocking(streams->ours[stream]);
	return r < 0 ? error_set_errno(err, r, "cannot prepare a pipe") : 0;
}

int exec_streams_open(struct loop *loop, bool terminal, struct exec_streams *ret, struct error *err)
{
	int r = 0;

	*ret = (struct exec_streams){
		.loop = loop,
		.shims = { -EBADF, -EBADF, -EBADF },
		.ours = { -EBADF, -EBADF, -EBADF },
		.child = -EBADF,
	};
	for (int i = 0; r == 0 && i < (terminal ? 2 : 3); i++)
		r = open_pipe(ret, i, err);
	return r;
}

static void end_child(struct exec_streams *streams)
{
	if (streams->child < 0)
		return;
	(void)pidfd_send_signal(streams->child, SIGKILL, NULL, 0);
	(void)waitid(P_PIDFD, (id_t)streams->child, &(siginfo_t){}, WEXITED);
	streams->child = close_fd(streams->child);
}

void exec_streams_done(struct exec_streams *streams)
{
	for (int i = 0; i < 3; i++) {
		loop_watch_free(steal_ptr(streams->watch[i]));
		streams->shims[i] = close_fd(streams->shims[i]);
		streams->ours[i] = close_fd(streams->ours[i]);
	}
	end_child(streams);
}

char *exec_streams_path(const struct exec_streams *streams, int stream)
{
	if (streams->shims[stream] < 0)
		return xstrdup("");
	return xasprintf("/proc/%d/fd/%d", (int)getpid(), streams->shims[stream]);
}

/* ---------------------------------------------------------------- input */

static _Noreturn void copy_input(int to, pid_t parent)
{
	static char buffer[CHUNK];
	sigset_t none;
	ssize_t n;

	/* It has nothing open that would keep the shim from seeing the parent's end. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent || dup2(to, 1) < 0 ||
	    close_range(3, ~0U, 0) < 0)
		_exit(1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	while ((n = read(0, buffer, sizeof(buffer))) > 0 || (n < 0 && errno == EINTR))
		if (n > 0 && write_full(1, buffer, (size_t)n) < 0)
			break;
	_exit(0);
}

static void on_child_end(int fd _unused_, unsigned events _unused_, void *userdata)
{
	struct exec_streams *streams = userdata;

	loop_watch_free(steal_ptr(streams->watch[STDIN_FILENO]));
	end_child(streams);
	streams->on_input_end(streams->userdata);
}

static int start_input(struct exec_streams *streams, struct error *err)
{
	pid_t self = getpid();
	pid_t pid = clone_process(CLONE_CLEAR_SIGHAND, -EBADF, &streams->child);

	if (pid == 0)
		copy_input(streams->ours[STDIN_FILENO], self);
	if (pid < 0)
		return error_set_errno(err, errno, "cannot start a process that reads the input");
	streams->ours[STDIN_FILENO] = close_fd(streams->ours[STDIN_FILENO]);
	streams->watch[STDIN_FILENO] = loop_watch_new(streams->loop, streams->child, LOOP_READ,
						      on_child_end, streams);
	return 0;
}

/* ---------------------------------------------------------------- output */

/* False: there is nothing more for now, or ever. */
static bool copy_output(struct exec_streams *streams, int stream)
{
	static char buffer[CHUNK];
	ssize_t n = read(streams->ours[stream], buffer, sizeof(buffer));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n > 0 && streams->failed == 0)
		streams->failed = write_full(stream, buffer, (size_t)n);
	if (streams->failed < 0)
		loop_stop(streams->loop);
	if (n <= 0)
		loop_watch_free(steal_ptr(streams->watch[stream]));
	return n > 0;
}

static void on_output(int fd, unsigned events _unused_, void *userdata)
{
	struct exec_streams *streams = userdata;

	(void)copy_output(streams,
			  fd == streams->ours[STDOUT_FILENO] ? STDOUT_FILENO : STDERR_FILENO);
}

int exec_streams_start(struct exec_streams *streams, void (*on_input_end)(void *userdata),
		       void *userdata, struct error *err)
{
	streams->on_input_end = on_input_end;
	streams->userdata = userdata;
	for (int i = 0; i < 3; i++)
		streams->shims[i] = close_fd(streams->shims[i]);
	for (int i = STDOUT_FILENO; i <= STDERR_FILENO; i++)
		if (streams->ours[i] >= 0)
			streams->watch[i] = loop_watch_new(streams->loop, streams->ours[i],
							   LOOP_READ, on_output, streams);
	return start_input(streams, err);
}

void exec_streams_drain(struct exec_streams *streams)
{
	for (int i = STDOUT_FILENO; i <= STDERR_FILENO; i++)
		while (streams->watch[i] && copy_output(streams, i))
			;
}
