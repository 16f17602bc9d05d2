#include "proto/ttrpc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

static const char *const ttrpc_code_names[] = {
	[TTRPC_OK] = "OK",
	[TTRPC_CANCELLED] = "CANCELLED",
	[TTRPC_UNKNOWN] = "UNKNOWN",
	[TTRPC_INVALID_ARGUMENT] = "INVALID_ARGUMENT",
	[TTRPC_DEADLINE_EXCEEDED] = "DEADLINE_EXCEEDED",
	[TTRPC_NOT_FOUND] = "NOT_FOUND",
	[TTRPC_ALREADY_EXISTS] = "ALREADY_EXISTS",
	[TTRPC_PERMISSION_DENIED] = "PERMISSION_DENIED",
	[TTRPC_RESOURCE_EXHAUSTED] = "RESOURCE_EXHAUSTED",
	[TTRPC_FAILED_PRECONDITION] = "FAILED_PRECONDITION",
	[TTRPC_ABORTED] = "ABORTED",
	[TTRPC_OUT_OF_RANGE] = "OUT_OF_RANGE",
	[TTRPC_UNIMPLEMENTED] = "UNIMPLEMENTED",
	[TTRPC_INTERNAL] = "INTERNAL",
	[TTRPC_UNAVAILABLE] = "UNAVAILABLE",
	[TTRPC_DATA_LOSS] = "DATA_LOSS",
	[TTRPC_UNAUTHENTICATED] = "UNAUTHENTICATED",
};
DEFINE_STRING_TABLE(ttrpc_code, enum ttrpc_code, ttrpc_code_names)

/* Indexed by code. Each number leads back to its code or, where the code has no number of its
 * own, to the nearest one that has. */
static const int code_errnos[] = {
	[TTRPC_OK] = 0,
	[TTRPC_CANCELLED] = ECANCELED,
	[TTRPC_UNKNOWN] = EIO,
	[TTRPC_INVALID_ARGUMENT] = EINVAL,
	[TTRPC_DEADLINE_EXCEEDED] = ETIMEDOUT,
	[TTRPC_NOT_FOUND] = ENOENT,
	[TTRPC_ALREADY_EXISTS] = EEXIST,
	[TTRPC_PERMISSION_DENIED] = EPERM,
	[TTRPC_RESOURCE_EXHAUSTED] = EAGAIN,
	[TTRPC_FAILED_PRECONDITION] = EBUSY,
	[TTRPC_ABORTED] = EBUSY,
	[TTRPC_OUT_OF_RANGE] = ERANGE,
	[TTRPC_UNIMPLEMENTED] = EOPNOTSUPP,
	[TTRPC_INTERNAL] = EIO,
	[TTRPC_UNAVAILABLE] = ENOTCONN,
	[TTRPC_DATA_LOSS] = EIO,
	[TTRPC_UNAUTHENTICATED] = EACCES,
};

void ttrpc_header_encode(const struct ttrpc_header *header,
			 uint8_t ret_raw[static TTRPC_HEADER_SIZE])
{
	uint32_t length = htonl(header->length);
	uint32_t stream = htonl(header->stream);

	memcpy(ret_raw, &length, sizeof(length));
	memcpy(ret_raw + 4, &stream, sizeof(stream));
	ret_raw[8] = header->type;
	ret_raw[9] = header->flags;
}

void ttrpc_header_decode(const uint8_t raw[static TTRPC_HEADER_SIZE],
			 struct ttrpc_header *ret_header)
{
	uint32_t length;
	uint32_t stream;

	memcpy(&length, raw, sizeof(length));
	memcpy(&stream, raw + 4, sizeof(stream));
	*ret_header = (struct ttrpc_header){
		.length = ntohl(length),
		.stream = ntohl(stream),
		.type = raw[8],
		.flags = raw[9],
	};
}

enum ttrpc_code ttrpc_code_from_errno(int number)
{
	switch (abs(number)) {
	case 0:
		return TTRPC_OK;
	case ECANCELED:
		return TTRPC_CANCELLED;
	case EINVAL:
		return TTRPC_INVALID_ARGUMENT;
	case ETIMEDOUT:
		return TTRPC_DEADLINE_EXCEEDED;
	case ENOENT:
	case ESRCH:
		return TTRPC_NOT_FOUND;
	case EEXIST:
		return TTRPC_ALREADY_EXISTS;
	case EPERM:
	case EACCES:
		return TTRPC_PERMISSION_DENIED;
	case EAGAIN:
	case EDQUOT:
	case EMSGSIZE:
		return TTRPC_RESOURCE_EXHAUSTED;
	case EBUSY:
		return TTRPC_FAILED_PRECONDITION;
	case ERANGE:
		return TTRPC_OUT_OF_RANGE;
	case EOPNOTSUPP:
		return TTRPC_UNIMPLEMENTED;
	case ECONNRESET:
	case EPIPE:
	case ENOTCONN:
	case ECONNREFUSED:
		return TTRPC_UNAVAILABLE;
	default:
		return TTRPC_INTERNAL;
	}
}

int ttrpc_code_to_errno(enum ttrpc_code code)
{
	if ((unsigned)code >= ARRAY_SIZE(code_errnos))
		return EIO;
	return code_errnos[code];
}
