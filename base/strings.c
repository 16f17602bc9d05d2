#include "base/strings.h"

#define ID_MAX 128

const char *str_after(const char *s, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(s, prefix, len) == 0 ? s + len : NULL;
}

int str_to_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret_value)
{
	uint64_t value = 0;
	bool overflow = false;

	if (str_empty(s))
		return -EINVAL;
	/* A wrong character anywhere makes it no number, whatever its size. */
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return -EINVAL;
		if (__builtin_mul_overflow(value, UINT64_C(10), &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*s - '0'), &value))
			overflow = true;
	}
	if (overflow || value < min || value > max)
		return -ERANGE;
	*ret_value = value;
	return 0;
}

static bool is_alphanumeric(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool id_is_valid(const char *id)
{
	if (!id || !is_alphanumeric(id[0]))
		return false;

	size_t len = 0;

	for (; id[len]; len++) {
		char c = id[len];

		if (len >= ID_MAX)
			return false;
		if (!is_alphanumeric(c) && c != '.' && c != '_' && c != '-')
			return false;
	}
	return true;
}

const char *string_table_name(const char *const *names, size_t count, int value)
{
	if (value < 0 || (size_t)value >= count || !names[value])
		return "invalid";
	return names[value];
}

int string_table_value(const char *const *names, size_t count, const char *name)
{
	for (size_t i = 0; name && i < count; i++) {
		if (names[i] && strcmp(names[i], name) == 0)
			return (int)i;
	}
	return -EINVAL;
}
