/* What no shell can ask of a file system: one question a run, the answer is an errno's name.
 *
 *   volume_probe mmap FILE   map it shared, to be written to
 *   volume_probe socket PATH bind a Unix socket
 *   volume_probe look NAME   until NAME/stop is there: each look at NAME/value must find one whole
 *                            line; prints how many looks and how many different lines there were */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
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
	return strcmp(argv[1], "look") == 0 ? keep_looking(argv[2]) : 2;
}
