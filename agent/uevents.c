#include "agent/uevents.h"

#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/clock.h"

enum { KERNELS_GROUP = 1, NS_PER_MS = 1000000 };

int uevents_open(void)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = KERNELS_GROUP };
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
					NETLINK_KOBJECT_UEVENT);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return steal_fd(&fd);
}

void uevents_drain(int fd)
{
	char text[4096];

	while (recv(fd, text, sizeof(text), MSG_DONTWAIT) > 0)
		continue;
}

int uevents_await(uevents_try_fn try, const void *data, int missing, unsigned wait_ms,
		  struct error *err)
{
	uint64_t deadline = clock_monotonic_ns() + (uint64_t)wait_ms * NS_PER_MS;
	_cleanup_close_ int events = uevents_open(); /* before the first look */
	int r;

	if (events < 0)
		return error_set_errno(err, events, "cannot listen to the kernel's devices");
	while ((r = try(data, err)) == -missing) {
		uint64_t now = clock_monotonic_ns();
		struct pollfd fd = { .fd = events, .events = POLLIN };
		if (now >= deadline)
			return r;
		error_done(err);
		(void)!poll(&fd, 1, (int)((deadline - now) / NS_PER_MS) + 1);
		uevents_drain(events);
	}
	return r;
}
