/* JSON objects read by a table of keys: what may stand there, of which type, in which range,
 * with which default and what it means. Unknown keys and wrong types are refused by name, and
 * the same table prints the documentation, so the two cannot differ.
 *
 *   static const struct config_key keys[] = {
 *     CONFIG_STRING(struct factory_config, socket, "socket", "/run/kiln/factory.sock", "…"),
 *     CONFIG_UINT(struct factory_config, vcpus, "vcpus", 1, 1, 64, "…"),
 *     CONFIG_UINT(struct factory_config, max, "max", 1, 1, 64, "…", .reloadable = true),
 *   };
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

enum config_type { CONFIG_TYPE_STRING, CONFIG_TYPE_UINT, CONFIG_TYPE_BOOL, CONFIG_TYPE_ENUM };

struct config_key {
	const char *name;
	enum config_type type;
	size_t offset;              /* of the field: char * (owned), uint64_t, bool, int */
	const char *default_string; /* also the default's name for an enum; NULL: none */
	uint64_t default_uint;      /* 0 or 1 for a bool */
	uint64_t min, max;
	int (*from_string)(const char *); /* enum only */
	bool required;
	bool reloadable;  /* a running program takes a new value */
	const char *help; /* one line */
};

#define CONFIG_STRING(type_, field, name_, default_, help_, ...)                                   \
	{                                                                                          \
		.name = (name_), .type = CONFIG_TYPE_STRING, .offset = offsetof(type_, field),     \
		.default_string = (default_), .help = (help_), __VA_ARGS__                         \
	}
#define CONFIG_STRING_REQUIRED(type_, field, name_, help_, ...)                                    \
	{                                                                                          \
		.name = (name_), .type = CONFIG_TYPE_STRING, .offset = offsetof(type_, field),     \
		.required = true, .help = (help_), __VA_ARGS__                                     \
	}
#define CONFIG_UINT(type_, field, name_, default_, min_, max_, help_, ...)                         \
	{                                                                                          \
		.name = (name_), .type = CONFIG_TYPE_UINT, .offset = offsetof(type_, field),       \
		.default_uint = (default_), .min = (min_), .max = (max_), .help = (help_),         \
		__VA_ARGS__                                                                        \
	}
#define CONFIG_BOOL(type_, field, name_, default_, help_, ...)                                     \
	{                                                                                          \
		.name = (name_), .type = CONFIG_TYPE_BOOL, .offset = offsetof(type_, field),       \
		.default_uint = (default_), .help = (help_), __VA_ARGS__                           \
	}
#define CONFIG_ENUM(type_, field, name_, default_, from_string_, help_, ...)                       \
	{                                                                                          \
		.name = (name_), .type = CONFIG_TYPE_ENUM, .offset = offsetof(type_, field),       \
		.default_string = (default_), .from_string = (from_string_), .help = (help_),      \
		__VA_ARGS__                                                                        \
	}

/* Sets every field to its default (strings are owned copies). */
void config_set_defaults(const struct config_key *keys, size_t count, void *target);

/* Reads object into target, which holds defaults. `where` (a path, "pool in x.json") names it
 * in errors. Errors: -EINVAL, and target stays valid for config_done(). */
_must_check_ int config_read(const struct config_key *keys, size_t count, const json_t *object,
			     const char *where, void *target, struct error *err);

/* The same of a file that another version of Kiln may have written (base/format.h): a key that is
 * not in the table is ignored. */
_must_check_ int config_read_known(const struct config_key *keys, size_t count,
				   const json_t *object, const char *where, void *target,
				   struct error *err);

/* Parses a file of at most 1 MiB as one JSON object; the caller drops it with json_decref().
 * Duplicate keys are refused. */
_must_check_ int config_load_file(const char *path, json_t **ret_object, struct error *err);

/* Whether two targets have the same value there. */
bool config_equal(const struct config_key *key, const void *a, const void *b);
/* Strings are copied; what the fields of to held is forgotten. */
void config_copy(const struct config_key *keys, size_t count, const void *from, void *to);
void config_swap(const struct config_key *key, void *a, void *b);

/* Frees the strings. */
void config_done(const struct config_key *keys, size_t count, void *target);

/* The keys as a Markdown table: docs/CONFIGURATION.md and the manual pages have what it prints. */
void config_print(const struct config_key *keys, size_t count, FILE *out);
