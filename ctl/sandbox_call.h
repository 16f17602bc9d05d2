/* One question to the shim of one sandbox (proto/operator.proto). */
#pragma once

#include "ctl/sandboxes.h"

/* The caller frees *ret_response with protobuf_c_message_free_unpacked(). */
_must_check_ int sandbox_call(const struct sandbox *sandbox, const char *method,
			      const ProtobufCMessage *request, unsigned timeout_ms,
			      ProtobufCMessage **ret_response, struct error *err);
