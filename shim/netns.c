#include "shim/netns.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "proto/netlink.h"

int netns_open(const char *path, int *ret_fd, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat theirs, ours;

	if (fd < 0)
		return error_set_errno(err, errno == ENOENT ? EINVAL : errno,
				       "cannot open the network namespace %s", path);
	if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET)
		return error_set(err, EINVAL, "%s is no network namespace", path);
	if (fstat(fd, &theirs) < 0 || stat("/proc/self/ns/net", &ours) < 0)
		return error_set_errno(err, errno, "cannot look at network namespaces");
	if (theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino)
		return error_set(err, EOPNOTSUPP,
				 "%s is the host's network namespace, which a machine cannot be in",
				 path);
	*ret_fd = steal_fd(&fd);
	return 0;
}

struct visit {
	int fd;
	int result; /* a socket, or a negative errno */
};

static void *visit_run(void *userdata)
{
	struct visit *visit = userdata;

	visit->result = setns(visit->fd, CLONE_NEWNET) < 0 ? -errno : netlink_socket();
	return NULL;
}

int netns_netlink(int fd, int *ret_socket, struct error *err)
{
	struct visit visit = { .fd = fd };
	pthread_t thread;
	int r = pthread_create(&thread, NULL, visit_run, &visit);

	if (r == 0)
		pthread_join(thread, NULL);
	else
		visit.result = -r;
	if (visit.result < 0)
		return error_set_errno(err, visit.result, "cannot enter a network namespace");
	*ret_socket = visit.result;
	return 0;
}
