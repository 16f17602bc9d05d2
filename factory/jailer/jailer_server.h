/* kiln-jailer at work: one factory, its requests one after another, and the jobs that run beside.
 *
 * It ends when its factory does, whatever ended that; machines go on. A job that is killed has left
 * something half-made: kiln-jailer ends then as well, and with it the factory, whose next start
 * puts that right. */
#pragma once

#include "factory/base/config.h"
#include "factory/jail/jail.h"
#include "factory/jail/jailer_message.h"
#include "factory/jail/keeper.h"

enum { JOBS_MAX = 8 };

struct server {
	struct factory_config config; /* owned */
	const char *config_path;      /* borrowed; NULL: the default */
	struct keeper keeper;         /* who the factory is */
	struct jail_settings jail;    /* once it has begun */
	pid_t factory;
	int socket;
	int lock_fd;       /* RUN_DIR/jailer.lock; jobs have it as well */
	int image_lock_fd; /* of the cache of images; -EBADF: it is not ours */
	bool begun;
	char *made[2];      /* sockets that are removed at the end; owned */
	int jobs[JOBS_MAX]; /* pidfds; -EBADF: none */
};

/* Serves until the factory ends; the exit status. The configuration, which is of this path, and the
 * socket are taken. */
int server_run(struct factory_config *config, const char *config_path, int socket);

/* ---- what requests do. Each fills the reply; what it opens goes there as well. */

/* Everything that a factory finds made when it starts (factory/jailer/begin.c). */
_must_check_ int server_begin(struct server *server, const struct jailer_request *request,
			      struct jailer_reply *reply, struct error *err);

/* The deed of a verb, with the descriptors that came; those of machines are in
 * factory/jailer/machines.c. */
typedef int server_fn(struct server *server, const struct jailer_request *request, const int *fds,
		      size_t nfds, struct jailer_reply *reply, struct error *err);
server_fn serve_take, serve_copy, serve_launch, serve_grow, serve_rehearse, serve_kill, serve_reap,
	serve_find, serve_remove, serve_measure;

/* Whether this user id begins one of the configured ranges; 0, with "uid_first": 0. */
bool server_has_range(const struct server *server, uint32_t uid);

/* How many bytes the cache of images may have where a factory asks for so many: no more than the
 * configuration says. That is read again: a factory may have taken up another one since. */
uint64_t server_image_limit(const struct server *server, uint64_t asked);

/* Jobs (factory/jailer/jobs.c): a process of their own, which answers on `socket`. */
_must_check_ int job_start(struct server *server, const struct jailer_request *request, int socket,
			   struct error *err);
void job_bake(const struct server *server, const struct jailer_request *request, int socket);
