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

/* Bytes of the well-formed UTF-8 character at text, 0 where there is none. */
static size_t utf8_length(const unsigned char *text)
{
	uint32_t value;
	size_t len;

	if (text[0] < 0x80)
		return 1;
	if (text[0] >= 0xc2 && text[0] <= 0xdf) {
		len = 2;
		value = text[0] & 0x1f;
	} else if ((text[0] & 0xf0) == 0xe0) {
		len = 3;
		value = text[0] & 0x0f;
	} else if (text[0] >= 0xf0 && text[0] <= 0xf4) {
		len = 4;
		value = text[0] & 0x07;
	} else {
		return 0;
	}
	for (size_t i = 1; i < len; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		value = value << 6 | (text[i] & 0x3f);
	}
	bool overlong = (len == 3 && value < 0x800) || (len == 4 && value < 0x10000);
	bool surrogate = value >= 0xd800 && value <= 0xdfff;
	return overlong || surrogate || value > 0x10ffff ? 0 : len;
}

size_t str_character(const char *at, bool *ret_shown)
{
	const unsigned char *c = (const unsigned char *)at;
	size_t len = utf8_length(c);

	/* U+0080 to U+009F are c2 80 to c2 9f. */
	*ret_shown = len > 0 && *c >= 0x20 && *c != 0x7f && !(c[0] == 0xc2 && c[1] < 0xa0);
	return len > 0 ? len : 1;
}

void str_neutralise(char *text, const char *kept)
{
	char *to = text;

	for (const char *from = text; *from;) {
		bool shown;
		size_t len = str_character(from, &shown);
		if (!shown && strchr(kept, *from))
			shown = true;
		if (shown)
			memmove(to, from, len);
		else
			*to = '?';
		to += shown ? len : 1;
		from += len;
	}
	*to = '\0';
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
