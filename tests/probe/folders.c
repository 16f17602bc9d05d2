/* Names and folders: links, renames, listings, and who is told of changes. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/probe/probe.h"

static void hard_link(void)
{
	int fd = make_file("one", "text");

	must(link("one", "two"), "link");
	struct stat one = status_of("one"), two = status_of("two");
	check(one.st_nlink == 2 && two.st_nlink == 2, "there are %lu links",
	      (unsigned long)one.st_nlink);
	check(one.st_ino == two.st_ino && one.st_dev == two.st_dev, "they are two files");
	must(pwrite(fd, "TEXT", 4, 0), "pwrite");
	expect_content("two", "TEXT");
	must(unlink("one"), "unlink");
	check(status_of("two").st_nlink == 1, "one link is gone, %lu are left",
	      (unsigned long)status_of("two").st_nlink);
}

static void renamed_folder(void)
{
	must(mkdir("from", 0755), "mkdir");
	must(mkdir("from/below", 0755), "mkdir");
	close(make_file("from/below/file", "text"));
	ino_t ino = status_of("from").st_ino;
	must(rename("from", "to"), "rename");
	expect_content("to/below/file", "text");
	check(status_of("to").st_ino == ino, "it has another inode");
	must_not(access("from", F_OK), ENOENT, "the old name");
	must(mkdir("full", 0755), "mkdir");
	must(mkdir("full/x", 0755), "mkdir");
	must_not(rename("to", "full"), ENOTEMPTY, "rename over a folder that is not empty");
	must_not(rename("to", "to/below/inside"), EINVAL, "rename of a folder into itself");
}

/* The working folder of a process goes with it. */
static void renamed_working_folder(void)
{
	char path[PATH_MAX];

	must(mkdir("from", 0755), "mkdir");
	must(chdir("from"), "chdir");
	close(make_file("file", "text"));
	must(rename("../from", "../to"), "rename");
	check(getcwd(path, sizeof(path)) && strcmp(strrchr(path, '/'), "/to") == 0,
	      "getcwd does not follow");
	expect_content("file", "text");
	close(make_file("another", ""));
}

static void rename_exchange(void)
{
	close(make_file("one", "1"));
	close(make_file("two", "2"));
	must(renameat2(AT_FDCWD, "one", AT_FDCWD, "two", RENAME_EXCHANGE), "RENAME_EXCHANGE");
	expect_content("one", "2");
	expect_content("two", "1");
	must_not(renameat2(AT_FDCWD, "one", AT_FDCWD, "two", RENAME_NOREPLACE), EEXIST,
		 "RENAME_NOREPLACE");
	must(renameat2(AT_FDCWD, "one", AT_FDCWD, "three", RENAME_NOREPLACE), "RENAME_NOREPLACE");
}

static void names_are_bounded(void)
{
	char name[NAME_MAX + 2];

	memset(name, 'n', sizeof(name));
	name[NAME_MAX + 1] = '\0';
	must_not(open(name, O_CREAT | O_RDWR | O_CLOEXEC, 0644), ENAMETOOLONG, "256 bytes");
	name[NAME_MAX] = '\0';
	close(make_file(name, ""));
	close(make_file("\xff\x01 \n", "")); /* any bytes but two are a name */
	must(unlink("\xff\x01 \n"), "unlink of a name that is no text");
}

/* By steps a path may become longer than PATH_MAX. */
static void deep_folders(void)
{
	char name[201];

	memset(name, 'd', 200);
	name[200] = '\0';
	for (int i = 0; i < 25; i++) {
		must(mkdir(name, 0755), "mkdir");
		must(chdir(name), "chdir");
	}
	close(make_file("file", "deep"));
	expect_content("file", "deep");
}

#define LISTED 500

