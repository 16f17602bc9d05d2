/* Protobuf messages to JSON and back by their descriptors.
 *
 * To JSON: proto3's mapping with the field names as the .proto has them (bytes as base64,
 * enums by name, 64-bit integers as numbers, maps as objects); default values are left out
 * unless asked for, absent messages always. What JSON or jansson cannot hold is a string:
 * integers over INT64_MAX in decimal, "NaN" and "Infinity". Bytes of a string that are not
 * UTF-8 become U+FFFD.
 * From JSON: a key names the field whose name is equal when case and underscores are ignored,
 * so an OCI config.json ("noNewPrivileges") is read into grpc.Process (NoNewPrivileges) by the
 * same code. null is absent; enums may be numbers, integers decimal strings. Depth is bounded
 * at 64.
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

/* Parses text as one JSON object or array; the caller drops it with json_decref(). Duplicate
 * keys are refused. An integer beyond 64 bits with sign, which jansson refuses (an rlimit of
 * 2^64-1 in a config.json), is read as a decimal string. -EINVAL names the line. */
_must_check_ int pbjson_parse(const char *text, size_t len, json_t **ret_json, struct error *err);

/* New reference. */
json_t *pbjson_from_message(const ProtobufCMessage *message, unsigned flags);

/* The caller frees with protobuf_c_message_free_unpacked(m, NULL). -EINVAL names the path of
 * the offending key, as in "process.args[1]: expected a string". */
_must_check_ int pbjson_to_message(const ProtobufCMessageDescriptor *descriptor, const json_t *json,
				   unsigned flags, ProtobufCMessage **ret_message,
				   struct error *err);
