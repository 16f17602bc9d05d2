#include "ctl/bug_files.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/spawn.h"
#include "base/strings.h"
#include "base/strv.h"

#define ROOT "kiln-bug-report"

int bug_files_open(struct bug_files *files, struct error *err)
{
	const char *tmp = getenv("TMPDIR");
	_cleanup_free_ char *dir = xasprintf("%s/kiln-bug-report.XXXXXX",
					     tmp && *tmp == '/' ? tmp : "/tmp");

	if (!mkdtemp(dir))
		return error_set_errno(err, errno, "cannot make the folder %s", dir);
	*files = (struct bug_files){ .root = path_join(dir, ROOT) };
	files->dir = steal_ptr(dir);
	return dir_make(files->root, 0700, err);
}

void bug_files_done(struct bug_files *files)
{
	if (files->dir)
		(void)path_remove(files->dir, NULL);
	free(files->dir);
	free(files->root);
	strbuf_done(&files->packed);
	strbuf_done(&files->left);
	*files = (struct bug_files){};
}

void bug_files_leave(struct bug_files *files, const char *name, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	_cleanup_free_ char *why = xvasprintf(fmt, args);
	va_end(args);
	str_neutralise(why, "");
	strbuf_addf(&files->left, "  %-24s %s\n", name, why);
}

/* Where a file goes; its folder is there then. */
static char *place(struct bug_files *files, const char *name)
{
	char *path = path_join(files->root, name);
	_cleanup_free_ char *dir = xstrdup(path);

	*strrchr(dir, '/') = '\0';
	(void)dir_make(dir, 0700, NULL); /* else the file cannot be written */
	return path;
}

static void count(struct bug_files *files, const char *name, const char *about)
{
	strbuf_addf(&files->packed, "  %-24s %s\n", name, about);
}

static void add(struct bug_files *files, const char *name, const void *data, size_t len,
		const char *about)
{
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *path = place(files, name);

	if (len == 0)
		bug_files_leave(files, name, "it is empty");
	else if (file_write_volatile(path, data, len, 0600, &err) < 0)
		bug_files_leave(files, name, "%s", error_message(&err));
	else
		count(files, name, about);
}

void bug_files_add(struct bug_files *files, const char *name, const char *text, const char *about)
{
	add(files, name, text, strlen(text), about);
}

void bug_files_add_json(struct bug_files *files, const char *name, const json_t *object,
			const char *about)
{
	char *text = json_dumps(object, JSON_INDENT(2) | JSON_ENSURE_ASCII);

	bug_files_add(files, name, text ? text : "", about);
	free(text);
}

void bug_files_add_end(struct bug_files *files, const char *name, const char *path, size_t max,
		       const char *about)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return bug_files_leave(files, name, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return bug_files_leave(files, name, "%s is no file", path);
	off_t begin = st.st_size > (off_t)max ? st.st_size - (off_t)max : 0;
	_cleanup_free_ char *data = xcalloc(1, max);
	ssize_t len = lseek(fd, begin, SEEK_SET) < 0 ? -errno : read_full(fd, data, max);
	if (len < 0)
		return bug_files_leave(files, name, "%s: %s", path, strerror((int)-len));
	add(files, name, data, (size_t)len, about);
}

/* The shell puts it into the file: it may be more than one wants in memory. */
void bug_files_add_output(struct bug_files *files, const char *name, char *const *argv,
			  const char *about)
{
	_cleanup_(error_done) struct error err = {};
	_cleanup_(strv_done) struct strv all = {};
	_cleanup_free_ char *path = place(files, name);
	struct stat st;

	strv_add(&all, "/bin/sh");
	strv_add(&all, "-c");
	strv_add(&all, "exec \"$@\" >\"$0\" 2>&1");
	strv_add(&all, path);
	for (; *argv; argv++)
		strv_add(&all, *argv);
	if (spawn_and_wait(all.items, NULL, &err) < 0)
		bug_files_leave(files, name, "%s failed: %s", all.items[4], error_message(&err));
	else if (stat(path, &st) < 0 || st.st_size == 0)
		bug_files_leave(files, name, "%s says nothing", all.items[4]);
	else
		count(files, name, about);
}

static int run_tar(const struct bug_files *files, int out, struct error *err)
{
	const struct spawn_fd fds[] = { { out, STDOUT_FILENO }, { STDERR_FILENO, STDERR_FILENO } };
	const struct spawn_options options = {
		.argv = SPAWN_ARGV("tar", "-C", files->dir, "-czf", "-", ROOT),
		.fds = fds,
		.nfds = ARRAY_SIZE(fds),
		.new_session = true,
	};
	_cleanup_close_ int pidfd = -EBADF;
	int status = 0;
	pid_t pid;

	int r = spawn(&options, &pid, &pidfd, err);
	if (r < 0)
		return r;
	while ((r = spawn_reap(pidfd, &status)) == -EAGAIN)
		(void)poll(&(struct pollfd){ .fd = pidfd, .events = POLLIN }, 1, -1);
	return r < 0 ? error_set_errno(err, r, "cannot wait for tar")
		     : spawn_status_error("tar", status, "", err);
}

int bug_files_pack(const struct bug_files *files, const char *path, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
				      0600);

	if (fd < 0)
		return error_set_errno(err, errno, "cannot make %s", path);
	int r = run_tar(files, fd, err);
	if (r == 0 && fsync(fd) < 0)
		r = error_set_errno(err, errno, "cannot write %s", path);
	if (r < 0)
		unlink(path);
	return r;
}
