#include "agent/unmount.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/scratch.h"
#include "base/clone.h"
#include "base/log.h"
#include "base/memory.h"

/* In the child, which keeps nothing else of the agent's open: who reads a pipe that the agent
 * closes is to see its end. The mount lives until it is closed here, for the agent has let go of it
 * then. */
static _Noreturn void run(int mount, int agent, const char *folder)
{
	char none;

	if (dup2(mount, STDIN_FILENO) < 0 || dup2(agent, STDOUT_FILENO) < 0 ||
	    close_range(STDERR_FILENO + 1, ~0U, 0) < 0)
		_exit(EXIT_FAILURE);
	(void)!read(STDOUT_FILENO, &none, sizeof(none));
	close(STDIN_FILENO);
	close(STDOUT_FILENO);
	if (folder)
		scratch_remove(folder);
	_exit(EXIT_SUCCESS);
}

int unmount_aside(const char *mount_point, const char *folder, int *ret_fd)
{
	_cleanup_close_ int mount = open(mount_point, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	int ends[2];

	if (mount < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;

	_cleanup_close_ int ours = ends[0], theirs = ends[1], pidfd = -EBADF;
	pid_t pid = clone_process(0, -EBADF, &pidfd);

	if (pid == 0)
		run(mount, theirs, folder);
	if (pid < 0)
		return -errno;
	if (umount2(mount_point, UMOUNT_NOFOLLOW | MNT_DETACH) < 0)
		log_warning(NULL, "cannot unmount storage %s: %s", mount_point, strerror(errno));
	mount = close_fd(mount);
	(void)shutdown(ours, SHUT_WR);
	*ret_fd = steal_fd(&ours);
	return 0;
}
