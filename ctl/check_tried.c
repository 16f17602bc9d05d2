/* kiln-ctl check: what is found out by trying it, in a process and namespaces of its own, that end
 * with it. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clone.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/pidfd.h"
#include "ctl/check.h"
#include "factory/base/layout.h"
#include "factory/guest/redirect.h"
#include "factory/jail/keeper.h"
#include "proto/netlink.h"

/* What a child ends with when it cannot be tried; below it is an errno, or 0. */
enum { NOT_TRIED = 200 };

enum { NOBODY = 65534 };

/* ---------------------------------------------------------------- traffic control */

/* As the shim does it in a pod's network namespace (factory/guest/redirect.h). */
static int redirect_lo(void)
{
	enum { LO = 1 };

	if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return NOT_TRIED;
	int fd = netlink_socket();
	if (fd < 0)
		return -fd;
	_cleanup_(error_done) struct error err = {};
	return -redirect_add(fd, LO, LO, "lo", &err);
}

void check_traffic_control(const struct check_host *host _unused_, struct check_result *result)
{
	int status = 0, pidfd = -EBADF;
	pid_t pid = clone_process(0, -EBADF, &pidfd);

	if (pid == 0)
		_exit(redirect_lo());
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		return check_unseen(result, "cannot try it: %s", strerror(errno));
	close(pidfd);
	int code = WEXITSTATUS(status);
	if (code == NOT_TRIED)
		check_unseen(result, "only root can try it here");
	else if (code != 0)
		check_mend(result, "modprobe -a sch_ingress cls_u32 act_mirred",
			   "cannot redirect packets (ingress, u32, mirred): %s", strerror(code));
	else
		check_fine(result, "ingress, u32 and mirred work");
}

/* ---------------------------------------------------------------- others' processes */

void processes_judge(int seen, const char *user, struct check_result *result)
{
	if (seen == 0)
		check_fine(result, "/proc shows %s those of others", user);
	else if (seen == -EACCES || seen == -EPERM)
		check_mend(
			result,
			"mount -o remount,hidepid=0 /proc, and in /etc/fstab (or gid= there, the "
			"factory's group)",
			"/proc hides the processes of others from %s (hidepid=), and with them "
			"shims and machines",
			user);
	else
		check_unseen(result, "cannot look at process 1: %s", strerror(-seen));
}

/* A factory that stays root has no capabilities, and is shown what anybody is. */
static int look_as(const struct keeper *keeper)
{
	uid_t uid = keeper->uid ? keeper->uid : NOBODY;
	gid_t gid = keeper->uid ? keeper->gid : NOBODY;
	uint64_t start_time;

	if (geteuid() != uid && (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
				 setresuid(uid, uid, uid) < 0))
		return NOT_TRIED;
	return -process_start_time(1, &start_time);
}

void check_processes(const struct check_host *host, struct check_result *result)
{
	_cleanup_(error_done) struct error err = {};
	struct keeper keeper;
	int status = 0, pidfd = -EBADF;

	if (keeper_find(host->config.user, &keeper, &err) < 0)
		return check_unseen(result, "%s", error_message(&err));
	pid_t pid = clone_process(0, -EBADF, &pidfd);
	if (pid == 0)
		_exit(look_as(&keeper));
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		return check_unseen(result, "cannot try it: %s", strerror(errno));
	close(pidfd);
	if (WEXITSTATUS(status) == NOT_TRIED)
		return check_unseen(result, "only root can try it for the factory's user");
	processes_judge(-WEXITSTATUS(status),
			keeper.uid == 0 ? "root" : host->config.user ?: KEEPER_USER, result);
}

/* ---------------------------------------------------------------- idmapped mounts */

static int write_map(pid_t pid, const char *file, uint32_t first)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/%s", pid, file);
	_cleanup_free_ char *map = xasprintf("0 %u %u", first, UID_RANGE_SIZE);

	return file_write_value(path, map, NULL);
}

/* A user namespace with a machine's ids: of a child that waits to be ended. */
static int open_userns(uint32_t first)
{
	int pidfd = -EBADF;
	pid_t pid = clone_process(CLONE_NEWUSER, -EBADF, &pidfd);

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
		_exit(0);
	}
	if (pid < 0)
		return -errno;
	_cleanup_free_ char *path = xasprintf("/proc/%d/ns/user", pid);
	int r = write_map(pid, "uid_map", first);
	if (r == 0)
		r = write_map(pid, "gid_map", first);
	int fd = r < 0 ? r : open(path, O_RDONLY | O_CLOEXEC);
	if (r == 0 && fd < 0)
		fd = -errno;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(pidfd);
	return fd;
}

/* Nothing is mounted: the mount is a descriptor alone. */
static int try_map(const char *path, int userns)
{
	struct mount_attr attributes = { .attr_set = MOUNT_ATTR_IDMAP,
					 .userns_fd = (uint64_t)userns };
	_cleanup_close_ int fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (fd < 0)
		return -errno;
	return mount_setattr(fd, "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) < 0 ? -errno
											 : 0;
}

/* Where volumes and root file systems are, usually. */
static const char *const places[] = { "/", "/var/lib/containerd", "/var/lib/kubelet" };

static void judge_places(int userns, struct check_result *result)
{
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		int r = path_exists(places[i]) ? try_map(places[i], userns) : 0;
		if (r == -EPERM)
			return check_unseen(result, "this process may not try it");
		if (r < 0)
			check_without(result,
				      "volumes and root file systems there are refused; ext4, xfs, "
				      "btrfs and erofs can be mapped",
				      NULL, "the file system of %s cannot be mapped: %s", places[i],
				      strerror(-r));
	}
	if (try_map("/dev/shm", userns) < 0)
		check_without(result,
			      "volumes on tmpfs are refused, but for what a kubelet makes to be "
			      "read (Secrets, tokens), which is copied; CRI-O's pods, unless their "
			      "roots are read-only",
			      NULL, "tmpfs cannot be mapped (it can since Linux 6.3)");
	check_fine(result, "tried on / and on tmpfs");
}

void check_idmapped_mounts(const struct check_host *host, struct check_result *result)
{
	if (host->config.uid_first == 0)
		return check_fine(result, "not used: \"uid_first\" is 0");
	if (!host->is_root)
		return check_unseen(result, "only root can try it");
	_cleanup_close_ int userns = open_userns((uint32_t)host->config.uid_first);
	if (userns == -EPERM)
		return check_unseen(result, "this process may not make user namespaces with ids");
	if (userns < 0)
		return check_mend(result, "sysctl user.max_user_namespaces=65536",
				  "cannot make a user namespace: %s", strerror(-userns));
	judge_places(userns, result);
}
