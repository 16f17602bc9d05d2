#include <ctype.h>
#include <math.h>
#include <stdint.h>

#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "proto/base64.h"
#include "proto/pbjson.h"
#include "proto/pbjson_field.h"

/* Where the reader is: a chain on the stack, spelled out only for an error. */
struct place {
	const struct place *up; /* NULL at the top */
	const char *key;        /* NULL: element `index` of `up` */
	size_t index;
	unsigned depth; /* of messages */
};

struct reader {
	unsigned flags;
	struct error *err;
};

static int read_message(const struct reader *reader, const struct place *place, const json_t *json,
			const ProtobufCMessageDescriptor *descriptor, ProtobufCMessage **ret);

static void place_spell(const struct place *place, struct strbuf *b)
{
	if (!place->up)
		return;
	place_spell(place->up, b);
	if (place->key)
		strbuf_addf(b, "%s%s", b->len > 0 ? "." : "", place->key);
	else
		strbuf_addf(b, "[%zu]", place->index);
}

_printf_(3, 4) static int fail(const struct reader *reader, const struct place *place,
			       const char *fmt, ...)
{
	_cleanup_(strbuf_done) struct strbuf where = {};
	_cleanup_free_ char *what = NULL;
	va_list args;

	place_spell(place, &where);
	va_start(args, fmt);
	what = xvasprintf(fmt, args);
	va_end(args);
	return error_set(reader->err, EINVAL, "%s%s%s", strbuf_text(&where),
			 where.len > 0 ? ": " : "", what);
}

/* A JSON number or a decimal string as a wide integer. */
static bool json_to_integer(const json_t *json, __int128 *ret)
{
	if (json_is_integer(json)) {
		*ret = json_integer_value(json);
		return true;
	}
	if (json_is_real(json)) {
		double real = json_real_value(json);
		if (!(fabs(real) <= 0x1p53) || real != trunc(real))
			return false;
		*ret = (int64_t)real;
		return true;
	}
	const char *text = json_string_value(json);
	if (!text)
		return false;
	uint64_t magnitude;
	bool negative = *text == '-';
	if (str_to_u64(text + negative, 0, UINT64_MAX, &magnitude) < 0)
		return false;
	*ret = negative ? -(__int128)magnitude : (__int128)magnitude;
	return true;
}

static int read_integer(const struct reader *reader, const struct place *place, const json_t *json,
			bool is_signed, size_t size, void *slot)
{
	__int128 one = 1;
	__int128 min = is_signed ? -(one << (8 * size - 1)) : 0;
	__int128 max = (one << (8 * size - is_signed)) - 1;
	__int128 value;

	if (!json_to_integer(json, &value) || value < min || value > max)
		return fail(reader, place, "expected a whole number that fits %s%zu",
			    is_signed ? "int" : "uint", 8 * size);
	if (size == 4)
		*(uint32_t *)slot = (uint32_t)value;
	else
		*(uint64_t *)slot = (uint64_t)value;
	return 0;
}

static int read_real(const struct reader *reader, const struct place *place, const json_t *json,
		     double *ret)
{
	if (json_is_number(json))
		*ret = json_number_value(json);
	else if (str_equal(json_string_value(json), "NaN"))
		*ret = NAN;
	else if (str_equal(json_string_value(json), "Infinity"))
		*ret = INFINITY;
	else if (str_equal(json_string_value(json), "-Infinity"))
		*ret = -INFINITY;
	else
		return fail(reader, place, "expected a number");
	return 0;
}

static int read_bool(const struct reader *reader, const struct place *place, const json_t *json,
		     protobuf_c_boolean *ret)
{
	if (!json_is_boolean(json))
		return fail(reader, place, "expected true or false");
	*ret = json_is_true(json);
	return 0;
}

static int read_enum(const struct reader *reader, const struct place *place, const json_t *json,
		     const ProtobufCEnumDescriptor *descriptor, int *ret)
{
	if (!json_is_string(json))
		return read_integer(reader, place, json, true, sizeof(*ret), ret);

	const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value_by_name(
		descriptor, json_string_value(json));
	if (!value) {
		_cleanup_(strbuf_done) struct strbuf names = {};
		for (unsigned i = 0; i < descriptor->n_values; i++)
			strbuf_addf(&names, "%s%s", i > 0 ? ", " : "", descriptor->values[i].name);
		return fail(reader, place, "\"%s\" is none of %s", json_string_value(json),
			    strbuf_text(&names));
	}
	*ret = value->value;
	return 0;
}

static int read_string(const struct reader *reader, const struct place *place, const json_t *json,
		       char **ret)
{
	const char *text = json_string_value(json);
	if (!text || strlen(text) != json_string_length(json))
		return fail(reader, place, "expected a string");
	*ret = xstrdup(text);
	return 0;
}

