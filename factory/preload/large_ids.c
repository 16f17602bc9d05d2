/* Loaded into a machine's QEMU (LD_PRELOAD): shows its 9p server the large owners of files for the
 * places that stand for them, and takes them from it (factory/guest/large_ids.h).
 *
 * The table is looked up at each call that needs one, by the path that the kernel has for the
 * folder or file; that is two readlink(2). Other calls cost a comparison. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "factory/guest/large_ids.h"

enum { SMALL_IDS = 65536 };

struct table {
	unsigned count;
	unsigned large[LARGE_IDS_MAX]; /* of places, in their order */
};

static const char *share;

static __attribute__((constructor)) void begin(void)
{
	share = getenv(LARGE_IDS_ENV);
}

static bool is_place(unsigned id)
{
	return id - LARGE_IDS_FIRST < LARGE_IDS_MAX;
}

/* The link of the container whose folder in the share fd is below; false: it is elsewhere. */
static bool find_link(const char *path, char *link, size_t size)
{
	size_t len = strlen(share);

	if (strncmp(path, share, len) != 0 || path[len] != '/' || path[len + 1] == '\0')
		return false;
	return snprintf(link, size, "%.*s/" LARGE_IDS_LINK,
			(int)(len + 1 + strcspn(path + len + 1, "/")), path) < (int)size;
}

static void parse(const char *text, size_t len, struct table *table)
{
	char digits[LARGE_IDS_DIGITS + 1] = "";

	for (table->count = 0; len >= LARGE_IDS_DIGITS && table->count < LARGE_IDS_MAX;
	     text += LARGE_IDS_DIGITS, len -= LARGE_IDS_DIGITS) {
		memcpy(digits, text, LARGE_IDS_DIGITS);
		table->large[table->count++] = (unsigned)strtoul(digits, NULL, 16);
	}
}

/* -1 with errno; an empty table where the container has none. */
static int read_table(int fd, struct table *table)
{
	char self[32], path[PATH_MAX], link[PATH_MAX], text[LARGE_IDS_MAX * LARGE_IDS_DIGITS];

	table->count = 0;
	if (!share || fd < 0)
		return 0;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	ssize_t len = readlink(self, path, sizeof(path) - 1);
	if (len < 0)
		return -1;
	path[len] = '\0';
	if (!find_link(path, link, sizeof(link)))
		return 0;
	len = readlink(link, text, sizeof(text));
	if (len < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
	parse(text, (size_t)len, table);
	return 0;
}

static unsigned shown(const struct table *table, unsigned id)
{
	unsigned place = id - LARGE_IDS_FIRST;

	return place < table->count ? table->large[place] : id;
}

/* Of an owner to be; false: no file can have it. */
static bool take(const struct table *table, unsigned *id)
{
	if (*id == (unsigned)-1 || (*id < SMALL_IDS && !is_place(*id)))
		return true;
	for (unsigned place = 0; place < table->count; place++)
		if (table->large[place] == *id) {
			*id = LARGE_IDS_FIRST + place;
			return true;
		}
	return false;
}

/* ---------------------------------------------------------------- what QEMU calls */

int fstatat64(int fd, const char *path, struct stat64 *st, int flags);
int fchownat(int fd, const char *path, uid_t uid, gid_t gid, int flags);

int fstatat64(int fd, const char *path, struct stat64 *st, int flags)
{
	struct table table;
	int r = (int)syscall(SYS_newfstatat, fd, path, st, flags);

	if (r < 0 || (!is_place(st->st_uid) && !is_place(st->st_gid)))
		return r;
	if (read_table(fd, &table) < 0)
		return -1;
	st->st_uid = shown(&table, st->st_uid);
	st->st_gid = shown(&table, st->st_gid);
	return 0;
}

int fchownat(int fd, const char *path, uid_t uid, gid_t gid, int flags)
{
	const struct table none = {};
	struct table table;

	if (!take(&none, &uid) || !take(&none, &gid)) {
		if (read_table(fd, &table) < 0)
			return -1;
		if (table.count > 0 && (!take(&table, &uid) || !take(&table, &gid))) {
			errno = EINVAL;
			return -1;
		}
	}
	return (int)syscall(SYS_fchownat, fd, path, uid, gid, flags);
}
