#include "shim/jail_mount.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim/mount.h"

struct visit {
	int (*fn)(const struct visit *visit); /* 0, or a negative errno */
	int vmm_pidfd;
	const char *path;
	int tree;   /* of attach() */
	int userns; /* of map() */
	int result;
};

/* A mount namespace can be entered by a thread, if it shares its folders with no other. */
static void *visit_run(void *userdata)
{
	struct visit *visit = userdata;

	if (unshare(CLONE_FS) < 0 || setns(visit->vmm_pidfd, CLONE_NEWNS) < 0)
		visit->result = -errno;
	else
		visit->result = visit->fn(visit);
	return NULL;
}

static int visit_jail(struct visit *visit)
{
	pthread_t thread;
	int r = pthread_create(&thread, NULL, visit_run, visit);

	if (r != 0)
		return -r;
	pthread_join(thread, NULL);
	return visit->result;
}

static int open_place(const char *path)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS };

	return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
}

/* ---------------------------------------------------------------- attach */

static int attach_tree(int tree, const char *path)
{
	_cleanup_close_ int target = open_place(path);

	if (target < 0 ||
	    move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return -errno;
	return 0;
}

static int attach(const struct visit *visit)
{
	return attach_tree(visit->tree, visit->path);
}

int jail_mount_attach(int vmm_pidfd, int tree, const char *path, struct error *err)
{
	struct visit visit = { attach, vmm_pidfd, path, .tree = tree };
	int r = visit_jail(&visit);

	return r < 0 ? error_set_errno(err, r, "cannot mount on %s in the machine's jail", path)
		     : 0;
}

/* ---------------------------------------------------------------- map */

static int map(const struct visit *visit)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_HARMLESS | MOUNT_ATTR_IDMAP,
		.userns_fd = (unsigned)visit->userns,
	};
	_cleanup_close_ int old = open_place(visit->path), tree = -EBADF;
	char self[32];

	if (old < 0)
		return -errno;
	tree = open_tree(old, "",
			 OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
	if (tree < 0 ||
	    mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
		return -errno;
	/* What was opened, wherever that is meanwhile. */
	snprintf(self, sizeof(self), "/proc/self/fd/%d", old);
	if (umount2(self, MNT_DETACH) < 0)
		return -errno;
	return attach_tree(tree, visit->path);
}

int jail_mount_map(int vmm_pidfd, const char *path, const struct idmap *idmap, struct error *err)
{
	struct visit visit = { map, vmm_pidfd, path, .userns = idmap->userns };
	int r = visit_jail(&visit);

	return r < 0 ? error_set_errno(err, r, "cannot show %s with the machine's ids", path) : 0;
}
