#include "shim/virtiofs.h"

#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log_pipe.h"
#include "base/memory.h"
#include "base/pidfd.h"
#include "base/socket.h"
#include "base/spawn.h"
#include "factory/client/jail_join.h"
#include "factory/guest/guest_volumes.h"

#define PROGRAM "/usr/lib/qemu/virtiofsd" /* Debian's qemu-system-common */
#define SOCKET  "volumes"                 /* the descriptor's and the chardev's name in QEMU */

enum {
	PLUG_TIMEOUT_MS = 20 * 1000,
	SOCKET_FD = 3,
	FILES_MAX = 1 << 20, /* one descriptor for each file that the guest remembers */
};

struct virtiofs {
	int pidfd;                /* owned */
	struct loop_watch *death; /* on it */
	char *log;                /* owned */
	struct log_pipe *log_pipe;
	struct error error; /* of the plugging, its first */
	void (*on_end)(const struct error *why, void *userdata);
	void *userdata;
};

/* ---------------------------------------------------------------- the daemon */

/* In the child. As many as there may be; without CAP_SYS_RESOURCE as many as the shim may have. */
static void raise_descriptors(void)
{
	struct rlimit limit = { FILES_MAX, FILES_MAX };

	if (setrlimit(RLIMIT_NOFILE, &limit) == 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int in_child(void *data, const char **ret_what)
{
	raise_descriptors();
	return jail_join_enter(data, ret_what);
}

static int spawn_daemon(struct virtiofs *virtiofs, const struct virtiofs_options *options,
			struct jail_join *join, int listener, struct error *err)
{
	_cleanup_free_ char *source = xasprintf("source=%s", options->share_dir);
	_cleanup_close_ int log = -EBADF;
	int r = log_pipe_new(options->loop, virtiofs->log, &virtiofs->log_pipe, err);
	if (r == 0)
		r = log_pipe_open(virtiofs->log, &log, err);
	if (r < 0)
		return r;
	const struct spawn_fd fds[] = { { log, 1 }, { log, 2 }, { listener, SOCKET_FD } };
	bool hosts = options->locks == VIRTIOFS_LOCKS_HOST;
	/* cache=auto is what mappings need; timeout=0 has the guest ask the host at each look.
	 * no_posix_acl: of the mounts below the share's root Linux 6.1 asks no ACL, so none is set.
	 * Without a pool of threads: starting one more than two is against virtiofsd's own seccomp
	 * profile. */
	const struct spawn_options child = {
		.argv = SPAWN_ARGV(PROGRAM, "--fd=3", "--rlimit-nofile=0", "--thread-pool-size=0",
				   "-o", source, "-o", "sandbox=chroot", "-o", "cache=auto", "-o",
				   "timeout=0", "-o", hosts ? "flock" : "no_flock", "-o",
				   hosts ? "posix_lock" : "no_posix_lock", "-o", "xattr", "-o",
				   "no_posix_acl", "-o", "announce_submounts", "-o",
				   "log_level=warn"),
		.env = (char *const[]){ NULL },
		.cwd = "/",
		.fds = fds,
		.nfds = ARRAY_SIZE(fds),
		.new_session = true,
		.in_child = in_child,
		.hook_data = join,
	};
	pid_t pid;

	return spawn(&child, &pid, &virtiofs->pidfd, err);
}

static void kill_daemon(const struct virtiofs *virtiofs)
{
	(void)syscall(SYS_pidfd_send_signal, virtiofs->pidfd, SIGKILL, NULL, 0);
}

static void on_death(int fd _unused_, unsigned events _unused_, void *userdata)
{
	struct virtiofs *virtiofs = userdata;
	int status = -1;

	loop_watch_set(virtiofs->death, 0);
	(void)!spawn_reap(virtiofs->pidfd, &status);
	log_pipe_drain(virtiofs->log_pipe);
	_cleanup_free_ char *words = program_last_words("virtiofsd", virtiofs->log, status);
	if (!virtiofs->error.number)
		(void)error_set(&virtiofs->error, ENOTCONN, "%s", words);
	virtiofs->on_end(&virtiofs->error, virtiofs->userdata);
}

/* ---------------------------------------------------------------- the device */

/* The daemon's end follows, and tells of it. */
static void on_command(int number, json_t *result _unused_, const struct error *err, void *userdata)
{
	struct virtiofs *virtiofs = userdata;

	if (number >= 0 || number == -ECANCELED || virtiofs->error.number)
		return;
	(void)error_set(&virtiofs->error, -number, "QEMU cannot plug virtio-fs in: %s",
			error_message(err));
	kill_daemon(virtiofs);
}

/* All at once: QEMU takes them in order, and each fails where one before has. */
static void plug_in(struct virtiofs *virtiofs, struct qmp *qmp, int fd)
{
	qmp_command_fds(qmp, "getfd", json_pack("{s:s}", "fdname", SOCKET), &fd, 1, PLUG_TIMEOUT_MS,
			on_command, virtiofs);
	qmp_command(qmp, "chardev-add",
		    json_pack("{s:s, s:{s:s, s:{s:{s:s, s:{s:s}}, s:b}}}", "id", SOCKET, "backend",
			      "type", "socket", "data", "addr", "type", "fd", "data", "str", SOCKET,
			      "server", 0),
		    PLUG_TIMEOUT_MS, on_command, virtiofs);
	qmp_command(qmp, "device_add",
		    json_pack("{s:s, s:s, s:s, s:s, s:s}", "driver", "vhost-user-fs-pci", "id",
			      "volumes-fs", "bus", VOLUMES_PORT, "chardev", SOCKET, "tag",
			      VOLUMES_TAG),
		    PLUG_TIMEOUT_MS, on_command, virtiofs);
}

/* ---------------------------------------------------------------- both */

/* A listening socket for the daemon, and one that is connected to it for QEMU. */
static int make_sockets(const char *vm_dir, int *ret_listener, int *ret_connected,
			struct error *err)
{
	_cleanup_free_ char *path = path_join(vm_dir, "virtiofs.sock");
	_cleanup_close_ int listener = -EBADF;
	int r = socket_listen_unix(path, 0600, &listener, err);

	if (r < 0)
		return r;
	r = socket_connect(path, ret_connected, err);
	(void)unlink(path);
	if (r == 0)
		*ret_listener = steal_fd(&listener);
	return r;
}

static int start(struct virtiofs *virtiofs, const struct virtiofs_options *options,
		 struct error *err)
{
	_cleanup_free_ char *dir = xstrdup(options->vm_dir), *copy = xstrdup(options->vm_dir);
	_cleanup_close_ int listener = -EBADF, connected = -EBADF;
	_cleanup_(jail_join_done) struct jail_join join = {};
	int r = jail_join_init(&join, dirname(dirname(dir)), basename(copy), options->vmm_pidfd,
			       err);

	if (r == 0)
		r = make_sockets(options->vm_dir, &listener, &connected, err);
	if (r == 0)
		r = spawn_daemon(virtiofs, options, &join, listener, err);
	if (r < 0)
		return r;
	virtiofs->death = loop_watch_new(options->loop, virtiofs->pidfd, LOOP_READ, on_death,
					 virtiofs);
	plug_in(virtiofs, options->qmp, steal_fd(&connected));
	return 0;
}

int virtiofs_start(const struct virtiofs_options *options, struct virtiofs **ret_virtiofs,
		   struct error *err)
{
	struct virtiofs *virtiofs = xnew(struct virtiofs);

	*virtiofs = (struct virtiofs){
		.pidfd = -EBADF,
		.log = path_join(options->vm_dir, "virtiofsd.log"),
		.on_end = options->on_end,
		.userdata = options->userdata,
	};
	int r = start(virtiofs, options, err);
	if (r < 0) {
		virtiofs_stop(virtiofs);
		return r;
	}
	*ret_virtiofs = virtiofs;
	return 0;
}

void virtiofs_stop(struct virtiofs *virtiofs)
{
	_cleanup_(error_done) struct error err = {};
	int status;

	if (!virtiofs)
		return;
	loop_watch_free(virtiofs->death);
	if (virtiofs->pidfd >= 0 && pidfd_kill(virtiofs->pidfd, &err) == 0)
		(void)!spawn_reap(virtiofs->pidfd, &status);
	close_fd(virtiofs->pidfd);
	log_pipe_free(virtiofs->log_pipe);
	error_done(&virtiofs->error);
	free(virtiofs->log);
	free(virtiofs);
}