static int count_and_unlink(bool unlink_them)
{
	DIR *dir = opendir(".");
	struct dirent *entry;
	int count = 0;

	check(dir != NULL, "opendir: %s", strerror(errno));
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		check(entry->d_type == DT_REG || entry->d_type == DT_UNKNOWN, "d_type is %d",
		      entry->d_type);
		check(entry->d_ino == status_of(entry->d_name).st_ino,
		      "a listing has another inode number than stat");
		count++;
		if (unlink_them)
			must(unlink(entry->d_name), "unlink of what is listed");
	}
	closedir(dir);
	return count;
}

static void listing(void)
{
	char name[16];
	int count;

	for (int i = 0; i < LISTED; i++) {
		snprintf(name, sizeof(name), "file%d", i);
		close(make_file(name, ""));
	}
	count = count_and_unlink(false);
	check(count == LISTED, "%d of %d are listed", count, LISTED);
	count = count_and_unlink(true);
	check(count == LISTED, "%d of %d are listed while they go", count, LISTED);
	check(count_and_unlink(false) == 0, "some stayed");
}

static void links_of_a_folder(void)
{
	must(mkdir("folder", 0755), "mkdir");
	must(mkdir("folder/below", 0755), "mkdir");
	nlink_t links = status_of("folder").st_nlink;
	check(links == 3 || links == 1, "a folder with one below has %lu links",
	      (unsigned long)links);
	must_not(rmdir("folder"), ENOTEMPTY, "rmdir");
	must_not(unlink("folder/below"), EISDIR, "unlink of a folder");
}

/* ---------------------------------------------------------------- inotify */

static void change_folder(void *data _unused_)
{
	int fd = make_file("watched/file", "x");

	close(fd);
	must(rename("watched/file", "watched/moved"), "rename");
	must(unlink("watched/moved"), "unlink");
	must(mkdir("watched/below", 0755), "mkdir");
}

static const uint32_t wanted_events[] = {
	IN_CREATE,   IN_MODIFY, IN_CLOSE_WRITE,       IN_MOVED_FROM,
	IN_MOVED_TO, IN_DELETE, IN_CREATE | IN_ISDIR,
};

static uint32_t next_event(int fd, char *buffer, size_t size, char **at, char **end)
{
	if (*at == *end) {
		struct pollfd wait = { .fd = fd, .events = POLLIN };

		if (poll(&wait, 1, 2000) <= 0)
			return 0;
		*end = buffer + must(read(fd, buffer, size), "read of inotify events");
		*at = buffer;
	}
	struct inotify_event event;
	memcpy(&event, *at, sizeof(event));
	*at += sizeof(event) + event.len;
	return event.mask;
}

static void watch(int fd)
{
	must(mkdir("watched", 0755), "mkdir");
	must(inotify_add_watch(fd, "watched",
			       IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_MOVE | IN_DELETE),
	     "inotify_add_watch");
}

static void expect_events(int fd)
{
	char buffer[4096], *at = buffer, *end = buffer;

	for (size_t i = 0; i < sizeof(wanted_events) / sizeof(wanted_events[0]); i++) {
		uint32_t mask = next_event(fd, buffer, sizeof(buffer), &at, &end);

		check(mask == wanted_events[i], "event %zu is %#x and not %#x", i, mask,
		      wanted_events[i]);
	}
}

static void inotify(void)
{
	int fd = (int)must(inotify_init1(IN_CLOEXEC), "inotify_init1");

	watch(fd);
	change_folder(NULL);
	expect_events(fd);
}

static void inotify_of_another_process(void)
{
	int fd = (int)must(inotify_init1(IN_CLOEXEC), "inotify_init1");

	watch(fd);
	join(start(change_folder, NULL));
	expect_events(fd);
}

const struct property folder_properties[] = {
	{ "hard_link", hard_link },
	{ "renamed_folder", renamed_folder },
	{ "renamed_working_folder", renamed_working_folder },
	{ "rename_exchange", rename_exchange },
	{ "names_are_bounded", names_are_bounded },
	{ "deep_folders", deep_folders },
	{ "listing", listing },
	{ "links_of_a_folder", links_of_a_folder },
	{ "inotify", inotify },
	{ "inotify_of_another_process", inotify_of_another_process },
	{},
};
