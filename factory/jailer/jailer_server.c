#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/socket.h"
#include "factory/bake/bake_work.h"
#include "factory/bake/machine.h"
#include "factory/base/access.h"
#include "factory/images/image_store.h"
#include "factory/jailer/jailer_server.h"

/* ---------------------------------------------------------------- what is answered here */

static int serve_begin(struct server *server, const struct jailer_request *request,
		       const int *fds _unused_, size_t nfds _unused_, struct jailer_reply *reply,
		       struct error *err)
{
	return server_begin(server, request, reply, err);
}

static int serve_socket(struct server *server, const struct jailer_request *request,
			const int *fds _unused_, size_t nfds _unused_,
			struct jailer_reply *reply _unused_, struct error *err)
{
	const struct socket_access access = { .group = request->number, .mode = request->mode };

	if (!server->made[0])
		return error_set(err, EPERM, "the factory's socket is the service manager's");
	if (access.mode != 0600 && access.mode != 0660 && access.mode != 0666)
		return error_set(err, EINVAL, "no socket of a factory has the mode %o",
				 access.mode);
	return access_set(&access, server->config.socket, err);
}

static int serve_console(struct server *server, const struct jailer_request *request,
			 const int *fds _unused_, size_t nfds _unused_, struct jailer_reply *reply,
			 struct error *err _unused_)
{
	_cleanup_free_ char *path = xasprintf("%s/bake/%.*s/console.log", server->config.run_dir,
					      MACHINE_SHORT_ID, request->template_id);

	reply->text = bake_work_read_console(path);
	return 0;
}

uint64_t server_image_limit(const struct server *server, uint64_t asked)
{
	_cleanup_(factory_config_done) struct factory_config fresh = {};
	uint64_t mib = server->config.image_cache_mib;

	/* One that cannot be used changes nothing, as in the factory. */
	if (factory_config_load(server->config_path, &fresh, NULL) == 0)
		mib = fresh.image_cache_mib;
	return asked < mib << 20 ? asked : mib << 20;
}

static int serve_images_take(struct server *server, const struct jailer_request *request,
			     const int *fds _unused_, size_t nfds _unused_,
			     struct jailer_reply *reply _unused_, struct error *err)
{
	const char *dir = server->config.image_cache;

	if (dir[0] == '\0')
		return error_set(err, EINVAL, "no cache of images is configured");
	server->image_lock_fd = close_fd(server->image_lock_fd);
	int r = image_store_take(dir, &server->image_lock_fd, err);
	/* What is in use stays, beyond the limit if need be. */
	if (r == 0)
		(void)!image_store_make_room(dir, "", 0, server_image_limit(server, request->bytes),
					     NULL);
	return r;
}

static int serve_job(struct server *server, const struct jailer_request *request, const int *fds,
		     size_t nfds _unused_, struct jailer_reply *reply _unused_, struct error *err)
{
	return job_start(server, request, fds[0], err);
}

static server_fn *const deeds[JAILER_VERBS] = {
	[JAILER_BEGIN] = serve_begin,      [JAILER_TAKE] = serve_take,
	[JAILER_COPY] = serve_copy,        [JAILER_LAUNCH] = serve_launch,
	[JAILER_GROW] = serve_grow,        [JAILER_REHEARSE] = serve_rehearse,
	[JAILER_KILL] = serve_kill,        [JAILER_REAP] = serve_reap,
	[JAILER_FIND] = serve_find,        [JAILER_REMOVE] = serve_remove,
	[JAILER_MEASURE] = serve_measure,  [JAILER_SOCKET] = serve_socket,
	[JAILER_CONSOLE] = serve_console,  [JAILER_FORGET] = serve_job,
	[JAILER_BAKE] = serve_job,         [JAILER_IMAGES_TAKE] = serve_images_take,
	[JAILER_IMAGES_LIST] = serve_job,  [JAILER_IMAGE_LOOK] = serve_job,
	[JAILER_IMAGE_MAKE] = serve_job,   [JAILER_IMAGE_REMOVE] = serve_job,
	[JAILER_IMAGES_PRUNE] = serve_job,
};

