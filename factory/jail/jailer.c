#include "factory/jail/jailer.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/socket.h"

struct jailer {
	int fd;
	pthread_mutex_t lock; /* from a request to its answer */
	struct loop_watch *watch;
};

struct jailer *jailer_new(int fd)
{
	struct jailer *jailer = xnew(struct jailer);

	jailer->fd = fd;
	pthread_mutex_init(&jailer->lock, NULL);
	return jailer;
}

void jailer_free(struct jailer *jailer)
{
	if (!jailer)
		return;
	loop_watch_free(jailer->watch);
	pthread_mutex_destroy(&jailer->lock);
	close_fd(jailer->fd);
	free(jailer);
}

/* Nothing that this process holds can be put away without kiln-jailer. */
static _Noreturn void lose_jailer(void)
{
	log_error(NULL, "kiln-jailer has ended, and so does the factory; machines go on, and the "
			"next start cleans up");
	_exit(EXIT_FAILURE);
}

/* An answer that another thread is about to read is no end. */
static void on_readable(int fd, unsigned events _unused_, void *userdata _unused_)
{
	char byte;

	if (recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
		lose_jailer();
}

void jailer_watch(struct jailer *jailer, struct loop *loop)
{
	jailer->watch = loop_watch_new(loop, jailer->fd, LOOP_READ, on_readable, jailer);
}

static int exchange(struct jailer *jailer, const char *data, size_t len, const int *fds,
		    size_t nfds, struct jailer_reply *ret_reply)
{
	pthread_mutex_lock(&jailer->lock);
	ssize_t n = jailer_send(jailer->fd, data, len, fds, nfds);
	int r = n < 0 ? (int)n : jailer_reply_receive(jailer->fd, ret_reply);
	pthread_mutex_unlock(&jailer->lock);
	return r;
}

int jailer_call(struct jailer *jailer, const struct jailer_request *request, const int *fds,
		size_t nfds, struct jailer_reply *ret_reply, struct error *err)
{
	struct jailer_reply reply = {};
	_cleanup_free_ char *data = NULL;
	size_t len = 0;
	int r = jailer_request_print(request, &data, &len, err);

	if (r < 0)
		return r;
	r = exchange(jailer, data, len, fds, nfds, &reply);
	if (r < 0 && r != -EMFILE && jailer->watch)
		lose_jailer();
	if (r == -EMFILE)
		return error_set_errno(err, r, "cannot take what kiln-jailer gives");
	if (r < 0)
		return error_set_errno(err, r, "kiln-jailer does not answer (its log says why)");
	if (reply.result < 0)
		r = error_set(err, reply.result, "%s", reply.text);
	if (r == 0 && ret_reply)
		*ret_reply = reply;
	else
		jailer_reply_done(&reply);
	return r;
}

int jailer_begin_job(struct jailer *jailer, const struct jailer_request *request, int *ret_fd,
		     struct error *err)
{
	int ends[2];
	int r = socket_pair(ends);

	if (r < 0)
		return error_set_errno(err, r, "cannot make a socket pair");
	_cleanup_close_ int ours = ends[0], theirs = ends[1];
	r = jailer_call(jailer, request, &theirs, 1, NULL, err);
	if (r == 0)
		*ret_fd = steal_fd(&ours);
	return r;
}
