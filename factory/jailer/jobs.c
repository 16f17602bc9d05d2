/* What takes long is done by a process of its own, which has all that this one has and answers on
 * the socket that came with the request: in JSON, {"number": -E, "message": "..."} for a failure.
 * It ends with kiln-jailer; when the factory lets go of the socket it gives up. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "factory/images/image_keeper.h"
#include "factory/jailer/jailer_server.h"
#include "factory/store/template.h"

/* ---------------------------------------------------------------- images */

static struct image_keeper keeper_of_images(const struct server *server)
{
	return (struct image_keeper){ .dir = server->config.image_cache,
				      .lock_fd = server->image_lock_fd };
}

static int not_ours(const struct server *server, struct error *err)
{
	if (server->image_lock_fd >= 0)
		return 0;
	return error_set(err, EPERM, "the cache of images is not this factory's");
}

static json_t *image_job(const struct server *server, const struct jailer_request *request,
			 int socket, struct error *err)
{
	struct image_keeper keeper = keeper_of_images(server);
	struct jailer_request limited = *request;

	if (not_ours(server, err) < 0)
		return NULL;
	limited.bytes = server_image_limit(server, request->bytes);
	return image_keeper_serve(&keeper, &limited, socket, err);
}

static json_t *forget_job(const struct server *server, const struct jailer_request *request,
			  int socket _unused_, struct error *err)
{
	const char *name = request->text.items[0];
	const char *keep = request->text.count > 1 ? request->text.items[1] : NULL;

	return template_remove_others(server->config.store, name, keep, err) < 0 ? NULL
										 : json_object();
}

/* ---------------------------------------------------------------- the process */

/* Takes result; NULL is the failure. It may be longer than what the socket takes at once: a list of
 * many images, for whose reader this waits. */
static void answer(int socket, json_t *result, const struct error *err)
{
	json_t *json = result ? result
			      : json_pack("{s:i, s:s}", "number", -err->number, "message",
					  error_message(err));
	_cleanup_free_ char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

	json_decref(json);
	(void)fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) & ~O_NONBLOCK);
	if (text)
		(void)!write_full(socket, text, strlen(text));
}

static void run(const struct server *server, const struct jailer_request *request, int socket)
{
	_cleanup_(error_done) struct error err = {};
	json_t *result = request->verb == JAILER_FORGET ? forget_job(server, request, socket, &err)
							: image_job(server, request, socket, &err);

	answer(socket, result, &err);
}

/* kiln-jailer may have ended before this. */
static _Noreturn void job_main(const struct server *server, const struct jailer_request *request,
			       int socket, pid_t parent)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		_exit(EXIT_FAILURE);
	close(server->socket);
	if (request->verb == JAILER_BAKE)
		job_bake(server, request, socket);
	else
		run(server, request, socket);
	_exit(EXIT_SUCCESS);
}

int job_start(struct server *server, const struct jailer_request *request, int socket,
	      struct error *err)
{
	size_t free_at = 0;
	pid_t parent = getpid();

	while (free_at < JOBS_MAX && server->jobs[free_at] >= 0)
		free_at++;
	if (free_at == JOBS_MAX)
		return error_set(err, EAGAIN, "%d jobs are under way already", JOBS_MAX);
	pid_t pid = fork();
	if (pid == 0)
		job_main(server, request, socket, parent);
	if (pid < 0)
		return error_set_errno(err, errno, "cannot fork");
	/* Nobody else reaps it, so the number stays its. */
	server->jobs[free_at] = pidfd_open(pid, 0);
	if (server->jobs[free_at] < 0)
		return error_set_errno(err, errno, "cannot watch a job");
	return 0;
}
