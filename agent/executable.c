#include "agent/executable.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"

#define PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* The path is looked up once: each component of it is a question to the host. */
static int check(const char *file)
{
	_cleanup_close_ int fd = open(file, O_PATH | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!(st.st_mode & 0111))
		return -EACCES;
	return faccessat(fd, "", X_OK, AT_EACCESS | AT_EMPTY_PATH) < 0 ? -errno : 0;
}

static int find_by_path(const char *name, char **ret_file, struct error *err)
{
	int r = check(name);

	if (r == -ENOENT || r == -ENOTDIR)
		return error_set_errno(err, r, "exec: \"%s\": stat %s", name, name);
	if (r < 0)
		return error_set_errno(err, r, "exec: \"%s\"", name);
	*ret_file = xstrdup(name);
	return 0;
}

int executable_find(const char *name, const char *path, char **ret_file, struct error *err)
{
	bool denied = false;

	if (strchr(name, '/'))
		return find_by_path(name, ret_file, err);
	for (const char *p = path ? path : PATH_DEFAULT; p; p = *p ? p + 1 : NULL) {
		size_t len = strcspn(p, ":");
		_cleanup_free_ char *dir = len > 0 ? xstrndup(p, len) : xstrdup(".");
		_cleanup_free_ char *file = path_join(dir, name);
		int r = check(file);

		if (r == 0) {
			*ret_file = steal_ptr(file);
			return 0;
		}
		denied |= r == -EACCES;
		p += len;
	}
	if (denied)
		return error_set_errno(err, EACCES, "exec: \"%s\"", name);
	return error_set(err, ENOENT, "exec: \"%s\": executable file not found in $PATH", name);
}