static int read_bytes(const struct reader *reader, const struct place *place, const json_t *json,
		      ProtobufCBinaryData *ret)
{
	if (!json_is_string(json) ||
	    base64_decode(json_string_value(json), json_string_length(json), &ret->data,
			  &ret->len) < 0)
		return fail(reader, place, "expected base64 text");
	return 0;
}

/* slot is untouched on failure, so what it is part of can be freed at any time. */
static int read_value(const struct reader *reader, const struct place *place, const json_t *json,
		      const ProtobufCFieldDescriptor *field, void *slot)
{
	double real = 0;

	switch (field->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		return read_integer(reader, place, json, true, 4, slot);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		return read_integer(reader, place, json, false, 4, slot);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		return read_integer(reader, place, json, true, 8, slot);
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return read_integer(reader, place, json, false, 8, slot);
	case PROTOBUF_C_TYPE_FLOAT:
		if (read_real(reader, place, json, &real) < 0)
			return -EINVAL;
		*(float *)slot = (float)real;
		return 0;
	case PROTOBUF_C_TYPE_DOUBLE:
		return read_real(reader, place, json, slot);
	case PROTOBUF_C_TYPE_BOOL:
		return read_bool(reader, place, json, slot);
	case PROTOBUF_C_TYPE_ENUM:
		return read_enum(reader, place, json, field->descriptor, slot);
	case PROTOBUF_C_TYPE_STRING:
		return read_string(reader, place, json, slot);
	case PROTOBUF_C_TYPE_BYTES:
		return read_bytes(reader, place, json, slot);
	case PROTOBUF_C_TYPE_MESSAGE:
		return read_message(reader, place, json, field->descriptor, slot);
	}
	abort();
}

static int read_list(const struct reader *reader, const struct place *place, const json_t *json,
		     ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	if (!json_is_array(json))
		return fail(reader, place, "expected an array");

	size_t *count = slot_of(message, field->quantifier_offset);
	size_t total = json_array_size(json);
	size_t size = pbjson_type_size(field->type);
	if (total == 0)
		return 0;
	char *items = xcalloc(total, size);
	*(char **)slot_of(message, field->offset) = items;
	/* The count follows each element: a failure leaves a message that can be freed. */
	for (size_t i = 0; i < total; i++) {
		struct place here = { .up = place, .index = i, .depth = place->depth };
		int r = read_value(reader, &here, json_array_get(json, i), field, items + i * size);
		if (r < 0)
			return r;
		++*count;
	}
	return 0;
}

static int read_map_entry(const struct reader *reader, const struct place *place, const char *key,
			  const json_t *value, ProtobufCMessage *entry)
{
	const ProtobufCFieldDescriptor *fields = entry->descriptor->fields;
	json_t *name = json_string(key);
	struct place here = { .up = place, .key = key, .depth = place->depth };

	int r = read_value(reader, &here, name, &fields[0], slot_of(entry, fields[0].offset));
	json_decref(name);
	if (r < 0)
		return r;
	return read_value(reader, &here, value, &fields[1], slot_of(entry, fields[1].offset));
}

