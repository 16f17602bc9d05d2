/* Where file systems meet: the root and a tmpfs of 4 MiB in it, and what is told of them. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tests/probe/probe.h"

#define TMPFS "/full"
#define MIB   (1 << 20)

static bool crossed;

static int visit(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	crossed = crossed || strncmp(path, TMPFS "/", strlen(TMPFS "/")) == 0;
	return 0;
}

/* As find -xdev, du -x, tar --one-file-system and rm --one-file-system find out where to stop. */
static void a_mount_is_another_device(void)
{
	close(make_file(TMPFS "/below", ""));
	check(status_of("/").st_dev != status_of(TMPFS).st_dev,
	      "/ and " TMPFS " have one device number");
	check(status_of("/").st_dev == status_of(".").st_dev, "/ and a folder of it have two");
	must(nftw("/", visit, 20, FTW_PHYS | FTW_MOUNT), "nftw");
	must(unlink(TMPFS "/below"), "unlink");
	check(!crossed, "a walk of one file system goes into another");
	close(make_file("file", ""));
	must_not(rename("file", TMPFS "/file"), EXDEV, "rename into another file system");
	must_not(link("file", TMPFS "/file"), EXDEV, "link into another file system");
}

/* Writes until the file is so large; the error it ends with, or 0. */
static int fill(const char *name, int mib)
{
	static char block[MIB];
	int fd = (int)must(open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644), "open");
	ssize_t written = 1;

	memset(block, 'f', sizeof(block));
	for (int i = 0; written > 0 && i < mib; i++)
		written = write(fd, block, sizeof(block));
	int number = written < 0 ? errno : 0;
	must(close(fd), "close");
	return number;
}

static void a_full_tmpfs_says_so(void)
{
	int number = fill(TMPFS "/one", 8);

	check(number == ENOSPC, "8 MiB into 4: %s", strerror(number));
	check(status_of(TMPFS "/one").st_size == 4 * MIB, "the file has %ld bytes",
	      (long)status_of(TMPFS "/one").st_size);
	number = fill(TMPFS "/two", 1);
	check(number == ENOSPC, "1 MiB into none: %s", strerror(number));
	must(unlink(TMPFS "/one"), "unlink");
	number = fill(TMPFS "/two", 1);
	check(number == 0, "1 MiB into 4: %s", strerror(number));
	must(unlink(TMPFS "/two"), "unlink");
}

/* The root's line has the device of what is in it. */
static void mountinfo_tells_of_the_root(void)
{
	FILE *file = open_lines("/proc/self/mountinfo");
	struct stat st = status_of("/");
	unsigned int major_number, minor_number;
	char line[4096], place[1024];
	bool found = false;

	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%*d %*d %u:%u %*s %1023s", &major_number, &minor_number, place) !=
			    3 ||
		    strcmp(place, "/") != 0)
			continue;
		found = true;
		check(makedev(major_number, minor_number) == st.st_dev,
		      "mountinfo says %u:%u, stat %u:%u", major_number, minor_number,
		      major(st.st_dev), minor(st.st_dev));
	}
	fclose(file);
	check(found, "mountinfo has no root");
}

const struct property mount_properties[] = {
	{ "a_mount_is_another_device", a_mount_is_another_device },
	{ "a_full_tmpfs_says_so", a_full_tmpfs_says_so },
	{ "mountinfo_tells_of_the_root", mountinfo_tells_of_the_root },
	{},
};
