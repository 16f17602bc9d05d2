#include "factory/bake/libvirt_link.h"

#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/spawn.h"
#include "factory/bake/libvirt/protocol.h"

#define HELPER "kiln-libvirt"

struct libvirt_link {
	int fd;
	int pidfd;
	char *buffer; /* of LIBVIRT_MESSAGE_MAX */
};

/* Where we are; a program that was replaced meanwhile has its old folder's name. */
static char *helper_path(void)
{
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[len > 0 ? len : 0] = '\0';
	char *slash = strrchr(self, '/');
	if (!slash)
		return xstrdup(HELPER);
	*slash = '\0';
	return path_join(self, HELPER);
}

/* The embedded driver makes taps for the machine's network cards, for nobody else to see. A libvirt
 * of the host's makes them where it is. */
static int leave_network(_unused_ void *data, const char **ret_what)
{
	*ret_what = "cannot make its network namespace";
	return unshare(CLONE_NEWNET) < 0 ? -errno : 0;
}

static int helper_start(struct libvirt_link *link, const struct libvirt_link_options *options,
			struct error *err)
{
	_cleanup_free_ char *path = helper_path();
	_cleanup_free_ char *uid = xasprintf("%u", options->uid);
	_cleanup_free_ char *gid = xasprintf("%u", options->gid);
	_cleanup_close_ int theirs = -EBADF;
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set_errno(err, errno, "cannot make a socket pair");
	link->fd = pair[0];
	theirs = pair[1];
	const struct spawn_fd fds[] = { { theirs, LIBVIRT_LINK_FD } };
	return spawn(
		&(struct spawn_options){ .argv = SPAWN_ARGV(path, options->run_dir, options->store,
							    options->uri ? options->uri : "",
							    options->kvm ? "kvm" : "tcg", uid, gid),
					 .fds = fds,
					 .nfds = ARRAY_SIZE(fds),
					 .new_session = true,
					 .in_child = options->uri ? NULL : leave_network },
		&pid, &link->pidfd, err);
}

int libvirt_link_open(const struct libvirt_link_options *options, struct libvirt_link **ret,
		      struct error *err)
{
	struct libvirt_link *link = xnew(struct libvirt_link);

	link->fd = link->pidfd = -EBADF;
	link->buffer = xcalloc(1, LIBVIRT_MESSAGE_MAX);
	int r = helper_start(link, options, err);
	if (r < 0) {
		libvirt_link_free(link);
		return r;
	}
	*ret = link;
	return 0;
}

/* Takes reply. */
static int reply_judge(json_t *reply, json_t **ret_result, struct error *err)
{
	json_t *error = json_object_get(reply, "error");
	int number = (int)json_integer_value(json_object_get(error, "number"));
	const char *message = json_string_value(json_object_get(error, "message"));
	int r = 0;

	if (!json_is_object(reply) || (error && (number <= 0 || !message)))
		r = error_set(err, EPROTO, "odd reply of " HELPER);
	else if (error)
		r = error_set(err, number, "%s", message);
	else if (ret_result)
		*ret_result = json_incref(json_object_get(reply, "result"));
	json_decref(reply);
	return r;
}

int libvirt_link_call(struct libvirt_link *link, const char *verb, json_t *arguments, int fd,
		      json_t **ret_result, struct error *err)
{
	json_t *request = json_pack("{s:s, s:o*}", "do", verb, "arguments", arguments);
	_cleanup_free_ char *text = json_dumps(request, JSON_COMPACT);
	int fds[SOCKET_MAX_FDS];
	size_t nfds;

	json_decref(request);
	ssize_t n = socket_send(link->fd, text, strlen(text), &fd, fd >= 0 ? 1 : 0);
	if (n >= 0)
		n = socket_receive(link->fd, link->buffer, LIBVIRT_MESSAGE_MAX, fds, &nfds);
	if (n <= 0)
		return error_set_errno(err, n < 0 ? (int)-n : ECONNRESET, HELPER " is gone");
	while (nfds > 0)
		close_fd(fds[--nfds]);
	return reply_judge(json_loadb(link->buffer, (size_t)n, 0, NULL), ret_result, err);
}

void libvirt_link_kill(struct libvirt_link *link)
{
	(void)syscall(SYS_pidfd_send_signal, link->pidfd, SIGKILL, NULL, 0);
}

/* It may be in one of libvirt's calls that never return. */
static void helper_end(struct libvirt_link *link)
{
	struct pollfd end = { .fd = link->pidfd, .events = POLLIN };
	int status;

	libvirt_link_kill(link);
	while (poll(&end, 1, -1) < 0)
		continue;
	(void)!spawn_reap(link->pidfd, &status);
}

void libvirt_link_free(struct libvirt_link *link)
{
	if (!link)
		return;
	link->fd = close_fd(link->fd);
	if (link->pidfd >= 0)
		helper_end(link);
	link->pidfd = close_fd(link->pidfd);
	free(link->buffer);
	free(link);
}
