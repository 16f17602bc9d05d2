/* How protobuf-c lays out a message's fields: for proto/pbjson*.c only. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

#define PBJSON_DEPTH_MAX 64

/* The entry's descriptor where the field is a map, else NULL. */
const ProtobufCMessageDescriptor *pbjson_map_entry(const ProtobufCFieldDescriptor *field);

/* Bytes of one value of the type in a message or an array. */
size_t pbjson_type_size(ProtobufCType type);

static inline const void *slot_const(const ProtobufCMessage *message, unsigned offset)
{
	return (const char *)message + offset;
}

static inline void *slot_of(ProtobufCMessage *message, unsigned offset)
{
	return (char *)message + offset;
}

static inline bool field_is_pointer(const ProtobufCFieldDescriptor *field)
{
	return field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE;
}
