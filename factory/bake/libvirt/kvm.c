#include "factory/bake/libvirt/kvm.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "factory/bake/libvirt/protocol.h"

#define DEVICE "/dev/kvm"

enum { GROUPS_MAX = 256 };

static _Noreturn void open_as(uid_t uid, gid_t gid, const gid_t *groups, size_t ngroups)
{
	bool changed = setgroups(ngroups, groups) == 0 && setgid(gid) == 0 && setuid(uid) == 0;

	_exit(changed && open(DEVICE, O_RDWR | O_CLOEXEC) >= 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* The groups that libvirt gives to QEMU: a user without a name has its own one only. */
int kvm_check(uid_t uid, gid_t gid, struct error *err)
{
	const struct passwd *user = getpwuid(uid);
	gid_t groups[GROUPS_MAX] = { gid };
	int ngroups = user ? GROUPS_MAX : 1, status;

	if (user && getgrouplist(user->pw_name, gid, groups, &ngroups) < 0)
		return error_set(err, ENOENT, "the user %u is in too many groups", uid);
	pid_t pid = fork();
	if (pid == 0)
		open_as(uid, gid, groups, (size_t)ngroups);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	if (pid < 0)
		return error_set_errno(err, errno, "cannot fork");
	if (status != 0)
		return error_set(err, EACCES,
				 "the bakes' user (uid %u, gid %u) may not open " DEVICE
				 " (as udev has it: chgrp kvm " DEVICE ", chmod 660 " DEVICE ")",
				 uid, gid);
	return 0;
}

int kvm_hide(const char *run_dir, struct error *err)
{
	_cleanup_free_ char *dir = path_join(run_dir, "libvirt");
	_cleanup_free_ char *path = path_join(dir, "no-kvm");

	if (!path_exists(DEVICE))
		return 0;
	int r = dir_make(dir, 0700, err);
	if (r < 0)
		return r;
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0);
	if (fd < 0)
		return error_set_errno(err, errno, "cannot create %s", path);
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
	    mount(path, DEVICE, NULL, MS_BIND, NULL) < 0)
		return error_set_errno(err, errno, "cannot hide " DEVICE " from libvirt");
	return 0;
}
