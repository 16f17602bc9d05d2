/* Owners, modes, times, extended attributes, ACLs, capabilities of programs. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdint.h>
#include <string.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/probe/probe.h"

/* ---------------------------------------------------------------- times */

static void set_and_expect_times(struct timespec atime, struct timespec mtime)
{
	close(make_file("file", ""));
	must(utimensat(AT_FDCWD, "file", (struct timespec[]){ atime, mtime }, 0), "utimensat");
	struct stat st = status_of("file");
	check(st.st_mtim.tv_sec == mtime.tv_sec && st.st_atim.tv_sec == atime.tv_sec,
	      "times are %ld and %ld", (long)st.st_atim.tv_sec, (long)st.st_mtim.tv_sec);
	check(st.st_mtim.tv_nsec == mtime.tv_nsec && st.st_atim.tv_nsec == atime.tv_nsec,
	      "nanoseconds are %ld and %ld", st.st_atim.tv_nsec, st.st_mtim.tv_nsec);
}

static void times_to_the_nanosecond(void)
{
	set_and_expect_times((struct timespec){ 1000, 111111111 },
			     (struct timespec){ 2000, 222222222 });
}

static void times_before_1970(void)
{
	set_and_expect_times((struct timespec){ -1000, 0 }, (struct timespec){ -86400, 500 });
}

static void times_after_2038(void)
{
	set_and_expect_times((struct timespec){ 4102444800, 0 },
			     (struct timespec){ 4102444801, 1 });
}

