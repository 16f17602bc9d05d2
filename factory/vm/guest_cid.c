#include "factory/vm/guest_cid.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include <linux/vhost.h>

#include "base/cleanup.h"
#include "base/id.h"

#define DEVICE "/dev/vhost-vsock"

enum { TRIES = 64 };

uint32_t guest_cid_of(uint32_t chance)
{
	return chance >= GUEST_CID_FIRST && chance < UINT32_MAX ? chance : 0;
}

/* -EADDRINUSE: not this one. */
static int reserve(int fd, uint32_t *ret_cid)
{
	uint32_t chance;

	random_bytes(&chance, sizeof(chance));
	uint64_t cid = guest_cid_of(chance);
	if (cid == 0)
		return -EADDRINUSE;
	if (ioctl(fd, VHOST_VSOCK_SET_GUEST_CID, &cid) < 0)
		return -errno;
	*ret_cid = (uint32_t)cid;
	return 0;
}

int guest_cid_reserve(int *ret_fd, uint32_t *ret_cid, struct error *err)
{
	_cleanup_close_ int fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	int r = -EADDRINUSE;

	if (fd < 0)
		return error_set_errno(err, errno, "cannot open " DEVICE " (modprobe vhost_vsock)");
	for (unsigned i = 0; r == -EADDRINUSE && i < TRIES; i++)
		r = reserve(fd, ret_cid);
	if (r < 0)
		return error_set_errno(err, r, "cannot reserve a context id for vsock");
	*ret_fd = steal_fd(&fd);
	return 0;
}
