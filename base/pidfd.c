#include "base/pidfd.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"

enum {
	KILL_WAIT_MS = 10 * 1000,
	LOG_TAIL = 2048,
	LAST_LINE_MAX = 300,
};

/* Of one that /proc does not show. With hidepid= it hides others' processes as if they were not
 * there; signals are refused, not lost. */
static int unseen(pid_t pid)
{
	bool alive = pid > 0 && (kill(pid, 0) == 0 || errno == EPERM);

	return alive ? -EACCES : -ESRCH;
}

int process_start_time(pid_t pid, uint64_t *ret_ticks)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/stat", (int)pid);
	_cleanup_free_ char *text = NULL;
	int r = file_read(path, 4096, &text, NULL, NULL);

	if (r == -ENOENT || r == -ESRCH)
		return unseen(pid);
	if (r < 0)
		return r;

	/* The name, field 2, may itself hold spaces and brackets: count from its last one. */
	char *at = strrchr(text, ')');
	char *rest = NULL;

	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	at = at ? strtok_r(at, " \n", &rest) : NULL;
	return at ? str_to_u64(at, 0, UINT64_MAX, ret_ticks) : -EIO;
}

int process_open(pid_t pid, uint64_t start_time, int *ret_pidfd)
{
	uint64_t ticks;
	_cleanup_close_ int pidfd = pid > 0 ? pidfd_open(pid, 0) : -1;

	if (pid <= 0)
		return -ESRCH;
	if (pidfd < 0)
		return errno == EINVAL || errno == ENOENT ? -ESRCH : -errno; /* a thread's id */

	int r = process_start_time(pid, &ticks);

	if (r < 0)
		return r;
	if (ticks != start_time)
		return -ESRCH;
	/* The pidfd still names somebody, so the pid was his while its start time was read. */
	if (pidfd_send_signal(pidfd, 0, NULL, 0) < 0 && errno != EPERM)
		return -errno;
	*ret_pidfd = steal_fd(&pidfd);
	return 0;
}

int pidfd_wait(int pidfd, struct error *err)
{
	struct pollfd fd = { .fd = pidfd, .events = POLLIN };
	int r;
	do
		r = poll(&fd, 1, KILL_WAIT_MS);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return error_set_errno(err, errno, "cannot wait for the process");
	if (r == 0)
		return error_set(err, ETIMEDOUT, "the process does not end (10 s)");
	return 0;
}

int pidfd_kill(int pidfd, struct error *err)
{
	if (pidfd_send_signal(pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		return error_set_errno(err, errno, "cannot kill the process");
	return pidfd_wait(pidfd, err);
}

static char *log_last_line(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	char tail[LOG_TAIL];
	if (fd < 0)
		return NULL;
	if (lseek(fd, -(off_t)sizeof(tail), SEEK_END) < 0 && errno != EINVAL)
		return NULL;
	ssize_t len = read_full(fd, tail, sizeof(tail));
	while (len > 0 && (tail[len - 1] == '\n' || tail[len - 1] == ' '))
		len--;
	if (len <= 0)
		return NULL;
	const char *newline = memrchr(tail, '\n', (size_t)len);
	const char *start = newline ? newline + 1 : tail;
	size_t size = (size_t)(tail + len - start);
	char *line = xstrndup(start, size < LAST_LINE_MAX ? size : LAST_LINE_MAX);
	str_neutralise(line, "");
	return line;
}

char *program_last_words(const char *program, const char *log, int status)
{
	_cleanup_(strbuf_done) struct strbuf out = {};
	if (status == -1)
		strbuf_addf(&out, "%s ended", program);
	else if (WIFSIGNALED(status))
		strbuf_addf(&out, "%s was killed by signal %d (%s)", program, WTERMSIG(status),
			    strsignal(WTERMSIG(status)));
	else
		strbuf_addf(&out, "%s ended with status %d", program, WEXITSTATUS(status));
	_cleanup_free_ char *line = log_last_line(log);
	if (line)
		strbuf_addf(&out, ": %s", line);
	return strbuf_steal(&out);
}
