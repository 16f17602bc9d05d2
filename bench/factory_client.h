/* One blocking call to a factory. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "base/error.h"
#include "base/loop.h"

/* Connects, calls kiln.factory.v1.Factory's method and closes. The caller frees *ret_response
 * with protobuf_c_message_free_unpacked(); ret_response may be NULL. */
_must_check_ int factory_call(struct loop *loop, const char *address, const char *method,
			      const ProtobufCMessage *request, ProtobufCMessage **ret_response,
			      struct error *err);

/* Bakes what is missing and returns when the pool is full. */
_must_check_ int factory_init(struct loop *loop, const char *address, struct error *err);
