#include "base/instance.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

enum { PID_TEXT_MAX = 32 };

int instance_lock(const char *folder, const char *name, const char *key, pid_t holder, int *ret_fd,
		  struct error *err)
{
	_cleanup_free_ char *path = path_join(folder, name);
	char pid[PID_TEXT_MAX];

	_cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set_errno(err, errno, "cannot open %s", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		ssize_t n = read(fd, pid, sizeof(pid) - 1);
		pid[n > 0 ? n : 0] = '\0';
		return error_set(err, EADDRINUSE,
				 "another kiln-factory (pid %d) uses %s: stop it first, or set "
				 "another %s",
				 atoi(pid), folder, key);
	}
	int len = snprintf(pid, sizeof(pid), "%d\n", (int)holder);
	if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, (size_t)len, 0) < 0)
		return error_set_errno(err, errno, "cannot write %s", path);
	*ret_fd = steal_fd(&fd);
	return 0;
}
