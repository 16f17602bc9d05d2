/* What no shell can ask of a file system: one question a run, the answer is an errno's name.
 *
 *   volume_probe mmap FILE   map it shared, to be written to
 *   volume_probe socket PATH bind a Unix socket
 *   volume_probe late FILE   change a file by its descriptor when its name is another one's
 *   volume_probe lock FILE   take all of it by fcntl(2), then by flock(2): two answers
 *   volume_probe hold FILE   the same, and keep both until it is killed
 *   volume_probe look NAME   until NAME/stop is there: each look at NAME/value must find one whole
 *                            line; prints how many looks and how many different lines there were
 *   volume_probe acl FILE    give it an ACL that lets user 1000 read it, and read that back
 *   volume_probe open FILE   a thousand times; prints how many were opened, not there, or else
 *   volume_probe fill FILE   write pieces of 64 KiB until one fails; prints the errno and how many
 *                            bytes were accepted. Each word of eight is its own place in the file
 *   volume_probe whole FILE  prints how many bytes are what fill wrote there
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ACL "system.posix_acl_access"

static int answer(int failed)
{
	printf("%s\n", failed ? strerrorname_np(errno) : "ok");
	return 0;
}

static int try_mmap(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0 || ftruncate(fd, 4096) < 0)
		return 1;
	return answer(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
}

static int try_socket(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof(address.sun_path))
		return 1;
	strcpy(address.sun_path, path);
	return answer(bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0);
}

/* FILE is a new one of mode 600 then, and its old content of mode 640 has 3 bytes. */
static int change_late(const char *path)
{
	char old[4096];
	struct stat st;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	snprintf(old, sizeof(old), "%s.old", path);
	if (fd < 0 || write(fd, "abcdef", 6) != 6 || rename(path, old) < 0 ||
	    open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600) < 0)
		return 1;
	if (ftruncate(fd, 3) < 0 || fchmod(fd, 0640) < 0 || unlink(old) < 0 ||
	    fchown(fd, 7, 8) < 0 || fstat(fd, &st) < 0)
		return answer(1);
	printf("%lo %ld %u ", (unsigned long)st.st_mode & 0777, (long)st.st_size, st.st_uid);
	if (stat(path, &st) < 0)
		return answer(1);
	printf("%lo %u ", (unsigned long)st.st_mode & 0777, st.st_uid);
	return answer(0);
}

static int lock_and(const char *path, int keep)
{
	struct flock whole = { .l_type = F_WRLCK };
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0)
		return 1;
	answer(fcntl(fd, F_SETLK, &whole) < 0);
	answer(flock(fd, LOCK_EX | LOCK_NB) < 0);
	fflush(stdout);
	if (keep)
		pause();
	return 0;
}

static int lock(const char *path)
{
	return lock_and(path, 0);
}

static int hold(const char *path)
{
	return lock_and(path, 1);
}

/* As in Linux's posix_acl_xattr.h, which is not for programs. */
static int try_acl(const char *path)
{
	enum { VERSION = 2, USER_OBJ = 1, NAMED_USER = 2, GROUP_OBJ = 4, MASK = 16, OTHER = 32 };
	const struct list {
		uint32_t version;
		struct {
			uint16_t tag, permissions;
			uint32_t id;
		} entries[5];
	} acl = { VERSION,
		  { { USER_OBJ, 6, UINT32_MAX },
		    { NAMED_USER, 4, 1000 },
		    { GROUP_OBJ, 0, UINT32_MAX },
		    { MASK, 4, UINT32_MAX },
		    { OTHER, 0, UINT32_MAX } } };

	struct list found = {};

	if (setxattr(path, ACL, &acl, sizeof(acl), 0) < 0 ||
	    getxattr(path, ACL, &found, sizeof(found)) < 0)
		return answer(1);
	printf("%s\n", memcmp(&found, &acl, sizeof(acl)) == 0 ? "ok" : "another");
	return 0;
}

static int keep_opening(const char *path)
{
	unsigned opened = 0, missing = 0, others = 0;

	for (int i = 0; i < 1000; i++) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		opened += fd >= 0;
		missing += fd < 0 && errno == ENOENT;
		others += fd < 0 && errno != ENOENT;
		if (fd >= 0)
			close(fd);
	}
	printf("%u opened, %u ENOENT, %u others\n", opened, missing, others);
	return 0;
}

enum { PIECE = 65536 };

/* What belongs at the place at, which is a multiple of eight, and a word more than a piece. */
static void piece_make(uint64_t words[PIECE / 8 + 1], uint64_t at)
{
	for (size_t i = 0; i <= PIECE / 8; i++)
		words[i] = at + i * 8;
}

/* The file begins with four bytes, so that no piece ends where a page does. A write() that returns
 * 0 ends it as well: to most programs it is neither done nor an error. */
static int fill(const char *path)
{
	uint64_t words[PIECE / 8 + 1], accepted = 0;
	ssize_t n = PIECE;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		return 1;
	while (n > 0) {
		size_t odd = accepted % 8;

		piece_make(words, accepted - odd);
		n = write(fd, (char *)words + odd, accepted ? PIECE : 4);
		accepted += n > 0 ? (uint64_t)n : 0;
	}
	printf("%s %ju\n", n < 0 ? strerrorname_np(errno) : "0", (uintmax_t)accepted);
	return 0;
}

static int count_whole(const char *path)
{
	uint64_t words[PIECE / 8 + 1], found[PIECE / 8], whole = 0;
	FILE *file = fopen(path, "re");
	size_t n;

	if (!file)
		return 1;
	while ((n = fread(found, 1, PIECE, file)) > 0) {
		piece_make(words, whole);
		if (memcmp(words, found, n) != 0)
			break;
		whole += n;
	}
	fclose(file);
	printf("%ju\n", (uintmax_t)whole);
	return 0;
}

static int look(const char *path, char *line, size_t size)
{
	FILE *file = fopen(path, "re");

	if (!file)
		return -1;
	if (!fgets(line, (int)size, file))
		*line = '\0';
	fclose(file);
	return strchr(line, '\n') ? 0 : -1;
}

static int keep_looking(const char *folder)
{
	unsigned looks = 0, failures = 0, changes = 0;
	char value[4096], stop[4096], line[64], last[64] = "";

	snprintf(value, sizeof(value), "%s/value", folder);
	snprintf(stop, sizeof(stop), "%s/stop", folder);
	for (; access(stop, F_OK) < 0; looks++) {
		if (look(value, line, sizeof(line)) < 0) {
			failures++;
			continue;
		}
		changes += strcmp(line, last) != 0;
		strcpy(last, line);
	}
	printf("%u looks %u failures %u lines\n", looks, failures, changes);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(const char *path);
	} questions[] = { { "mmap", try_mmap },    { "socket", try_socket },
			  { "late", change_late }, { "lock", lock },
			  { "hold", hold },        { "look", keep_looking },
			  { "acl", try_acl },      { "open", keep_opening },
			  { "fill", fill },        { "whole", count_whole } };

	for (size_t i = 0; argc == 3 && i < sizeof(questions) / sizeof(*questions); i++)
		if (strcmp(argv[1], questions[i].name) == 0)
			return questions[i].run(argv[2]);
	return 2;
}
