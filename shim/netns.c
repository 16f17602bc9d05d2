#include "shim/netns.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/strings.h"
#include "factory/jail/tap.h"
#include "proto/netlink.h"
#include "shim/bundle.h"

/* A thread of this process. */
static bool is_ours(long id)
{
	_cleanup_free_ char *path = xasprintf("/proc/self/task/%ld", id);

	return access(path, F_OK) == 0;
}

/* "/proc/PID/ns/net" of a VMM, or of another shim's thread (below). Engines write it for the
 * network of another container, whose task's pid that is; but that network is in the guest. */
static bool is_of_machine(const char *path)
{
	const char *number = str_after(path, "/proc/");
	char program[PATH_MAX];
	char *end;
	long id = number ? strtol(number, &end, 10) : 0;

	if (id <= 0 || *end != '/')
		return false;
	_cleanup_free_ char *exe = xasprintf("/proc/%ld/exe", id);
	ssize_t len = readlink(exe, program, sizeof(program) - 1);
	program[len > 0 ? len : 0] = '\0';
	const char *name = basename(program);

	return str_after(name, "qemu-system-") != NULL ||
	       (str_after(name, SHIM_PROGRAM) != NULL && !is_ours(id));
}

int netns_open(const char *path, int *ret_fd, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat theirs, ours;

	if (fd < 0)
		return error_set_errno(err, errno == ENOENT ? EINVAL : errno,
				       "cannot open the network namespace %s", path);
	if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET)
		return error_set(err, EINVAL, "%s is no network namespace", path);
	if (is_of_machine(path))
		return error_set(err, EOPNOTSUPP,
				 "%s is another machine's: the network of its containers is in its "
				 "guest, and only containers of its pod can join it",
				 path);
	if (fstat(fd, &theirs) < 0 || stat("/proc/self/ns/net", &ours) < 0)
		return error_set_errno(err, errno, "cannot look at network namespaces");
	if (theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino)
		return error_set(err, EOPNOTSUPP,
				 "%s is the host's network namespace, which a machine cannot be in",
				 path);
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* What a thread does in another namespace. */
struct visit {
	int fd;
	int (*make)(struct visit *visit); /* a descriptor, or a negative errno */
	size_t card;
	const char *what; /* was not possible */
	int result;       /* make()'s */
};

static void *visit_run(void *userdata)
{
	struct visit *visit = userdata;

	visit->result = setns(visit->fd, CLONE_NEWNET) < 0 ? -errno : visit->make(visit);
	return NULL;
}

static int visit_make(struct visit *visit, int *ret_fd, struct error *err)
{
	pthread_t thread;
	int r;

	visit->what = "cannot enter a network namespace";
	r = pthread_create(&thread, NULL, visit_run, visit);
	if (r == 0)
		pthread_join(thread, NULL);
	else
		visit->result = -r;
	if (visit->result < 0)
		return error_set_errno(err, visit->result, "%s", visit->what);
	*ret_fd = visit->result;
	return 0;
}

static int make_netlink(struct visit *visit _unused_)
{
	return netlink_socket();
}

int netns_netlink(int fd, int *ret_socket, struct error *err)
{
	struct visit visit = { .fd = fd, .make = make_netlink };

	return visit_make(&visit, ret_socket, err);
}

static int make_sysfs(struct visit *visit)
{
	_cleanup_close_ int context = fsopen("sysfs", FSOPEN_CLOEXEC);
	int tree = -1;

	visit->what = "cannot mount a network namespace's sysfs";
	if (context >= 0 && fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		tree = fsmount(context, FSMOUNT_CLOEXEC, 0);
	return tree < 0 ? -errno : tree;
}

int netns_sysfs(int fd, int *ret_mount, struct error *err)
{
	struct visit visit = { .fd = fd, .make = make_sysfs };

	return visit_make(&visit, ret_mount, err);
}

static int make_tap(struct visit *visit)
{
	int tap = tap_make(visit->card, &visit->what);

	return tap < 0 ? -errno : tap;
}

int netns_tap(int fd, size_t card, int *ret_tap, struct error *err)
{
	struct visit visit = { .fd = fd, .make = make_tap, .card = card };

	return visit_make(&visit, ret_tap, err);
}

/* ---------------------------------------------------------------- one that is kept */

struct netns_keeper {
	pthread_t thread;
	int netns;         /* or a process in it; owned; -EBADF: a new one is made */
	int ours, threads; /* a pair: the thread says that it is there, and waits for our end; owned
			    */
	pid_t id;
	int result; /* 0, or a negative errno */
};

static int raise_loopback(void)
{
	_cleanup_close_ int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };

	return ioctl(sock, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

static void *keeper_run(void *userdata)
{
	struct netns_keeper *keeper = userdata;
	char byte = 0;
	int r = keeper->netns >= 0 ? setns(keeper->netns, CLONE_NEWNET) : unshare(CLONE_NEWNET);

	keeper->id = gettid();
	keeper->result = r < 0 ? -errno : 0;
	if (r == 0 && keeper->netns < 0)
		keeper->result = raise_loopback();
	(void)!write(keeper->threads, &byte, 1);
	(void)!read(keeper->threads, &byte, 1);
	return NULL;
}

void netns_keeper_free(struct netns_keeper *keeper)
{
	if (!keeper)
		return;
	close_fd(keeper->ours);
	if (keeper->thread)
		pthread_join(keeper->thread, NULL);
	close_fd(keeper->threads);
	close_fd(keeper->netns);
	free(keeper);
}

static int keeper_start(struct netns_keeper *keeper)
{
	int ends[2];
	char byte;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	keeper->ours = ends[0];
	keeper->threads = ends[1];

	int r = pthread_create(&keeper->thread, NULL, keeper_run, keeper);

	if (r != 0) {
		keeper->thread = 0;
		return -r;
	}
	(void)!read(keeper->ours, &byte, 1);
	return keeper->result;
}

/* netns is taken. */
static int keep(int netns, struct netns_keeper **ret, struct error *err)
{
	struct netns_keeper *keeper = xnew(struct netns_keeper);

	keeper->netns = netns;
	keeper->ours = keeper->threads = -EBADF;
	int r = keeper_start(keeper);
	if (r < 0) {
		netns_keeper_free(keeper);
		return error_set_errno(err, r, "cannot be in the pod's network namespace");
	}
	*ret = keeper;
	return 0;
}

int netns_keep(const char *path, struct netns_keeper **ret, struct error *err)
{
	int netns = -EBADF;
	int r = path ? netns_open(path, &netns, err) : 0;

	return r < 0 ? r : keep(netns, ret, err);
}

int netns_keep_process(int pidfd, struct netns_keeper **ret, struct error *err)
{
	int copy = fcntl(pidfd, F_DUPFD_CLOEXEC, 3);

	return copy < 0 ? error_set_errno(err, errno, "cannot look at a process")
			: keep(copy, ret, err);
}

pid_t netns_keeper_id(const struct netns_keeper *keeper)
{
	return keeper->id;
}

char *netns_keeper_path(const struct netns_keeper *keeper)
{
	return xasprintf("/proc/%d/ns/net", (int)keeper->id);
}
