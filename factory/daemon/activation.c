#include "factory/daemon/activation.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/strings.h"

enum { FIRST_FD = 3, FDS_MAX = 64 };

static int check_option(int fd, int option, int wanted)
{
	int value = 0;
	socklen_t len = sizeof(value);

	if (getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0)
		return -errno;
	return value == wanted ? 0 : -EINVAL;
}

static int check_socket(int fd, int type, struct error *err)
{
	if (check_option(fd, SO_DOMAIN, AF_UNIX) < 0 || check_option(fd, SO_TYPE, type) < 0 ||
	    check_option(fd, SO_ACCEPTCONN, 1) < 0)
		return error_set(
			err, EINVAL,
			"descriptor %d of LISTEN_FDS is no listening Unix socket of the right type",
			fd);
	int r = fd_set_nonblocking(fd);
	return r < 0 ? error_set_errno(err, r, "cannot use descriptor %d of LISTEN_FDS", fd) : 0;
}

/* Which of count descriptors is ours, as an index. */
static uint64_t find_ours(const char *ours, const char *names, uint64_t count)
{
	_cleanup_free_ char *copy = xstrdup(names ? names : "");
	char *rest = copy;
	const char *name;

	for (uint64_t i = 0; i < count && (name = strsep(&rest, ":")); i++) {
		if (str_equal(name, ours))
			return i;
	}
	return 0;
}

static int take(const char *name, int type, uint64_t count, const char *names, int *ret_fd,
		struct error *err)
{
	uint64_t ours = find_ours(name, names, count);

	for (uint64_t i = 0; i < count; i++) {
		int fd = FIRST_FD + (int)i;
		if (i != ours && close(fd) == 0)
			log_warning(NULL, "descriptor %d of LISTEN_FDS is not ours: closed", fd);
	}
	_cleanup_close_ int fd = FIRST_FD + (int)ours;
	int r = fd_set_cloexec(fd, true);
	if (r < 0)
		return error_set_errno(err, r, "LISTEN_FDS promises descriptor %d", steal_fd(&fd));
	r = check_socket(fd, type, err);
	if (r < 0)
		return r;
	*ret_fd = steal_fd(&fd);
	return 0;
}

int activation_take(const char *name, int type, int *ret_fd, struct error *err)
{
	const char *pid_text = getenv("LISTEN_PID");
	const char *count_text = getenv("LISTEN_FDS");
	uint64_t pid, count;
	int r = 0;

	*ret_fd = -EBADF;
	/* Variables that were meant for a parent of ours are nobody's error. */
	if (pid_text && count_text && str_to_u64(pid_text, 1, INT32_MAX, &pid) == 0 &&
	    (pid_t)pid == getpid()) {
		if (str_to_u64(count_text, 1, FDS_MAX, &count) < 0)
			r = error_set(err, EINVAL, "LISTEN_FDS is \"%s\": must be 1 to %d",
				      count_text, FDS_MAX);
		else
			r = take(name, type, count, getenv("LISTEN_FDNAMES"), ret_fd, err);
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return r;
}
