#include "proto/base64.h"

#include "base/memory.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const void *data, size_t len)
{
	const uint8_t *in = data;
	char *text = xcalloc(len / 3 + 2, 4);
	char *out = text;

	for (; len > 0; in += 3) {
		uint32_t group = (uint32_t)in[0] << 16;
		if (len > 1)
			group |= (uint32_t)in[1] << 8;
		if (len > 2)
			group |= in[2];
		*out++ = alphabet[group >> 18];
		*out++ = alphabet[group >> 12 & 63];
		*out++ = len > 1 ? alphabet[group >> 6 & 63] : '=';
		*out++ = len > 2 ? alphabet[group & 63] : '=';
		len -= len > 3 ? 3 : len;
	}
	*out = '\0';
	return text;
}

static int digit_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+' || c == '-')
		return 62;
	if (c == '/' || c == '_')
		return 63;
	return -EINVAL;
}

int base64_decode(const char *text, size_t len, uint8_t **ret_data, size_t *ret_len)
{
	if (len % 4 == 0 && len > 0 && text[len - 1] == '=')
		len -= text[len - 2] == '=' ? 2 : 1;
	if (len % 4 == 1)
		return -EINVAL;

	_cleanup_free_ uint8_t *data = len > 0 ? xcalloc(len / 4 + 1, 3) : NULL;
	size_t count = 0;
	uint32_t bits = 0;
	for (size_t i = 0; i < len; i++) {
		int value = digit_value(text[i]);
		if (value < 0)
			return value;
		bits = bits << 6 | (uint32_t)value;
		/* The second to fourth digit of a group each complete a byte. */
		if (i % 4 > 0)
			data[count++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
	}
	*ret_len = count;
	*ret_data = steal_ptr(data);
	return 0;
}
