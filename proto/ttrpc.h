/* ttRPC: the frame and what client and server share.
 *
 * ttRPC carries protobuf calls over any byte stream; containerd, Kata's agent and Kiln speak
 * it. Facts of the protocol, version 1.2 (containerd's ttrpc, PROTOCOL.md): a frame is a
 * 10-byte header (data length, stream id, type, flags; big endian) and at most 4 MiB of data.
 * Compatibility rule: a frame that this side does not understand ends one call, never the
 * connection, as long as its length is known; streaming calls (type 3) are refused.
 *
 * The library knows no service and no program: it needs base/, libevent's buffers and
 * protobuf-c.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/strings.h"

#define TTRPC_HEADER_SIZE 10
#define TTRPC_DATA_MAX    (4u << 20)

/* Room for what frames an answer of nothing but bytes: the header, two fields' numbers and lengths.
 */
#define TTRPC_HEADROOM 32

enum ttrpc_type { TTRPC_REQUEST = 1, TTRPC_RESPONSE = 2, TTRPC_DATA = 3 };

enum { TTRPC_FLAG_REMOTE_CLOSED = 1, TTRPC_FLAG_REMOTE_OPEN = 2, TTRPC_FLAG_NO_DATA = 4 };

struct ttrpc_header {
	uint32_t length; /* bytes of data that follow */
	uint32_t stream;
	uint8_t type; /* enum ttrpc_type, or a value of a later protocol */
	uint8_t flags;
};

void ttrpc_header_encode(const struct ttrpc_header *header,
			 uint8_t ret_raw[static TTRPC_HEADER_SIZE]);
void ttrpc_header_decode(const uint8_t raw[static TTRPC_HEADER_SIZE],
			 struct ttrpc_header *ret_header);

/* gRPC's status codes. */
enum ttrpc_code {
	TTRPC_OK = 0,
	TTRPC_CANCELLED = 1,
	TTRPC_UNKNOWN = 2,
	TTRPC_INVALID_ARGUMENT = 3,
	TTRPC_DEADLINE_EXCEEDED = 4,
	TTRPC_NOT_FOUND = 5,
	TTRPC_ALREADY_EXISTS = 6,
	TTRPC_PERMISSION_DENIED = 7,
	TTRPC_RESOURCE_EXHAUSTED = 8,
	TTRPC_FAILED_PRECONDITION = 9,
	TTRPC_ABORTED = 10,
	TTRPC_OUT_OF_RANGE = 11,
	TTRPC_UNIMPLEMENTED = 12,
	TTRPC_INTERNAL = 13,
	TTRPC_UNAVAILABLE = 14,
	TTRPC_DATA_LOSS = 15,
	TTRPC_UNAUTHENTICATED = 16,
};
DECLARE_STRING_TABLE(ttrpc_code, enum ttrpc_code); /* "OK", "NOT_FOUND", ... */

/* The one place where error numbers and status codes meet: ENOENT and ESRCH are NOT_FOUND,
 * EEXIST ALREADY_EXISTS, EINVAL INVALID_ARGUMENT, ERANGE OUT_OF_RANGE, EAGAIN, EDQUOT and
 * EMSGSIZE RESOURCE_EXHAUSTED, ETIMEDOUT DEADLINE_EXCEEDED, ECONNRESET/EPIPE/ENOTCONN/
 * ECONNREFUSED UNAVAILABLE, EOPNOTSUPP UNIMPLEMENTED, EPERM/EACCES PERMISSION_DENIED, EBUSY
 * FAILED_PRECONDITION, ECANCELED CANCELLED, EPROTO and the rest INTERNAL; and back. */
enum ttrpc_code ttrpc_code_from_errno(int number);
int ttrpc_code_to_errno(enum ttrpc_code code); /* positive; 0 for OK */
