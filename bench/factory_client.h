/* Blocking calls to a factory. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "base/error.h"
#include "base/loop.h"
#include "proto/factory.pb-c.h"

/* Connects, calls kiln.factory.v1.Factory's method and closes. The caller frees *ret_response
 * with protobuf_c_message_free_unpacked(); ret_response may be NULL. */
_must_check_ int factory_call(struct loop *loop, const char *address, const char *method,
			      const ProtobufCMessage *request, ProtobufCMessage **ret_response,
			      struct error *err);

/* Bakes what is missing and returns when the pool is full. */
_must_check_ int factory_init(struct loop *loop, const char *address, struct error *err);

/* Returns when nothing is being made and the pool has its spares: what is measured next has the
 * processor for itself, and a clone finds what it finds in a pool at rest. */
_must_check_ int factory_rest(struct loop *loop, const char *address, struct error *err);

/* Returns as soon as at least so many machines are parked. */
_must_check_ int factory_park(struct loop *loop, const char *address, unsigned count,
			      struct error *err);

/* The same, then factory_rest(). */
_must_check_ int factory_warm(struct loop *loop, const char *address, unsigned count,
			      struct error *err);

/* Destroys what is parked and goes on as before; returns with factory_rest(). */
_must_check_ int factory_empty(struct loop *loop, const char *address, struct error *err);

_must_check_ int factory_status(struct loop *loop, const char *address,
				Kiln__Factory__V1__StatusResponse **ret_status, struct error *err);

/* All that is known of the factory's first template. */
_must_check_ int factory_inspect(struct loop *loop, const char *address,
				 Kiln__Factory__V1__InspectResponse **ret_response,
				 struct error *err);

/* What an input of the template is: a file's path, or the value it was baked with; NULL where
 * there is none of that name. Borrowed. */
const char *factory_input(const Kiln__Factory__V1__InspectResponse *inspected, const char *name);

_must_check_ int factory_list(struct loop *loop, const char *address,
			      Kiln__Factory__V1__ListResponse **ret_list, struct error *err);

#define DEFINE_MESSAGE_CLEANUP(name, type)                                                         \
	static inline void name##_free_cleanup(type **message)                                     \
	{                                                                                          \
		if (*message)                                                                      \
			protobuf_c_message_free_unpacked(&(*message)->base, NULL);                 \
	}
DEFINE_MESSAGE_CLEANUP(status_response, Kiln__Factory__V1__StatusResponse)
DEFINE_MESSAGE_CLEANUP(inspect_response, Kiln__Factory__V1__InspectResponse)
DEFINE_MESSAGE_CLEANUP(list_response, Kiln__Factory__V1__ListResponse)
