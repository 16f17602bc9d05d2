#include "agent/pty.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "agent/rootpath.h"

enum { PTMX_MAJOR = 5, PTMX_MINOR = 2 };

enum { MASTER_FLAGS = O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC };

/* What the container's image put there may be anything. (The one in a devpts is 5:2, too.) */
static bool is_multiplexer(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && major(st.st_rdev) == PTMX_MAJOR &&
	       minor(st.st_rdev) == PTMX_MINOR;
}

static int open_master(int root, const char *fallback, int *ret_fd)
{
	_cleanup_close_ int fd = -EBADF;
	int r = rootpath_open_file(root, "/dev/ptmx", MASTER_FLAGS, &fd);

	if (r == -ENOENT && fallback) {
		fd = open(fallback, MASTER_FLAGS);
		r = fd < 0 ? -errno : 0;
	}
	if (r < 0)
		return r;
	if (!is_multiplexer(fd))
		return -ENODEV;
	*ret_fd = steal_fd(&fd);
	return 0;
}

int pty_open(int root, const char *fallback, const struct winsize *window, int *ret_master,
	     int *ret_slave, struct error *err)
{
	_cleanup_close_ int master = -EBADF;
	int locked = 0;
	int r = open_master(root, fallback, &master);

	if (r < 0)
		return error_set_errno(err, r, "cannot open /dev/ptmx");
	if (ioctl(master, TIOCSPTLCK, &locked) < 0)
		return error_set_errno(err, errno, "cannot unlock the terminal");

	int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return error_set_errno(err, errno, "cannot open the terminal");
	if (window->ws_row || window->ws_col)
		(void)ioctl(master, TIOCSWINSZ, window);
	*ret_master = steal_fd(&master);
	*ret_slave = slave;
	return 0;
}

int pty_take(int slave, struct error *err)
{
	_cleanup_close_ int fd = slave;

	if (ioctl(fd, TIOCSCTTY, 0) < 0)
		return error_set_errno(err, errno, "cannot take the controlling terminal");
	for (int to = 0; to <= 2; to++)
		if (dup2(fd, to) < 0)
			return error_set_errno(err, errno, "cannot put the terminal in place");
	return 0;
}
