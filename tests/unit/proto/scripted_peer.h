/* The other end of a wire for unit tests: raw bytes in and out of a socketpair, on the loop of
 * the code under test. Everything that waits has a deadline. */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <protobuf-c/protobuf-c.h>
#include <string.h>
#include <sys/socket.h>

#include "base/loop.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/strbuf.h"
#include "proto/ttrpc.h"
#include "proto/ttrpc.pb-c.h"

#define PEER_TIMEOUT_MS 10000

struct peer_end {
	struct loop *loop;
	int fd;
	struct loop_watch *watch;
	struct strbuf received;
	int fds[64];
	size_t nfds;
	bool changed;
	bool ended;
};

static inline void peer_on_ready(int fd, unsigned events, void *userdata)
{
	struct peer_end *peer = userdata;
	char bytes[65536];
	size_t nfds = 0;

	(void)events;
	peer->changed = true;
	ssize_t n = socket_receive(fd, bytes, sizeof(bytes), peer->fds + peer->nfds, &nfds);
	peer->nfds += nfds;
	if (n > 0)
		strbuf_add(&peer->received, bytes, (size_t)n);
	if (n == 0 || (n < 0 && n != -EAGAIN)) {
		peer->ended = true;
		loop_watch_set(peer->watch, 0);
	}
}

/* Takes fd. */
static inline struct peer_end *peer_new(struct loop *loop, int fd)
{
	struct peer_end *peer = xnew(struct peer_end);

	peer->loop = loop;
	peer->fd = fd;
	peer->watch = loop_watch_new(loop, fd, LOOP_READ, peer_on_ready, peer);
	return peer;
}

static inline void peer_free(struct peer_end *peer)
{
	loop_watch_free(peer->watch);
	close_fd(peer->fd);
	for (size_t i = 0; i < peer->nfds; i++)
		close_fd(peer->fds[i]);
	strbuf_done(&peer->received);
	free(peer);
}
DEFINE_CLEANUP(struct peer_end *, peer_free)

/* One turn of everything that is ready now, deferred calls included. */
static inline void turn_done(void *userdata)
{
	*(bool *)userdata = true;
}

static inline void turn(struct loop *loop)
{
	for (unsigned i = 0; i < 4; i++) {
		bool done = false;
		loop_defer(loop, turn_done, &done);
		assert_true(loop_run_until(loop, &done, PEER_TIMEOUT_MS));
	}
}

/* Until *done; fails the test at the deadline. */
static inline void turn_until(struct loop *loop, const bool *done)
{
	assert_true(loop_run_until(loop, done, PEER_TIMEOUT_MS));
}

/* What does not fit into the socket goes once the loop has made room. */
static inline void peer_send(struct peer_end *peer, const void *data, size_t len)
{
	const char *rest = data;

	while (len > 0) {
		ssize_t n = send(peer->fd, rest, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0) {
			assert_int_equal(errno, EAGAIN);
			turn(peer->loop);
			continue;
		}
		rest += n;
		len -= (size_t)n;
	}
}

static inline void peer_await_bytes(struct peer_end *peer, size_t len)
{
	while (peer->received.len < len) {
		assert_false(peer->ended);
		peer->changed = false;
		turn_until(peer->loop, &peer->changed);
	}
}

static inline void peer_await_end(struct peer_end *peer)
{
	turn_until(peer->loop, &peer->ended);
}

static inline void peer_drop_front(struct peer_end *peer, size_t len)
{
	peer->received.len -= len;
	memmove(peer->received.text, peer->received.text + len, peer->received.len);
}

static inline unsigned count_open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* ---------------------------------------------------------------- ttRPC frames */

static inline void frame_add(struct strbuf *out, uint32_t stream, uint8_t type, uint8_t flags,
			     const void *data, size_t len)
{
	struct ttrpc_header header = {
		.length = (uint32_t)len,
		.stream = stream,
		.type = type,
		.flags = flags,
	};
	uint8_t raw[TTRPC_HEADER_SIZE];

	ttrpc_header_encode(&header, raw);
	strbuf_add(out, raw, sizeof(raw));
	strbuf_add(out, data, len);
}

static inline void frame_add_message(struct strbuf *out, uint32_t stream, uint8_t type,
				     uint8_t flags, const ProtobufCMessage *message)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	_cleanup_free_ uint8_t *data = xcalloc(len + 1, 1);

	protobuf_c_message_pack(message, data);
	frame_add(out, stream, type, flags, data, len);
}

/* A whole frame; the caller frees *ret_data. */
static inline void peer_await_frame(struct peer_end *peer, struct ttrpc_header *ret_header,
				    uint8_t **ret_data)
{
	peer_await_bytes(peer, TTRPC_HEADER_SIZE);
	ttrpc_header_decode((const uint8_t *)peer->received.text, ret_header);
	peer_await_bytes(peer, TTRPC_HEADER_SIZE + ret_header->length);
	*ret_data = xmemdup(peer->received.text + TTRPC_HEADER_SIZE, ret_header->length + 1);
	peer_drop_front(peer, TTRPC_HEADER_SIZE + ret_header->length);
}