static void times_of_a_symbolic_link(void)
{
	must(symlink("nowhere", "link"), "symlink");
	must(utimensat(AT_FDCWD, "link", (struct timespec[]){ { 5, 6 }, { 7, 8 } },
		       AT_SYMLINK_NOFOLLOW),
	     "utimensat");
	struct stat st = status_of("link");
	check(st.st_mtim.tv_sec == 7 && st.st_mtim.tv_nsec == 8, "its time is %ld.%09ld",
	      (long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

/* make(1) and others compare them with the clock and with each other. */
static void times_are_the_clocks(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	int fd = make_file("file", "");
	struct stat made = status_of("file");
	check(made.st_mtime >= now.tv_sec - 1 && made.st_mtime <= now.tv_sec + 5,
	      "a new file is %ld s away from the clock", (long)(made.st_mtime - now.tv_sec));
	nanosleep(&(struct timespec){ 0, 20000000 }, NULL);
	must(write(fd, "x", 1), "write");
	struct stat written = status_of("file");
	check(written.st_mtim.tv_sec > made.st_mtim.tv_sec ||
		      written.st_mtim.tv_nsec > made.st_mtim.tv_nsec,
	      "a write does not change the time");
}

/* ---------------------------------------------------------------- owners and modes */

static void make_folder(void *name)
{
	must(mkdir(name, 0755), "mkdir by a user");
}

static void large_uid(void)
{
	must(chmod(".", 0777), "chmod");
	as_user(LARGE, make_folder, (char[]){ "folder" });
	check(status_of("folder").st_uid == LARGE, "the folder's owner is %u",
	      status_of("folder").st_uid);
	close(make_file("file", ""));
	must(chown("file", 4294967294U, 4294967293U), "chown");
	struct stat st = status_of("file");
	check(st.st_uid == 4294967294U && st.st_gid == 4294967293U, "the file's owner is %u:%u",
	      st.st_uid, st.st_gid);
}

static void open_private(void *data _unused_)
{
	must_not(open("file", O_RDONLY | O_CLOEXEC), EACCES, "open of another user's file");
	must_not(access("file", R_OK), EACCES, "access to another user's file");
}

static void modes_are_obeyed(void)
{
	close(make_file("file", ""));
	must(chmod("file", 0600), "chmod");
	as_user(USER, open_private, NULL);
}

static void unlink_sticky(void *data _unused_)
{
	must_not(unlink("file"), EPERM, "unlink of another user's file in a sticky folder");
}

static void sticky_folder(void)
{
	close(make_file("file", ""));
	must(chmod(".", 01777), "chmod");
	as_user(USER, unlink_sticky, NULL);
}

static void setgid_folder(void)
{
	must(mkdir("folder", 0755), "mkdir");
	must(chown("folder", 0, USER), "chown");
	must(chmod("folder", 02755), "chmod");
	must(mkdir("folder/below", 0755), "mkdir");
	struct stat st = status_of("folder/below");
	check(st.st_gid == USER, "the folder below has group %u", st.st_gid);
	check(st.st_mode & S_ISGID, "the folder below has mode %o", st.st_mode);
}

static void expect_root(void *data _unused_)
{
	expect_run("./copy", "root");
}

static void setuid_program(void)
{
	copy_self("copy", 04755);
	as_user(USER, expect_root, NULL);
}

static void write_to_copy(void *data _unused_)
{
	int fd = (int)must(open("copy", O_WRONLY | O_CLOEXEC), "open");

	must(write(fd, "x", 1), "write");
}

static void setuid_ends_with_a_write(void)
{
	close(make_file("copy", ""));
	must(chmod("copy", 06777), "chmod");
	as_user(USER, write_to_copy, NULL);
	check((status_of("copy").st_mode & 07777) == 0777, "the mode is %o",
	      status_of("copy").st_mode);
	must(chmod("copy", 04755), "chmod");
	must(chown("copy", USER, USER), "chown");
	check((status_of("copy").st_mode & 07777) == 0755, "after chown the mode is %o",
	      status_of("copy").st_mode);
}

/* ---------------------------------------------------------------- capabilities of a program */

static void expect_capability(void *data _unused_)
{
	expect_run("./copy", "capabilities");
}

static void set_capability(const char *name)
{
	struct vfs_cap_data caps = {
		.magic_etc = htole32(VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE),
		.data = { { .permitted = htole32(1U << CAP_CHOWN) } },
	};

	must(setxattr(name, "security.capability", &caps, XATTR_CAPS_SZ_2, 0), "setcap");
}

static void file_capability(void)
{
	copy_self("copy", 0755);
	set_capability("copy");
	as_user(USER, expect_capability, NULL);
}

static void file_capability_ends_with_a_write(void)
{
	char value[64];

	close(make_file("copy", ""));
	must(chmod("copy", 0777), "chmod");
	set_capability("copy");
	write_to_copy(NULL);
	must_not(getxattr("copy", "security.capability", value, sizeof(value)), ENODATA,
		 "getcap after a write");
}

/* ---------------------------------------------------------------- attributes, ACLs */

static void user_attributes(void)
{
	char value[2048], names[64];

	memset(value, 'v', sizeof(value));
	close(make_file("file", ""));
	must(setxattr("file", "user.one", value, sizeof(value), XATTR_CREATE), "setxattr");
	must_not(setxattr("file", "user.one", "x", 1, XATTR_CREATE), EEXIST, "XATTR_CREATE");
	check(getxattr("file", "user.one", value, sizeof(value)) == sizeof(value),
	      "the attribute has another size");
	ssize_t len = must(listxattr("file", names, sizeof(names)), "listxattr");
	check(memmem(names, (size_t)len, "user.one", 9) != NULL, "it is not listed");
	must(removexattr("file", "user.one"), "removexattr");
	must_not(getxattr("file", "user.one", value, sizeof(value)), ENODATA, "getxattr");
}

/* As in Linux's posix_acl_xattr.h, which is not for programs. */
enum { ACL_VERSION = 2, USER_OBJ = 1, NAMED_USER = 2, GROUP_OBJ = 4, MASK = 16, OTHER = 32 };

struct acl_entry {
	uint16_t tag, permissions;
	uint32_t id;
} __attribute__((packed));

struct acl {
	uint32_t version;
	struct acl_entry entries[5];
} __attribute__((packed));

static const struct acl user_may_read = {
	ACL_VERSION,
	{ { USER_OBJ, 6, UINT32_MAX },
	  { NAMED_USER, 4, USER },
	  { GROUP_OBJ, 0, UINT32_MAX },
	  { MASK, 4, UINT32_MAX },
	  { OTHER, 0, UINT32_MAX } },
};

static void read_file(void *name)
{
	must(open(name, O_RDONLY | O_CLOEXEC), "open of what an ACL lets the user read");
}

static void acl(void)
{
	struct acl read_back;

	close(make_file("file", ""));
	must(setxattr("file", "system.posix_acl_access", &user_may_read, sizeof(user_may_read), 0),
	     "setfacl");
	must(getxattr("file", "system.posix_acl_access", &read_back, sizeof(read_back)), "getfacl");
	check(memcmp(&read_back, &user_may_read, sizeof(read_back)) == 0, "the ACL is another");
	check((status_of("file").st_mode & 07777) == 0640, "the mode is %o",
	      status_of("file").st_mode);
	as_user(USER, read_file, (char[]){ "file" });
}

static void acl_of_a_folder(void)
{
	must(mkdir("folder", 0755), "mkdir");
	must(setxattr("folder", "system.posix_acl_default", &user_may_read, sizeof(user_may_read),
		      0),
	     "setfacl -d");
	close(make_file("folder/file", ""));
	as_user(USER, read_file, (char[]){ "folder/file" });
}

const struct property attribute_properties[] = {
	{ "times_to_the_nanosecond", times_to_the_nanosecond },
	{ "times_before_1970", times_before_1970 },
	{ "times_after_2038", times_after_2038 },
	{ "times_of_a_symbolic_link", times_of_a_symbolic_link },
	{ "times_are_the_clocks", times_are_the_clocks },
	{ "large_uid", large_uid },
	{ "modes_are_obeyed", modes_are_obeyed },
	{ "sticky_folder", sticky_folder },
	{ "setgid_folder", setgid_folder },
	{ "setuid_program", setuid_program },
	{ "setuid_ends_with_a_write", setuid_ends_with_a_write },
	{ "file_capability", file_capability },
	{ "file_capability_ends_with_a_write", file_capability_ends_with_a_write },
	{ "user_attributes", user_attributes },
	{ "acl", acl },
	{ "acl_of_a_folder", acl_of_a_folder },
	{},
};
