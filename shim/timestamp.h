/* Nanoseconds since the epoch as google.protobuf.Timestamp. */
#pragma once

#include <stdint.h>

#include "google/protobuf/timestamp.pb-c.h"

static inline Google__Protobuf__Timestamp timestamp_from_ns(uint64_t ns)
{
	Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;

	time.seconds = (int64_t)(ns / 1000000000);
	time.nanos = (int32_t)(ns % 1000000000);
	return time;
}
