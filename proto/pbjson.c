#include "proto/pbjson.h"

#include <math.h>
#include <stdint.h>

#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "proto/base64.h"
#include "proto/pbjson_field.h"

/* A map is a repeated message of exactly a key and a value, named FieldEntry by protoc. */
const ProtobufCMessageDescriptor *pbjson_map_entry(const ProtobufCFieldDescriptor *field)
{
	if (field->label != PROTOBUF_C_LABEL_REPEATED || field->type != PROTOBUF_C_TYPE_MESSAGE)
		return NULL;
	const ProtobufCMessageDescriptor *entry = field->descriptor;
	size_t len = strlen(entry->short_name);
	if (len < 5 || !str_equal(entry->short_name + len - 5, "Entry") || entry->n_fields != 2 ||
	    !str_equal(entry->fields[0].name, "key") || !str_equal(entry->fields[1].name, "value"))
		return NULL;
	return entry;
}

size_t pbjson_type_size(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_ENUM:
	case PROTOBUF_C_TYPE_FLOAT:
		return 4;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	}
	abort();
}

static json_t *message_to_json(const ProtobufCMessage *message, unsigned flags, unsigned depth);

static bool value_is_default(const ProtobufCFieldDescriptor *field, const void *slot)
{
	static const char zero[8];

	if (field->type == PROTOBUF_C_TYPE_STRING)
		return str_empty(*(char *const *)slot);
	if (field->type == PROTOBUF_C_TYPE_BYTES)
		return ((const ProtobufCBinaryData *)slot)->len == 0;
	return memcmp(slot, zero, pbjson_type_size(field->type)) == 0;
}

static bool field_is_shown(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
			   unsigned flags)
{
	const void *slot = slot_const(message, field->offset);
	const void *quantifier = slot_const(message, field->quantifier_offset);

	if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		return *(const uint32_t *)quantifier == field->id;
	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		return *(const size_t *)quantifier > 0 || (flags & PBJSON_EMIT_DEFAULTS);
	if (field->type == PROTOBUF_C_TYPE_MESSAGE)
		return *(void *const *)slot;
	if (field->label == PROTOBUF_C_LABEL_OPTIONAL)
		return field_is_pointer(field) ? *(void *const *)slot != NULL
					       : *(const protobuf_c_boolean *)quantifier;
	return (flags & PBJSON_EMIT_DEFAULTS) || !value_is_default(field, slot);
}

static json_t *string_to_json(const char *text)
{
	json_t *json = json_string(text);
	if (json)
		return json;

	_cleanup_(strbuf_done) struct strbuf b = {};
	for (; *text; text++) {
		if ((unsigned char)*text < 0x80)
			strbuf_add(&b, text, 1);
		else
			strbuf_adds(&b, "\xef\xbf\xbd");
	}
	return json_string(strbuf_text(&b));
}

static json_t *bytes_to_json(const ProtobufCBinaryData *bytes)
{
	_cleanup_free_ char *text = base64_encode(bytes->data, bytes->len);
	return json_string(text);
}

static json_t *enum_to_json(const ProtobufCEnumDescriptor *descriptor, int value)
{
	const ProtobufCEnumValue *named = protobuf_c_enum_descriptor_get_value(descriptor, value);
	return named ? json_string(named->name) : json_integer(value);
}

static json_t *real_to_json(double value)
{
	if (isnan(value))
		return json_string("NaN");
	if (isinf(value))
		return json_string(value < 0 ? "-Infinity" : "Infinity");
	return json_real(value);
}

static json_t *u64_to_json(uint64_t value)
{
	return value > INT64_MAX ? json_sprintf("%llu", (unsigned long long)value)
				 : json_integer((json_int_t)value);
}

static json_t *value_to_json(const ProtobufCFieldDescriptor *field, const void *slot,
			     unsigned flags, unsigned depth)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		return json_integer(*(const int32_t *)slot);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		return json_integer(*(const uint32_t *)slot);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		return json_integer(*(const int64_t *)slot);
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return u64_to_json(*(const uint64_t *)slot);
	case PROTOBUF_C_TYPE_FLOAT:
		return real_to_json((double)*(const float *)slot);
	case PROTOBUF_C_TYPE_DOUBLE:
		return real_to_json(*(const double *)slot);
	case PROTOBUF_C_TYPE_BOOL:
		return json_boolean(*(const protobuf_c_boolean *)slot);
	case PROTOBUF_C_TYPE_ENUM:
		return enum_to_json(field->descriptor, *(const int *)slot);
	case PROTOBUF_C_TYPE_STRING:
		return string_to_json(*(char *const *)slot ? *(char *const *)slot : "");
	case PROTOBUF_C_TYPE_BYTES:
		return bytes_to_json(slot);
	case PROTOBUF_C_TYPE_MESSAGE:
		return message_to_json(*(ProtobufCMessage *const *)slot, flags, depth + 1);
	}
	abort();
}

static void map_add_json(json_t *object, const ProtobufCMessage *entry, unsigned flags,
			 unsigned depth)
{
	const ProtobufCFieldDescriptor *key = &entry->descriptor->fields[0];
	const ProtobufCFieldDescriptor *value = &entry->descriptor->fields[1];
	const void *slot = slot_const(entry, value->offset);

	json_t *name = value_to_json(key, slot_const(entry, key->offset), flags, depth);
	_cleanup_free_ char *text = json_is_string(name) ? xstrdup(json_string_value(name))
							 : json_dumps(name, JSON_ENCODE_ANY);
	json_decref(name);
	if (value->type == PROTOBUF_C_TYPE_MESSAGE && !*(void *const *)slot)
		json_object_set_new(object, text, json_object());
	else
		json_object_set_new(object, text, value_to_json(value, slot, flags, depth));
}

static json_t *repeated_to_json(const ProtobufCMessage *message,
				const ProtobufCFieldDescriptor *field, unsigned flags,
				unsigned depth)
{
	size_t count = *(const size_t *)slot_const(message, field->quantifier_offset);
	const char *items = *(char *const *)slot_const(message, field->offset);
	size_t size = pbjson_type_size(field->type);

	if (pbjson_map_entry(field)) {
		json_t *object = json_object();
		for (size_t i = 0; i < count; i++)
			map_add_json(object, ((ProtobufCMessage *const *)(const void *)items)[i],
				     flags, depth);
		return object;
	}
	json_t *array = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(array, value_to_json(field, items + i * size, flags, depth));
	return array;
}

static json_t *message_to_json(const ProtobufCMessage *message, unsigned flags, unsigned depth)
{
	json_t *object = json_object();

	if (depth > PBJSON_DEPTH_MAX)
		return object;
	for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
		if (!field_is_shown(message, field, flags))
			continue;
		json_t *value = field->label == PROTOBUF_C_LABEL_REPEATED
					? repeated_to_json(message, field, flags, depth)
					: value_to_json(field, slot_const(message, field->offset),
							flags, depth);
		json_object_set_new(object, field->name, value);
	}
	return object;
}

json_t *pbjson_from_message(const ProtobufCMessage *message, unsigned flags)
{
	return message_to_json(message, flags, 0);
}