/* ---------------------------------------------------------------- requests */

static int serve(struct server *server, const char *data, size_t len, const int *fds, size_t nfds,
		 struct jailer_reply *reply, struct error *err)
{
	struct jailer_request request;
	int r = jailer_request_parse(data, len, nfds, &request, err);

	if (r < 0)
		return r;
	if (server->begun != (request.verb != JAILER_BEGIN))
		r = error_set(err, EPROTO, "a factory begins, once");
	if (r == 0)
		r = deeds[request.verb](server, &request, fds, nfds, reply, err);
	/* What is asked for at its time, and what a factory never asks for. */
	if (r == -EPERM || r == -EPROTO)
		log_warning(request.machine[0] ? request.machine : NULL, "refused to %s: %s",
			    jailer_verb_to_string(request.verb), error_message(err));
	jailer_request_done(&request);
	return r;
}

/* False: the factory has ended. */
static bool serve_one(struct server *server)
{
	_cleanup_free_ char *data = xcalloc(1, JAILER_MESSAGE_MAX);
	_cleanup_(jailer_reply_done) struct jailer_reply reply = {};
	_cleanup_(error_done) struct error err = {};
	int fds[JAILER_FDS_MAX];
	size_t nfds = 0;
	ssize_t len = jailer_receive(server->socket, data, fds, &nfds);

	if (len == 0 || (len < 0 && len != -EPROTO && len != -EMFILE))
		return false;
	reply.result = len < 0 ? error_set(
					 &err, EBADMSG,
					 "a message that is too large, or has too many descriptors")
			       : serve(server, data, (size_t)len, fds, nfds, &reply, &err);
	if (reply.result < 0) {
		for (size_t i = 0; i < reply.nfds; i++)
			close(reply.fds[i]);
		reply.nfds = 0;
		replace_string(&reply.text, error_message(&err));
	}
	for (size_t i = 0; i < nfds; i++)
		close(fds[i]);
	return jailer_reply_send(server->socket, &reply) == 0;
}

/* ---------------------------------------------------------------- jobs */

/* False: it was killed, in the middle of something. */
static bool job_over(int *job)
{
	siginfo_t info = {};

	if (waitid(P_PIDFD, (id_t)*job, &info, WEXITED) < 0)
		info.si_code = CLD_KILLED;
	*job = close_fd(*job);
	if (info.si_code == CLD_EXITED)
		return true;
	log_error(NULL, "a job of kiln-jailer was ended by signal %d, and so it ends",
		  info.si_status);
	return false;
}

static bool wait_and_serve(struct server *server)
{
	struct pollfd polled[1 + JOBS_MAX] = { { .fd = server->socket, .events = POLLIN } };

	for (size_t i = 0; i < JOBS_MAX; i++)
		polled[1 + i] = (struct pollfd){ .fd = server->jobs[i], .events = POLLIN };
	if (poll(polled, ARRAY_SIZE(polled), -1) < 0)
		return errno == EINTR;
	for (size_t i = 0; i < JOBS_MAX; i++)
		if (polled[1 + i].revents && !job_over(&server->jobs[i]))
			return false;
	return !polled[0].revents || serve_one(server);
}

/* ---------------------------------------------------------------- all */

int server_run(struct factory_config *config, const char *config_path, int socket)
{
	struct server server = {
		.config = *config,
		.config_path = config_path,
		.socket = socket,
		.lock_fd = -EBADF,
		.image_lock_fd = -EBADF,
	};
	struct peer peer;

	*config = (struct factory_config){};
	for (size_t i = 0; i < JOBS_MAX; i++)
		server.jobs[i] = -EBADF;
	server.factory = socket_peer(socket, &peer) == 0 ? peer.pid : 0;
	while (wait_and_serve(&server))
		;
	/* Jobs end with this process, and the locks with the last of them. */
	for (size_t i = 0; i < ARRAY_SIZE(server.made); i++) {
		if (server.made[i])
			unlink(server.made[i]);
		free(server.made[i]);
	}
	close_fd(server.socket);
	factory_config_done(&server.config);
	return EXIT_SUCCESS;
}
