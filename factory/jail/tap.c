#include "factory/jail/tap.h"

#include <assert.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>

#define VHOST_NET "/dev/vhost-net"

int vhost_net_open(int *ret_fd, struct error *err)
{
	int fd = open(VHOST_NET, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return error_set_errno(err, errno,
				       "cannot open " VHOST_NET " (modprobe vhost_net)");
	*ret_fd = fd;
	return 0;
}

static int reserve(bool vhost_net, int *ret_fd, int *ret_vhost_net, struct error *err)
{
	_cleanup_close_ int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return error_set_errno(err, errno, "no descriptor for a network card");
	*ret_vhost_net = -EBADF;
	int r = vhost_net ? vhost_net_open(ret_vhost_net, err) : 0;
	if (r == 0)
		*ret_fd = steal_fd(&fd);
	return r;
}

int taps_reserve(size_t count, bool vhost_net, struct taps *ret_taps, struct error *err)
{
	for (size_t i = ret_taps->count = 0; i < count; i++) {
		int r = reserve(vhost_net, &ret_taps->fds[i], &ret_taps->vhost_net[i], err);

		if (r < 0) {
			taps_done(ret_taps);
			return r;
		}
		ret_taps->count++;
	}
	return 0;
}

void taps_done(struct taps *taps)
{
	while (taps->count > 0) {
		taps->count--;
		close_fd(taps->fds[taps->count]);
		close_fd(taps->vhost_net[taps->count]);
	}
}

/* "kiln0"; snprintf() is more than a child may call. */
static void name_tap(struct ifreq *request, size_t number)
{
	static const char prefix[] = "kiln";

	static_assert(NETWORK_CARDS_MAX <= 10, "a digit is enough");
	memcpy(request->ifr_name, prefix, sizeof(prefix) - 1);
	request->ifr_name[sizeof(prefix) - 1] = (char)('0' + number);
}

int tap_make(size_t card, const char **ret_what)
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	_cleanup_close_ int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	name_tap(&request, card);
	if (fd < 0) {
		*ret_what = "cannot open /dev/net/tun (modprobe tun)";
		return -1;
	}
	if (ioctl(fd, TUNSETIFF, &request) < 0) {
		*ret_what = "cannot make a tap";
		return -1;
	}
	return steal_fd(&fd);
}

const char *taps_make(const struct taps *taps)
{
	const char *what;

	for (size_t i = 0; i < taps->count; i++) {
		int fd = tap_make(i, &what);

		if (fd < 0)
			return what;
		if (dup3(fd, taps->fds[i], O_CLOEXEC) < 0)
			return "cannot place a tap's descriptor";
		close(fd);
	}
	return NULL;
}

int taps_enter(void *data, const char **ret_what)
{
	const struct taps *taps = data;
	const char *what = unshare(CLONE_NEWNET) < 0 ? "cannot make its network namespace"
						     : taps_make(taps);

	if (!what)
		return 0;
	*ret_what = what;
	return -errno;
}
