#include "agent/cgroup_tasks.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"

enum { DEPTH_MAX = 16 };

DEFINE_CLEANUP(DIR *, closedir)

static void add(struct pid_list *list, pid_t pid)
{
	if (list->count >= PID_LIST_MAX)
		return;
	/* Doubled whenever the count is a power of two. */
	if ((list->count & (list->count - 1)) == 0)
		list->pids = xrealloc_array(list->pids, list->count ? 2 * list->count : 1,
					    sizeof(*list->pids));
	list->pids[list->count++] = pid;
}

/* That of a group of threads cannot be read: its processes are in the group above. */
static int add_processes(int dir, struct pid_list *list)
{
	int fd = openat(dir, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	_cleanup_file_ FILE *file = fd >= 0 ? fdopen(fd, "r") : NULL;
	int pid;

	if (!file)
		return -errno;
	while (fscanf(file, "%d", &pid) == 1)
		add(list, pid);
	return 0;
}

static void add_below(int dir, unsigned depth, struct pid_list *list)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(closedir_cleanup) DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *entry;

	while (folder && depth < DEPTH_MAX && (entry = readdir(folder))) {
		_cleanup_close_ int child = -EBADF;
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		child = openat(dir, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (child < 0)
			continue; /* gone meanwhile */
		(void)!add_processes(child, list);
		add_below(child, depth + 1, list);
	}
}

int pid_list_read(int dir, struct pid_list *ret, struct error *err)
{
	struct pid_list list = {};
	int r = add_processes(dir, &list);

	if (r < 0)
		return error_set_errno(err, r, "cannot read the cgroup's processes");
	add_below(dir, 0, &list);
	*ret = list;
	return 0;
}

void pid_list_done(struct pid_list *list)
{
	free(list->pids);
	*list = (struct pid_list){};
}
