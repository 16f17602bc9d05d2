#include "agent/cgroup_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/strings.h"

DEFINE_CLEANUP(DIR *, closedir)

int cgroup_tree_children(int dir, struct strv *names)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(closedir_cleanup) DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *entry;
	int count = 0;

	if (!folder) {
		close_fd(fd);
		return -errno;
	}
	while ((entry = readdir(folder))) {
		if (entry->d_type != DT_DIR || str_equal(entry->d_name, ".") ||
		    str_equal(entry->d_name, ".."))
			continue;
		strv_add(names, entry->d_name);
		count++;
	}
	return count;
}

int cgroup_tree_go(int *fd, const char *name)
{
	int next = openat(*fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (next < 0)
		return -errno;
	close_fd(*fd);
	*fd = next;
	return 0;
}

/* What is below the group `name` comes first, and then the way back to it. */
static int descend(int *fd, const char *name, struct strv *left)
{
	int r = cgroup_tree_go(fd, name);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	strv_add(left, "..");
	r = cgroup_tree_children(*fd, left);
	return r == 0 ? -EBUSY : r; /* a process keeps it, as there is no group below */
}

int cgroup_tree_remove_below(int dir)
{
	_cleanup_close_ int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(strv_done) struct strv left = {};
	int r = fd < 0 ? -errno : cgroup_tree_children(fd, &left);

	while (r >= 0 && left.count > 0) {
		const size_t last = left.count - 1;
		const char *name = left.items[last];

		if (str_equal(name, ".."))
			r = cgroup_tree_go(&fd, name);
		else if (unlinkat(fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
			r = errno == EBUSY ? descend(&fd, name, &left) : -errno;
		if (r >= 0 && left.count == last + 1)
			strv_remove(&left, last);
	}
	return r < 0 ? r : 0;
}
