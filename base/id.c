#include "base/id.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

void random_bytes(void *data, size_t len)
{
	uint8_t *at = data;

	while (len > 0) {
		ssize_t n = getrandom(at, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			abort();
		at += n;
		len -= (size_t)n;
	}
}

void id_random_hex(char ret_id[static ID_HEX_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t bytes[(ID_HEX_SIZE - 1) / 2];

	random_bytes(bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++) {
		ret_id[2 * i] = digits[bytes[i] >> 4];
		ret_id[2 * i + 1] = digits[bytes[i] & 0xf];
	}
	ret_id[ID_HEX_SIZE - 1] = '\0';
}
