/* Small questions about strings, and enum <-> name tables.
 *
 * Every enum that appears in a log, in JSON, in metrics or on a wire has one table:
 *
 *   static const char *const vm_state_names[] = { [VM_SPAWNED] = "spawned", ... };
 *   DEFINE_STRING_TABLE(vm_state, enum vm_state, vm_state_names)
 *
 * gives  const char *vm_state_to_string(enum vm_state)   ("invalid" outside the table)
 * and    int vm_state_from_string(const char *)          (-EINVAL for an unknown name).
 */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"

static inline bool str_equal(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static inline bool str_empty(const char *s)
{
	return !s || !*s;
}

/* The rest of s after prefix, or NULL where s does not start with it. */
const char *str_after(const char *s, const char *prefix);

/* The whole of s as a decimal number in [min, max]; 0, -EINVAL or -ERANGE. */
_must_check_ int str_to_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret_value);

/* True where id may name a sandbox, container, exec or template: 1 to 128 of
 * [A-Za-z0-9._-], first one alphanumeric. Such a name is safe as one path component. */
bool id_is_valid(const char *id);

/* The character of foreign text at `at` (not at its end): how many bytes it has, and whether it may
 * be shown in a log or on a terminal. Control characters may not (U+0000 to U+001F and U+007F to
 * U+009F: they begin terminal sequences), nor may bytes that are no UTF-8. */
size_t str_character(const char *at, bool *ret_shown);

/* What may not be shown becomes '?', but for the control characters in kept. */
void str_neutralise(char *text, const char *kept);

const char *string_table_name(const char *const *names, size_t count, int value);
int string_table_value(const char *const *names, size_t count, const char *name);

#define DECLARE_STRING_TABLE(name, type)                                                           \
	const char *name##_to_string(type value);                                                  \
	int name##_from_string(const char *text)

#define DEFINE_STRING_TABLE(name, type, names)                                                     \
	const char *name##_to_string(type value)                                                   \
	{                                                                                          \
		return string_table_name(names, ARRAY_SIZE(names), (int)value);                    \
	}                                                                                          \
	int name##_from_string(const char *text)                                                   \
	{                                                                                          \
		return string_table_value(names, ARRAY_SIZE(names), text);                         \
	}
