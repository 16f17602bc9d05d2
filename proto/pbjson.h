/* Protobuf messages to JSON and back by their descriptors.
 *
 * To JSON: proto3's mapping with the field names as the .proto has them (bytes as base64,
 * enums by name, 64-bit integers as numbers, maps as objects); default values are left out
 * unless asked for.
 * From JSON: a key names the field whose name is equal when case and underscores are ignored,
 * so an OCI config.json ("noNewPrivileges") is read into grpc.Process (NoNewPrivileges) by the
 * same code. null is absent. Depth is bounded at 64.
 */
#pragma once

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

#include "base/error.h"

enum {
	PBJSON_STRICT = 1 << 0,        /* from JSON: an unknown key is an error, else ignored */
	PBJSON_EMIT_DEFAULTS = 1 << 1, /* to JSON: fields at their default too */
};

/* New reference. */
json_t *pbjson_from_message(const ProtobufCMessage *message, unsigned flags);

/* The caller frees with protobuf_c_message_free_unpacked(m, NULL). -EINVAL names the path of
 * the offending key, as in "process.args[1]: expected a string". */
_must_check_ int pbjson_to_message(const ProtobufCMessageDescriptor *descriptor, const json_t *json,
				   unsigned flags, ProtobufCMessage **ret_message,
				   struct error *err);
