#include "factory/daemon/jailer_start.h"

#include <libgen.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/spawn.h"
#include "base/strings.h"

#define PROGRAM "kiln-jailer"
#define SOCKET  "jailer.sock"

enum { ITS_SOCKET = 3 };

/* Beside this program, also where that was replaced meanwhile. */
static char *find_program(void)
{
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[len > 0 ? len : 0] = '\0';
	return path_join(dirname(self), PROGRAM);
}

static int spawn_jailer(const char *config_path, int log_fd, int *ret_fd, struct error *err)
{
	_cleanup_free_ char *program = find_program();
	_cleanup_close_ int ours = -EBADF, theirs = -EBADF, pidfd = -EBADF;
	int ends[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return error_set_errno(err, errno, "cannot make a socket pair");
	ours = ends[0];
	theirs = ends[1];
	const struct spawn_fd fds[] = { { log_fd, 2 }, { theirs, ITS_SOCKET } };
	int r = spawn(
		&(struct spawn_options){
			.argv = config_path ? SPAWN_ARGV(program, "--socket", "3", "--config",
							 config_path)
					    : SPAWN_ARGV(program, "--socket", "3"),
			.fds = fds,
			.nfds = ARRAY_SIZE(fds),
			.new_session = true,
		},
		&pid, &pidfd, err);
	if (r == 0)
		*ret_fd = steal_fd(&ours);
	return r;
}

static int connect_jailer(const char *run_dir, int *ret_fd, struct error *err)
{
	_cleanup_free_ char *path = path_join(run_dir, SOCKET);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(addr.sun_path))
		return error_set(err, ENAMETOOLONG, "%s is too long for a socket", path);
	memcpy(addr.sun_path, path, strlen(path));
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return error_set_errno(err, errno,
				       "cannot connect to kiln-jailer's socket %s (start "
				       "kiln-factory as root, or kiln-jailer.socket)",
				       path);
	*ret_fd = steal_fd(&fd);
	return 0;
}

int jailer_begin(struct jailer *jailer, bool activated, struct factory_means *ret,
		 struct error *err)
{
	const struct jailer_request request = { .verb = JAILER_BEGIN,
						.flags = activated ? JAILER_ACTIVATED : 0 };
	struct jailer_reply reply = {};
	int r = jailer_call(jailer, &request, NULL, 0, &reply, err);

	if (r == 0 && reply.nfds != (activated ? 3 : 4))
		r = error_set(err, EPROTO, "kiln-jailer gives %zu descriptors", reply.nfds);
	if (r == 0) {
		*ret = (struct factory_means){
			.jailer = jailer,
			.run_lock = steal_fd(&reply.fds[0]),
			.store_lock = steal_fd(&reply.fds[1]),
			.http_fd = steal_fd(&reply.fds[2]),
			.socket_fd = activated ? -EBADF : steal_fd(&reply.fds[3]),
			.activated = activated,
			.cgroups = reply.flags & JAILER_CGROUPS,
		};
	}
	jailer_reply_done(&reply);
	return r;
}

int jailer_start(const struct factory_config *config, const char *config_path, int log_fd,
		 bool activated, struct factory_means *ret_means, struct error *err)
{
	int fd = -EBADF;
	int r = geteuid() == 0 ? spawn_jailer(config_path, log_fd, &fd, err)
			       : connect_jailer(config->run_dir, &fd, err);

	if (r < 0)
		return r;
	struct jailer *jailer = jailer_new(fd);
	r = jailer_begin(jailer, activated, ret_means, err);
	if (r < 0)
		jailer_free(jailer);
	return r;
}
