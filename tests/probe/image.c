/* Files that come with the image (tests/probe-image makes them): that they are as they were packed,
 * and can be changed as if they were not in a layer below. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/probe/probe.h"

static void image_owner_mode_times(void)
{
	struct stat st = status_of("/image/owned");

	check(st.st_uid == LARGE && st.st_gid == USER, "its owner is %u:%u", st.st_uid, st.st_gid);
	check((st.st_mode & 07777) == 0640, "its mode is %o", st.st_mode);
	check(st.st_mtim.tv_sec == 1000000000 && st.st_mtim.tv_nsec == 123456789,
	      "its time is %ld.%09ld", (long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

static void image_hard_link(void)
{
	struct stat one = status_of("/image/link1"), two = status_of("/image/link2");

	check(one.st_ino == two.st_ino && one.st_nlink == 2, "inodes %lu and %lu, %lu links",
	      (unsigned long)one.st_ino, (unsigned long)two.st_ino, (unsigned long)one.st_nlink);
}

static void image_special(void)
{
	struct stat st = status_of("/image/null");

	check(S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3), "the node is another");
	must(open("/image/null", O_RDWR | O_CLOEXEC), "open of the image's device node");
	check(S_ISFIFO(status_of("/image/fifo").st_mode), "the FIFO is none");
	check(S_ISLNK(status_of("/image/symlink").st_mode), "the symbolic link is none");
	expect_content("/image/symlink", "text");
}

static void expect_capability(void *data _unused_)
{
	expect_run("/image/capable", "capabilities");
}

static void image_capability(void)
{
	as_user(USER, expect_capability, NULL);
}

/* The image's second layer takes away what its first one has. */
static void image_layers(void)
{
	must_not(access("/image/gone", F_OK), ENOENT, "a file the second layer removes");
	must_not(access("/image/replaced/old", F_OK), ENOENT, "a folder it replaces");
	must(access("/image/replaced/new", F_OK), "what it has in that folder");
	must(access("/image/merged/one", F_OK), "what the first layer has in a folder of both");
	must(access("/image/merged/two", F_OK), "what the second has in it");
}

static void image_file_changes(void)
{
	ino_t ino = status_of("/image/changed").st_ino;
	int fd = (int)must(open("/image/changed", O_WRONLY | O_APPEND | O_CLOEXEC), "open");

	must(write(fd, " and more", 9), "write");
	expect_content("/image/changed", "text and more");
	struct stat st = status_of("/image/changed");
	check(st.st_ino == ino, "its inode number changes with a write");
	check(st.st_uid == USER && (st.st_mode & 07777) == 0604, "owner %u, mode %o", st.st_uid,
	      st.st_mode);
}

static void image_file_is_removed(void)
{
	char text[8] = "";
	int fd = (int)must(open("/image/removed", O_RDONLY | O_CLOEXEC), "open");

	must(unlink("/image/removed"), "unlink");
	must_not(access("/image/removed", F_OK), ENOENT, "access");
	must(read(fd, text, 4), "read of what was removed");
	check(strcmp(text, "text") == 0, "it holds \"%s\"", text);
	must(mkdir("/image/removed", 0755), "mkdir in its place");
	must_not(unlink("/image/removed"), EISDIR, "unlink of the folder");
}

static void image_file_is_renamed(void)
{
	must(rename("/image/renamed", "/image/moved"), "rename");
	expect_content("/image/moved", "text");
	must_not(access("/image/renamed", F_OK), ENOENT, "access to the old name");
	close(make_file("new", "new"));
	must(rename("new", "/image/moved"), "rename over a file of the image");
	expect_content("/image/moved", "new");
}

/* A folder of a layer may be refused with EXDEV, for mv to copy it. */
static void image_folder_is_renamed(void)
{
	if (rename("/image/folder", "/image/folder2") < 0) {
		check(errno == EXDEV, "rename: %s", strerror(errno));
		return;
	}
	expect_content("/image/folder2/file", "text");
}

static void image_folder_is_replaced(void)
{
	must(unlink("/image/emptied/file"), "unlink");
	must(rmdir("/image/emptied"), "rmdir");
	must(mkdir("/image/emptied", 0755), "mkdir");
	must_not(access("/image/emptied/file", F_OK), ENOENT, "what the folder of the image had");
	must(rmdir("/image/emptied"), "rmdir of the new one");
}

static void image_file_gets_a_link(void)
{
	must(link("/image/linked", "/image/linked2"), "link");
	check(status_of("/image/linked").st_ino == status_of("/image/linked2").st_ino &&
		      status_of("/image/linked2").st_nlink == 2,
	      "they are two files");
}

static void image_attributes(void)
{
	char value[8] = "";

	must(setxattr("/image/attributes", "user.kiln", "value", 5, 0), "setxattr");
	must(getxattr("/image/attributes", "user.kiln", value, sizeof(value)), "getxattr");
	check(strcmp(value, "value") == 0, "the attribute is \"%s\"", value);
	must(chown("/image/attributes", USER, USER), "chown");
	must(chmod("/image/attributes", 0600), "chmod");
	must(truncate("/image/attributes", 2), "truncate");
	expect_content("/image/attributes", "te");
}

const struct property image_properties[] = {
	{ "image_owner_mode_times", image_owner_mode_times },
	{ "image_hard_link", image_hard_link },
	{ "image_special", image_special },
	{ "image_capability", image_capability },
	{ "image_layers", image_layers },
	{ "image_file_changes", image_file_changes },
	{ "image_file_is_removed", image_file_is_removed },
	{ "image_file_is_renamed", image_file_is_renamed },
	{ "image_folder_is_renamed", image_folder_is_renamed },
	{ "image_folder_is_replaced", image_folder_is_replaced },
	{ "image_file_gets_a_link", image_file_gets_a_link },
	{ "image_attributes", image_attributes },
	{},
};
