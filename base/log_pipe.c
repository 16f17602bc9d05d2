#include "base/log_pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

enum { PAUSE_MS = 1000, DRAIN_PASSES = 64 /* of a FIFO that its program made larger: 1 MiB */ };

struct log_pipe {
	int fifo, file;
	struct loop_watch *watch; /* paused while the timer runs */
	struct loop_timer *pause;
};

/* ---------------------------------------------------------------- the file */

/* A file that cannot be written to is full, or its disk is: the words are lost. */
static void cut_older_half(int file, off_t size)
{
	_cleanup_free_ char *tail = xcalloc(1, LOG_PIPE_MAX / 2);
	ssize_t len = pread(file, tail, LOG_PIPE_MAX / 2, size - LOG_PIPE_MAX / 2);

	if (ftruncate(file, 0) == 0 && len > 0)
		(void)!write(file, tail, (size_t)len);
}

static void append(int file, const char *text, size_t len)
{
	struct stat st;

	if (fstat(file, &st) == 0 && st.st_size > LOG_PIPE_MAX - (off_t)len)
		cut_older_half(file, st.st_size);
	(void)!write(file, text, len);
}

/* How much there was. */
static ssize_t move_some(struct log_pipe *pipe)
{
	char text[LOG_PIPE_RATE];
	ssize_t len = read(pipe->fifo, text, sizeof(text));

	if (len > 0)
		append(pipe->file, text, (size_t)len);
	return len;
}

/* ---------------------------------------------------------------- the loop's side */

static void on_pause_over(void *userdata)
{
	struct log_pipe *pipe = userdata;

	loop_watch_set(pipe->watch, LOOP_READ);
}

static void on_text(int fd _unused_, unsigned events _unused_, void *userdata)
{
	struct log_pipe *pipe = userdata;

	(void)move_some(pipe);
	loop_watch_set(pipe->watch, 0);
	loop_timer_start(pipe->pause, PAUSE_MS);
}

/* Reading and writing, at both ends: it never ends and never fails for want of the other end. */
int log_pipe_open(const char *path, int *ret_fd, struct error *err)
{
	_cleanup_free_ char *fifo = xasprintf("%s.fifo", path);
	struct stat st;

	if (mkfifo(fifo, 0600) < 0 && errno != EEXIST)
		return error_set_errno(err, errno, "cannot make %s", fifo);
	_cleanup_close_ int fd = open(fifo, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set_errno(err, errno, "cannot open %s", fifo);
	if (!S_ISFIFO(st.st_mode))
		return error_set(err, EINVAL, "%s is no FIFO", fifo);
	*ret_fd = steal_fd(&fd);
	return 0;
}

int log_pipe_new(struct loop *loop, const char *path, struct log_pipe **ret_pipe, struct error *err)
{
	_cleanup_(log_pipe_free_cleanup) struct log_pipe *pipe = xnew(struct log_pipe);

	pipe->fifo = -EBADF;
	pipe->file = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (pipe->file < 0)
		return error_set_errno(err, errno, "cannot create %s", path);
	int r = log_pipe_open(path, &pipe->fifo, err);
	if (r < 0)
		return r;
	pipe->watch = loop_watch_new(loop, pipe->fifo, LOOP_READ, on_text, pipe);
	pipe->pause = loop_timer_new(loop, on_pause_over, pipe);
	*ret_pipe = steal_ptr(pipe);
	return 0;
}

void log_pipe_drain(struct log_pipe *pipe)
{
	for (int i = 0; pipe && i < DRAIN_PASSES && move_some(pipe) > 0; i++)
		;
}

void log_pipe_free(struct log_pipe *pipe)
{
	if (!pipe)
		return;
	loop_watch_free(pipe->watch);
	loop_timer_free(pipe->pause);
	close_fd(pipe->fifo);
	close_fd(pipe->file);
	free(pipe);
}
