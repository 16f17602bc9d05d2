#include "base/config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

#define CONFIG_FILE_MAX (1024 * 1024)

static const char *const config_type_names[] = {
	[CONFIG_TYPE_STRING] = "a string",
	[CONFIG_TYPE_UINT] = "a whole number",
	[CONFIG_TYPE_BOOL] = "true or false",
	[CONFIG_TYPE_ENUM] = "a name (a string)",
};

static void *field_of(const struct config_key *key, void *target)
{
	return (char *)target + key->offset;
}

static void set_default(const struct config_key *key, void *field)
{
	switch (key->type) {
	case CONFIG_TYPE_STRING:
		*(char **)field = xstrdup(key->default_string);
		break;
	case CONFIG_TYPE_UINT:
		*(uint64_t *)field = key->default_uint;
		break;
	case CONFIG_TYPE_BOOL:
		*(bool *)field = key->default_uint != 0;
		break;
	case CONFIG_TYPE_ENUM:
		*(int *)field = key->from_string(key->default_string);
		break;
	}
}

void config_set_defaults(const struct config_key *keys, size_t count, void *target)
{
	for (size_t i = 0; i < count; i++)
		set_default(&keys[i], field_of(&keys[i], target));
}

static int wrong_type(const struct config_key *key, const char *where, struct error *err)
{
	const char *expected = string_table_name(config_type_names, ARRAY_SIZE(config_type_names),
						 (int)key->type);

	return error_set(err, EINVAL, "%s must be %s, in %s", key->name, expected, where);
}

static int read_uint(const struct config_key *key, const json_t *value, const char *where,
		     uint64_t *field, struct error *err)
{
	if (!json_is_integer(value))
		return wrong_type(key, where, err);

	json_int_t number = json_integer_value(value);

	if (number < 0 || (uint64_t)number < key->min || (uint64_t)number > key->max)
		return error_set(err, EINVAL,
				 "%s is %" JSON_INTEGER_FORMAT ": must be %" PRIu64 " to %" PRIu64
				 ", in %s",
				 key->name, number, key->min, key->max, where);
	*field = (uint64_t)number;
	return 0;
}

static int read_enum(const struct config_key *key, const json_t *value, const char *where,
		     int *field, struct error *err)
{
	if (!json_is_string(value))
		return wrong_type(key, where, err);

	int number = key->from_string(json_string_value(value));

	if (number < 0)
		return error_set(err, EINVAL, "%s is \"%s\", which is none of its values, in %s",
				 key->name, json_string_value(value), where);
	*field = number;
	return 0;
}

static int read_value(const struct config_key *key, const json_t *value, const char *where,
		      void *field, struct error *err)
{
	switch (key->type) {
	case CONFIG_TYPE_STRING:
		if (!json_is_string(value))
			return wrong_type(key, where, err);
		replace_string(field, json_string_value(value));
		return 0;
	case CONFIG_TYPE_UINT:
		return read_uint(key, value, where, field, err);
	case CONFIG_TYPE_BOOL:
		if (!json_is_boolean(value))
			return wrong_type(key, where, err);
		*(bool *)field = json_is_true(value);
		return 0;
	case CONFIG_TYPE_ENUM:
		return read_enum(key, value, where, field, err);
	}
	return error_set(err, EINVAL, "%s has no known type", key->name);
}

static const struct config_key *find_key(const struct config_key *keys, size_t count,
					 const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (str_equal(keys[i].name, name))
			return &keys[i];
	}
	return NULL;
}

static int read_keys(const struct config_key *keys, size_t count, const json_t *object,
		     const char *where, bool known_only, void *target, struct error *err)
{
	const char *name;
	json_t *value;

	if (!json_is_object(object))
		return error_set(err, EINVAL, "%s must hold a JSON object", where);

	json_object_foreach ((json_t *)object, name, value) {
		const struct config_key *key = find_key(keys, count, name);

		if (!key && known_only)
			continue;
		if (!key)
			return error_set(err, EINVAL, "unknown key \"%s\" in %s", name, where);

		int r = read_value(key, value, where, field_of(key, target), err);

		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < count; i++) {
		if (keys[i].required && !json_object_get(object, keys[i].name))
			return error_set(err, EINVAL, "%s is missing in %s", keys[i].name, where);
	}
	return 0;
}

