#include "agent/cgroup_tasks.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/cgroup_tree.h"
#include "base/memory.h"
#include "base/strings.h"

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

/* What has gone meanwhile has no process. */
static void add_below(int dir, struct pid_list *list)
{
	_cleanup_close_ int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(strv_done) struct strv left = {};
	int r = fd < 0 ? -errno : cgroup_tree_children(fd, &left);

	while (r >= 0 && left.count > 0) {
		bool is_up = str_equal(left.items[left.count - 1], "..");

		r = cgroup_tree_go(&fd, left.items[left.count - 1]);
		strv_remove(&left, left.count - 1);
		if (r == 0 && !is_up) {
			strv_add(&left, "..");
			(void)!add_processes(fd, list);
			(void)!cgroup_tree_children(fd, &left);
		} else if (!is_up) {
			r = 0;
		}
	}
}

int pid_list_read(int dir, struct pid_list *ret, struct error *err)
{
	struct pid_list list = {};
	int r = add_processes(dir, &list);

	if (r < 0)
		return error_set_errno(err, r, "cannot read the cgroup's processes");
	add_below(dir, &list);
	*ret = list;
	return 0;
}

void pid_list_done(struct pid_list *list)
{
	free(list->pids);
	*list = (struct pid_list){};
}
