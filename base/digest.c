#include "base/digest.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

#define DIGEST_READ_STEP (256 * 1024)
#define DIGEST_PAGE      4096

static const char digits[] = "0123456789abcdef";

struct digest {
	struct sha256_ctx context;
};

bool digest_is_valid(const char *hex)
{
	return strlen(hex) == DIGEST_HEX_SIZE - 1 && strspn(hex, digits) == DIGEST_HEX_SIZE - 1;
}

struct digest *digest_new(void)
{
	struct digest *d = xnew(struct digest);

	sha256_init(&d->context);
	return d;
}

void digest_add(struct digest *d, const void *data, size_t len)
{
	sha256_update(&d->context, len, data);
}

void digest_add_string(struct digest *d, const char *text)
{
	size_t len = strlen(text);
	uint8_t prefix[8];

	for (size_t i = 0; i < sizeof(prefix); i++)
		prefix[i] = (uint8_t)((uint64_t)len >> (8 * i));
	digest_add(d, prefix, sizeof(prefix));
	digest_add(d, text, len);
}

void digest_finish(struct digest *d, char ret_hex[static DIGEST_HEX_SIZE])
{
	uint8_t bytes[SHA256_DIGEST_SIZE];

	static_assert(DIGEST_HEX_SIZE == 2 * sizeof(bytes) + 1, "two digits a byte");
	sha256_digest(&d->context, sizeof(bytes), bytes);
	for (size_t i = 0; i < sizeof(bytes); i++) {
		ret_hex[2 * i] = digits[bytes[i] >> 4];
		ret_hex[2 * i + 1] = digits[bytes[i] & 0xf];
	}
	ret_hex[DIGEST_HEX_SIZE - 1] = '\0';
}

void digest_free(struct digest *d)
{
	free(d);
}

int digest_fd(int fd, const char *path, char ret_hex[static DIGEST_HEX_SIZE], struct error *err)
{
	_cleanup_(digest_free_cleanup) struct digest *d = digest_new();
	_cleanup_free_ char *data = xcalloc(1, DIGEST_READ_STEP);

	for (;;) {
		ssize_t n = read_full(fd, data, DIGEST_READ_STEP);

		if (n < 0)
			return error_set_errno(err, (int)n, "cannot read %s", path);
		if (n == 0)
			break;
		digest_add(d, data, (size_t)n);
	}
	digest_finish(d, ret_hex);
	return 0;
}

int digest_file(const char *path, char ret_hex[static DIGEST_HEX_SIZE], struct error *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	return fd < 0 ? error_set_errno(err, errno, "cannot open %s", path)
		      : digest_fd(fd, path, ret_hex, err);
}

static void digest_add_number(struct digest *d, uint64_t number)
{
	uint8_t bytes[8];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(number >> (8 * i));
	digest_add(d, bytes, sizeof(bytes));
}

/* From one page on, up to the end of the data there. */
static int digest_add_pages(struct digest *d, int fd, off_t at, off_t end)
{
	static const char zero[DIGEST_PAGE];
	char page[DIGEST_PAGE];

	for (; at < end; at += DIGEST_PAGE) {
		ssize_t n = pread(fd, page, sizeof(page), at);
		if (n < 0)
			return -errno;
		if (memcmp(page, zero, (size_t)n) == 0)
			continue;
		digest_add_number(d, (uint64_t)at);
		digest_add(d, page, (size_t)n);
	}
	return 0;
}

int digest_sparse_file(const char *path, char ret_hex[static DIGEST_HEX_SIZE], struct error *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	_cleanup_(digest_free_cleanup) struct digest *d = digest_new();
	off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	off_t at = 0;

	if (size < 0)
		return error_set_errno(err, errno, "cannot open %s", path);
	digest_add_number(d, (uint64_t)size);
	while (at < size && (at = lseek(fd, at, SEEK_DATA)) >= 0) {
		off_t end = lseek(fd, at, SEEK_HOLE);
		int r = digest_add_pages(d, fd, at - at % DIGEST_PAGE, end);
		if (end < 0 || r < 0)
			return error_set_errno(err, r < 0 ? r : errno, "cannot read %s", path);
		at = end;
	}
	if (at < size && errno != ENXIO) /* ENXIO: no data up to the end */
		return error_set_errno(err, errno, "cannot read %s", path);
	digest_finish(d, ret_hex);
	return 0;
}
