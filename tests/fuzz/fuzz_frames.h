/* What the ttRPC fuzzers share: bytes of the fuzzer into a socket, on the loop of the code
 * under test.
 *
 * The first byte says how the rest is sent: bit 0, as frames with a right header (four bytes of
 * input each give type, stream, flags and length) or raw; the other bits, in how large pieces.
 */
#pragma once

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/loop.h"
#include "base/socket.h"
#include "base/strbuf.h"
#include "proto/ttrpc.h"

static inline void fuzz_turn_done(void *userdata)
{
	*(bool *)userdata = true;
}

static inline void fuzz_turn(struct loop *loop)
{
	for (unsigned i = 0; i < 3; i++) {
		bool done = false;
		loop_defer(loop, fuzz_turn_done, &done);
		if (!loop_run_until(loop, &done, 10000))
			abort();
	}
}

static inline void fuzz_send(struct loop *loop, int fd, const void *data, size_t len, size_t step)
{
	const char *rest = data;

	for (unsigned rounds = 0; len > 0 && rounds < 4096; rounds++) {
		size_t piece = step > 0 && step < len ? step : len;
		ssize_t n = send(fd, rest, piece, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			return;
		if (n > 0) {
			rest += n;
			len -= (size_t)n;
		}
		if (n < 0 || step > 0)
			fuzz_turn(loop);
	}
}

static inline void fuzz_frames(struct strbuf *out, const uint8_t *data, size_t size)
{
	while (size >= 4) {
		size_t length = data[3] < size - 4 ? data[3] : size - 4;
		struct ttrpc_header header = {
			.length = (uint32_t)length,
			.stream = data[1],
			.type = data[0],
			.flags = data[2],
		};
		uint8_t raw[TTRPC_HEADER_SIZE];
		ttrpc_header_encode(&header, raw);
		strbuf_add(out, raw, sizeof(raw));
		strbuf_add(out, data + 4, length);
		data += 4 + length;
		size -= 4 + length;
	}
}

/* Sends one input and closes nothing. */
static inline void fuzz_send_input(struct loop *loop, int fd, const uint8_t *data, size_t size)
{
	_cleanup_(strbuf_done) struct strbuf frames = {};

	if (size == 0)
		return;
	size_t step = data[0] >> 1;
	if (data[0] & 1)
		fuzz_frames(&frames, data + 1, size - 1);
	else
		strbuf_add(&frames, data + 1, size - 1);
	fuzz_send(loop, fd, frames.text, frames.len, step);
	fuzz_turn(loop);
}
