/* Puts images into the DAX windows of the QEMU it is loaded into: factory/guest/dax_window.h.
 *
 * A thread of its own, for QEMU is to know nothing of it; it is asleep but for some system calls
 * when an image comes. What connects is the host's: the socket is root's. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "factory/guest/dax_window.h"

enum { STACK_BYTES = 64 * 1024 };

static int listener;
static const char *files;

struct range {
	unsigned long first, end;
};

static struct window {
	bool found;         /* its range is known; what is mapped over it hides where it begins */
	bool closed;        /* nothing more is mapped in it */
	struct range range; /* of QEMU's memory */
} windows[DAX_WINDOWS_MAX];

/* A line is "7f0000000000-7f0020000000 r--s 00000000 00:1b 42    /PATH". */
static bool line_is_of(char *line, const char *path, struct range *ret)
{
	const char *name = strchr(line, '/');
	size_t len = strlen(path);

	return name && strncmp(name, path, len) == 0 && (name[len] == '\n' || name[len] == ' ') &&
	       sscanf(line, "%lx-%lx", &ret->first, &ret->end) == 2;
}

/* Where QEMU has mapped the file of a window. */
static int find_window(uint32_t window, struct range *ret)
{
	char path[4096], *line = NULL;
	size_t size = 0;
	int r = -ENOENT;
	FILE *maps;

	if (snprintf(path, sizeof(path), "%s%u", files, window) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	maps = fopen("/proc/self/maps", "re");
	if (!maps)
		return -errno;
	while (r < 0 && getline(&line, &size, maps) > 0)
		if (line_is_of(line, path, ret))
			r = 0;
	free(line);
	fclose(maps);
	return r;
}

/* The rest of the window stays as it is: a hole. Behind a file's end its last page is zeroes. */
static int map_file(const struct range *range, uint64_t offset, int file)
{
	struct stat st;

	if (fstat(file, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size == 0 || offset % DAX_WINDOW_UNIT != 0)
		return -EINVAL;
	if (offset > range->end - range->first ||
	    (uint64_t)st.st_size > range->end - range->first - offset)
		return -EFBIG;
	if (mmap((void *)(range->first + offset), (size_t)st.st_size, PROT_READ,
		 MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED)
		return -errno;
	return 0;
}

static int fill(const struct dax_window_request *request, int file)
{
	struct window *window = &windows[request->window % DAX_WINDOWS_MAX];
	int r = 0;

	if (request->window >= DAX_WINDOWS_MAX)
		return -ENOENT;
	if (window->closed)
		return -EBUSY;
	if (!window->found)
		r = find_window(request->window, &window->range);
	window->found = r == 0;
	if (r == 0)
		r = map_file(&window->range, request->offset, file);
	window->closed = r < 0 || request->is_last;
	return r;
}

/* The one descriptor of a message; -1: there is none. */
static int take_descriptor(struct msghdr *message)
{
	struct cmsghdr *control = CMSG_FIRSTHDR(message);
	int fd = -1;

	if (control && control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_RIGHTS &&
	    control->cmsg_len == CMSG_LEN(sizeof(fd)))
		memcpy(&fd, CMSG_DATA(control), sizeof(fd));
	return fd;
}

/* False at the connection's end. */
static bool serve_one(int connection)
{
	struct dax_window_request request;
	struct dax_window_answer answer;
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec data = { &request, sizeof(request) };
	struct msghdr message = { .msg_iov = &data,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };

	if (recvmsg(connection, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL) != sizeof(request))
		return false;
	int file = take_descriptor(&message);
	answer.number = file < 0 ? -EBADF : fill(&request, file);
	if (file >= 0)
		close(file);
	return send(connection, &answer, sizeof(answer), MSG_NOSIGNAL) == sizeof(answer);
}

static void *serve(void *unused)
{
	int connection;

	(void)unused;
	while ((connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0 || errno == EINTR) {
		if (connection < 0)
			continue;
		while (serve_one(connection))
			continue;
		close(connection);
	}
	return NULL;
}

/* QEMU shuts itself in only later, so the thread is there before threads are forbidden. It takes
 * none of the process's signals. */
static __attribute__((constructor)) void begin(void)
{
	const char *socket = getenv(DAX_WINDOW_ENV_SOCKET);
	pthread_attr_t attributes;
	sigset_t all, before;
	pthread_t thread;

	files = getenv(DAX_WINDOW_ENV_FILES);
	if (!socket || !files)
		return;
	listener = atoi(socket);
	if (fcntl(listener, F_SETFL, 0) < 0 || pthread_attr_init(&attributes) != 0)
		return;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	(void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
	(void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	(void)pthread_create(&thread, &attributes, serve, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
}