int config_read(const struct config_key *keys, size_t count, const json_t *object,
		const char *where, void *target, struct error *err)
{
	return read_keys(keys, count, object, where, false, target, err);
}

int config_read_known(const struct config_key *keys, size_t count, const json_t *object,
		      const char *where, void *target, struct error *err)
{
	return read_keys(keys, count, object, where, true, target, err);
}

int config_load_file(const char *path, json_t **ret_object, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	json_error_t where;
	size_t len;
	int r = file_read(path, CONFIG_FILE_MAX, &text, &len, err);

	if (r < 0)
		return r;

	json_t *object = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);

	if (!object)
		return error_set(err, EINVAL, "%s is not JSON: line %d, column %d: %s", path,
				 where.line, where.column, where.text);
	if (!json_is_object(object)) {
		json_decref(object);
		return error_set(err, EINVAL, "%s must hold a JSON object", path);
	}
	*ret_object = object;
	return 0;
}

static size_t field_size(enum config_type type)
{
	switch (type) {
	case CONFIG_TYPE_STRING:
		return sizeof(char *);
	case CONFIG_TYPE_UINT:
		return sizeof(uint64_t);
	case CONFIG_TYPE_BOOL:
		return sizeof(bool);
	case CONFIG_TYPE_ENUM:
		return sizeof(int);
	}
	return 0;
}

bool config_equal(const struct config_key *key, const void *a, const void *b)
{
	const void *left = (const char *)a + key->offset;
	const void *right = (const char *)b + key->offset;

	if (key->type == CONFIG_TYPE_STRING)
		return str_equal(*(char *const *)left, *(char *const *)right);
	return memcmp(left, right, field_size(key->type)) == 0;
}

void config_copy(const struct config_key *keys, size_t count, const void *from, void *to)
{
	for (size_t i = 0; i < count; i++) {
		const void *source = (const char *)from + keys[i].offset;

		if (keys[i].type == CONFIG_TYPE_STRING)
			*(char **)field_of(&keys[i], to) = xstrdup(*(char *const *)source);
		else
			memcpy(field_of(&keys[i], to), source, field_size(keys[i].type));
	}
}

void config_swap(const struct config_key *key, void *a, void *b)
{
	size_t size = field_size(key->type);
	char kept[sizeof(uint64_t)];

	memcpy(kept, field_of(key, a), size);
	memcpy(field_of(key, a), field_of(key, b), size);
	memcpy(field_of(key, b), kept, size);
}

void config_done(const struct config_key *keys, size_t count, void *target)
{
	for (size_t i = 0; i < count; i++) {
		if (keys[i].type == CONFIG_TYPE_STRING)
			replace_string(field_of(&keys[i], target), NULL);
	}
}

static void print_default(const struct config_key *key, FILE *out)
{
	if (key->required)
		fputs("required", out);
	else if (key->type == CONFIG_TYPE_UINT)
		fprintf(out, "`%" PRIu64 "`", key->default_uint);
	else if (key->type == CONFIG_TYPE_BOOL)
		fprintf(out, "`%s`", key->default_uint ? "true" : "false");
	else if (key->default_string)
		fprintf(out, "`\"%s\"`", key->default_string);
	else
		fputs("none", out);
}

void config_print(const struct config_key *keys, size_t count, FILE *out)
{
	fputs("| Key | Type | Default | Meaning |\n|---|---|---|---|\n", out);
	for (size_t i = 0; i < count; i++) {
		const struct config_key *key = &keys[i];

		fprintf(out, "| `%s` | %s", key->name,
			string_table_name(config_type_names, ARRAY_SIZE(config_type_names),
					  (int)key->type));
		if (key->type == CONFIG_TYPE_UINT)
			fprintf(out, ", %" PRIu64 " to %" PRIu64, key->min, key->max);
		fputs(" | ", out);
		print_default(key, out);
		fprintf(out, " | %s%s |\n", key->help,
			key->reloadable ? "; SIGHUP changes it" : "");
	}
}
