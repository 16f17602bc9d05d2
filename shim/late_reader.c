#include "shim/late_reader.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/memory.h"

struct late_reader {
	int writer;
	int notify; /* tells when the FIFO is opened */
	struct loop_watch *watch;
};

/* A descriptor that is for reading, too, would be a reader itself. */
static int only_writer(const char *path, int fd)
{
	int writer = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);

	close(fd);
	return writer;
}

static bool has_reader(int writer)
{
	struct pollfd poll_fd = { .fd = writer, .events = POLLOUT };

	return poll(&poll_fd, 1, 0) >= 0 && !(poll_fd.revents & POLLERR);
}

static void close_all(struct late_reader *late)
{
	loop_watch_free(steal_ptr(late->watch));
	late->notify = close_fd(late->notify);
	late->writer = close_fd(late->writer);
}

/* Or somebody who writes. */
static void on_open(int fd, unsigned events _unused_, void *userdata)
{
	struct late_reader *late = userdata;
	char told[4096];

	while (read(fd, told, sizeof(told)) > 0)
		;
	if (has_reader(late->writer))
		close_all(late);
}

struct late_reader *late_reader_new(struct loop *loop, int fd)
{
	_cleanup_free_ char *path = xasprintf("/proc/self/fd/%d", fd);
	_cleanup_close_ int notify = -EBADF;
	_cleanup_close_ int writer = only_writer(path, fd);
	_cleanup_free_ char *writer_path = xasprintf("/proc/self/fd/%d", writer);

	if (writer < 0 || has_reader(writer))
		return NULL;
	notify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	/* It may have come between the two questions. */
	if (notify < 0 || inotify_add_watch(notify, writer_path, IN_OPEN) < 0 || has_reader(writer))
		return NULL;

	struct late_reader *late = xnew(struct late_reader);

	late->writer = steal_fd(&writer);
	late->notify = steal_fd(&notify);
	late->watch = loop_watch_new(loop, late->notify, LOOP_READ, on_open, late);
	return late;
}

void late_reader_free(struct late_reader *late)
{
	if (!late)
		return;
	close_all(late);
	free(late);
}
