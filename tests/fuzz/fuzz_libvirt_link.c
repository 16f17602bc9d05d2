/* Bytes as the packet that kiln-libvirt answers a call with: the call ends with a result or with an
 * error that has a sentence, and what the answer had of descriptors is closed. The module comes in
 * whole, so that no helper has to be started. */
#include <stdint.h>
#include <stdlib.h>

#include "factory/bake/libvirt_link.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int next_descriptor(int fd)
{
	int next = dup(fd);

	close(next);
	return next;
}

/* The first byte says how many descriptors come with it. */
static void answer(int fd, const uint8_t *data, size_t size)
{
	int fds[SOCKET_MAX_FDS];
	size_t count = data[0] % (SOCKET_MAX_FDS + 1);

	for (size_t i = 0; i < count; i++)
		fds[i] = STDERR_FILENO;
	if (size > 1)
		(void)!socket_send(fd, data + 1, size - 1, fds, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char buffer[LIBVIRT_MESSAGE_MAX];
	_cleanup_(error_done) struct error err = {};
	json_t *result = NULL;
	int pair[2];

	if (size == 0)
		return 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	struct libvirt_link link = { .fd = pair[0], .pidfd = -EBADF, .buffer = buffer };
	int next = next_descriptor(pair[0]);
	answer(pair[1], data, size);
	shutdown(pair[1], SHUT_WR);
	int r = libvirt_link_call(&link, "boot", NULL, -EBADF, &result, &err);
	if (r < 0 ? result || !err.message : err.message != NULL)
		abort();
	json_decref(result);
	if (next_descriptor(pair[0]) != next)
		abort();
	close(pair[0]);
	close(pair[1]);
	return 0;
}