static int read_map(const struct reader *reader, const struct place *place, const json_t *json,
		    ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
		    const ProtobufCMessageDescriptor *descriptor)
{
	size_t *count = slot_of(message, field->quantifier_offset);
	const char *key;
	json_t *value;

	if (!json_is_object(json))
		return fail(reader, place, "expected an object");
	if (json_object_size(json) == 0)
		return 0;
	ProtobufCMessage **items = xnew_array(ProtobufCMessage *, json_object_size(json));
	*(ProtobufCMessage ***)slot_of(message, field->offset) = items;
	json_object_foreach ((json_t *)(uintptr_t)json, key, value) {
		ProtobufCMessage *entry = xcalloc(1, descriptor->sizeof_message);
		protobuf_c_message_init(descriptor, entry);
		items[(*count)++] = entry;
		int r = read_map_entry(reader, place, key, value, entry);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_field(const struct reader *reader, const struct place *place, const json_t *json,
		      ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	void *quantifier = slot_of(message, field->quantifier_offset);
	bool oneof = field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;

	if (field->label == PROTOBUF_C_LABEL_REPEATED) {
		const ProtobufCMessageDescriptor *entry = pbjson_map_entry(field);
		return entry ? read_map(reader, place, json, message, field, entry)
			     : read_list(reader, place, json, message, field);
	}
	if (oneof && *(uint32_t *)quantifier != 0)
		return fail(reader, place, "another field of the same choice is given already");

	int r = read_value(reader, place, json, field, slot_of(message, field->offset));
	if (r < 0)
		return r;
	if (oneof)
		*(uint32_t *)quantifier = field->id;
	else if (field->label == PROTOBUF_C_LABEL_OPTIONAL && !field_is_pointer(field))
		*(protobuf_c_boolean *)quantifier = true;
	return 0;
}

/* Equal when case and underscores are ignored. */
static bool names_match(const char *a, const char *b)
{
	for (;; a++, b++) {
		while (*a == '_')
			a++;
		while (*b == '_')
			b++;
		if (tolower((unsigned char)*a) != tolower((unsigned char)*b))
			return false;
		if (!*a)
			return true;
	}
}

static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *descriptor,
						  const char *key)
{
	for (unsigned i = 0; i < descriptor->n_fields; i++)
		if (names_match(descriptor->fields[i].name, key))
			return &descriptor->fields[i];
	return NULL;
}

static int read_fields(const struct reader *reader, const struct place *place, const json_t *json,
		       ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *descriptor = message->descriptor;
	_cleanup_free_ bool *seen = xnew_array(bool, descriptor->n_fields + 1);
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)json, key, value) {
		struct place here = { .up = place, .key = key, .depth = place->depth };
		const ProtobufCFieldDescriptor *field = find_field(descriptor, key);
		if (!field && (reader->flags & PBJSON_STRICT))
			return fail(reader, &here, "%s has no such field", descriptor->name);
		if (!field || json_is_null(value))
			continue;
		if (seen[field - descriptor->fields])
			return fail(reader, &here, "the field %s is given twice", field->name);
		seen[field - descriptor->fields] = true;
		int r = read_field(reader, &here, value, message, field);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_message(const struct reader *reader, const struct place *place, const json_t *json,
			const ProtobufCMessageDescriptor *descriptor, ProtobufCMessage **ret)
{
	struct place inside = *place;

	if (!json_is_object(json))
		return fail(reader, place, "expected an object");
	if (++inside.depth > PBJSON_DEPTH_MAX)
		return fail(reader, place, "nested deeper than %d", PBJSON_DEPTH_MAX);

	ProtobufCMessage *message = xcalloc(1, descriptor->sizeof_message);
	protobuf_c_message_init(descriptor, message);
	int r = read_fields(reader, &inside, json, message);
	if (r < 0) {
		protobuf_c_message_free_unpacked(message, NULL);
		return r;
	}
	*ret = message;
	return 0;
}

int pbjson_to_message(const ProtobufCMessageDescriptor *descriptor, const json_t *json,
		      unsigned flags, ProtobufCMessage **ret_message, struct error *err)
{
	struct reader reader = { .flags = flags, .err = err };
	struct place top = {};

	return read_message(&reader, &top, json, descriptor, ret_message);
}

/* ---------------------------------------------------------------- text */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* True for the digits of an integer that jansson has no room for. */
static bool is_wide_integer(const char *text, size_t len)
{
	char number[24];
	size_t start = len > 0 && text[0] == '-';

	for (size_t i = start; i < len; i++)
		if (!is_digit(text[i]))
			return false; /* a fraction or an exponent */
	if (len >= sizeof(number))
		return true;
	memcpy(number, text, len);
	number[len] = '\0';
	errno = 0;
	(void)strtoll(number, NULL, 10);
	return errno == ERANGE;
}

static size_t number_length(const char *text, size_t len)
{
	size_t n = 0;
	while (n < len && (is_digit(text[n]) || (text[n] && strchr("+-.eE", text[n]))))
		n++;
	return n;
}

/* Bytes of the string literal that starts at text. */
static size_t string_length(const char *text, size_t len)
{
	for (size_t n = 1; n < len; n++) {
		if (text[n] == '\\')
			n++;
		else if (text[n] == '"')
			return n + 1;
	}
	return len;
}

/* Puts integers that are too wide into quotes; everything else stays as it is. */
static void quote_wide_integers(const char *text, size_t len, struct strbuf *out)
{
	while (len > 0) {
		bool number = *text == '-' || is_digit(*text);
		size_t n = *text == '"' ? string_length(text, len)
			   : number     ? number_length(text, len)
					: 1;
		bool wide = number && is_wide_integer(text, n);
		if (wide)
			strbuf_adds(out, "\"");
		strbuf_add(out, text, n);
		if (wide)
			strbuf_adds(out, "\"");
		text += n;
		len -= n;
	}
}

int pbjson_parse(const char *text, size_t len, json_t **ret_json, struct error *err)
{
	_cleanup_(strbuf_done) struct strbuf quoted = {};
	json_error_t why;

	quote_wide_integers(text, len, &quoted);
	json_t *json = json_loadb(strbuf_text(&quoted), quoted.len, JSON_REJECT_DUPLICATES, &why);
	if (!json)
		return error_set(err, EINVAL, "no JSON: line %d: %s", why.line, why.text);
	*ret_json = json;
	return 0;
}
