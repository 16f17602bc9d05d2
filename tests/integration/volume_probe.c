/* What no shell can ask of a file system: one question a run, the answer is an errno's name.
 *
 *   volume_probe mmap FILE   map it shared, to be written to
 *   volume_probe socket PATH bind a Unix socket
 *   volume_probe late FILE   change a file by its descriptor when its name is another one's
 *   volume_probe lock FILE   take all of it by fcntl(2), then by flock(2): two answers
 *   volume_probe hold FILE   the same, and keep both until it is killed
 *   volume_probe look NAME   until NAME/stop is there: each look at NAME/value must find one whole
 *                            line; prints how many looks and how many different lines there were */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

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

static int lock(const char *path, int keep)
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
	if (argc != 3)
		return 2;
	if (strcmp(argv[1], "mmap") == 0)
		return try_mmap(argv[2]);
	if (strcmp(argv[1], "socket") == 0)
		return try_socket(argv[2]);
	if (strcmp(argv[1], "late") == 0)
		return change_late(argv[2]);
	if (strcmp(argv[1], "lock") == 0 || strcmp(argv[1], "hold") == 0)
		return lock(argv[2], *argv[1] == 'h');
	return strcmp(argv[1], "look") == 0 ? keep_looking(argv[2]) : 2;
}
