/* A file that is open and has no name any more, and one whose name another file has taken. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/probe/probe.h"

static int unlinked(void)
{
	int fd = make_file("file", "content");

	must(unlink("file"), "unlink");
	return fd;
}

static struct stat status_of_fd(int fd)
{
	struct stat st;

	must(fstat(fd, &st), "fstat");
	return st;
}

static void unlinked_fstat(void)
{
	struct stat st = status_of_fd(unlinked());

	check(st.st_nlink == 0, "it has %lu links", (unsigned long)st.st_nlink);
	check(st.st_size == 7, "its size is %ld", (long)st.st_size);
}

static void unlinked_ftruncate(void)
{
	int fd = unlinked();

	must(ftruncate(fd, 3), "ftruncate");
	check(status_of_fd(fd).st_size == 3, "its size is %ld", (long)status_of_fd(fd).st_size);
}

static void unlinked_fchmod(void)
{
	int fd = unlinked();

	must(fchmod(fd, 0600), "fchmod");
	check((status_of_fd(fd).st_mode & 07777) == 0600, "its mode is %o",
	      status_of_fd(fd).st_mode);
}

static void unlinked_fchown(void)
{
	int fd = unlinked();

	must(fchown(fd, USER, USER), "fchown");
	check(status_of_fd(fd).st_uid == USER, "its owner is %u", status_of_fd(fd).st_uid);
}

static void unlinked_times(void)
{
	int fd = unlinked();

	must(futimens(fd, (struct timespec[]){ { 1000, 0 }, { 2000, 0 } }), "futimens");
	check(status_of_fd(fd).st_mtime == 2000, "its time is %ld",
	      (long)status_of_fd(fd).st_mtime);
}

static void unlinked_fallocate(void)
{
	int fd = unlinked();

	must(fallocate(fd, 0, 0, 1 << 16), "fallocate");
	check(status_of_fd(fd).st_size == 1 << 16, "its size is %ld",
	      (long)status_of_fd(fd).st_size);
}

static void unlinked_xattr(void)
{
	int fd = unlinked();
	char value[8] = "";

	must(fsetxattr(fd, "user.kiln", "value", 5, 0), "fsetxattr");
	must(fgetxattr(fd, "user.kiln", value, sizeof(value)), "fgetxattr");
	check(strcmp(value, "value") == 0, "the attribute is \"%s\"", value);
}

static void unlinked_reopen(void)
{
	char path[64], text[8] = "";
	int fd = unlinked();

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int again = (int)must(open(path, O_RDONLY | O_CLOEXEC), "open of /proc/self/fd/N");
	must(read(again, text, sizeof(text) - 1), "read");
	check(strcmp(text, "content") == 0, "it holds \"%s\"", text);
}

static void unlinked_write(void)
{
	char text[16] = "";
	int fd = unlinked();

	must(pwrite(fd, "CONT", 4, 0), "pwrite");
	must(fsync(fd), "fsync");
	must(pread(fd, text, sizeof(text) - 1, 0), "pread");
	check(strcmp(text, "CONTent") == 0, "it holds \"%s\"", text);
}

static void unlinked_mmap(void)
{
	int fd = unlinked();
	char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	check(map != MAP_FAILED, "mmap: %s", strerror(errno));
	check(memcmp(map, "content", 7) == 0, "the mapping holds something else");
	map[0] = 'C';
	must(msync(map, 4096, MS_SYNC), "msync");
}

static void unlinked_fexecve(void)
{
	char *argv[] = { (char[]){ "copy" }, (char[]){ "root" }, NULL };
	char *env[] = { NULL };

	copy_self("copy", 0755);
	int fd = (int)must(open("copy", O_RDONLY | O_CLOEXEC), "open");
	must(unlink("copy"), "unlink");
	pid_t pid = (pid_t)must(fork(), "fork");
	if (pid == 0) {
		fexecve(fd, argv, env);
		fail("fexecve: %s", strerror(errno));
	}
	expect_yes(pid, "root");
}

static void unlinked_folder(void)
{
	must(mkdir("folder", 0755), "mkdir");
	must(chdir("folder"), "chdir");
	must(rmdir("../folder"), "rmdir");
	must_not(mkdir("below", 0755), ENOENT, "mkdir in a removed folder");
	must_not(getcwd((char[4096]){}, 4096) ? 0 : -1, ENOENT, "getcwd in a removed folder");
	check(status_of_fd((int)must(open(".", O_RDONLY | O_CLOEXEC), "open of it")).st_nlink == 0,
	      "it has links");
}

/* What is asked of the descriptor has to go to the old file, not to the one with its name. */
static void replaced_file(void)
{
	int fd = make_file("conf", "old");

	close(make_file("conf.new", "the new one"));
	must(rename("conf.new", "conf"), "rename");
	must(ftruncate(fd, 0), "ftruncate");
	must(fchmod(fd, 0), "fchmod");
	must(fchown(fd, USER, USER), "fchown");
	must(futimens(fd, (struct timespec[]){ { 1, 0 }, { 1, 0 } }), "futimens");
	expect_content("conf", "the new one");
	struct stat st = status_of("conf");
	check((st.st_mode & 07777) == 0644, "the new file has mode %o", st.st_mode);
	check(st.st_uid == 0, "the new file has owner %u", st.st_uid);
	check(st.st_mtime > 1, "the new file has the old one's time");
}

const struct property unlinked_properties[] = {
	{ "unlinked_fstat", unlinked_fstat },     { "unlinked_ftruncate", unlinked_ftruncate },
	{ "unlinked_fchmod", unlinked_fchmod },   { "unlinked_fchown", unlinked_fchown },
	{ "unlinked_times", unlinked_times },     { "unlinked_fallocate", unlinked_fallocate },
	{ "unlinked_xattr", unlinked_xattr },     { "unlinked_reopen", unlinked_reopen },
	{ "unlinked_write", unlinked_write },     { "unlinked_mmap", unlinked_mmap },
	{ "unlinked_fexecve", unlinked_fexecve }, { "unlinked_folder", unlinked_folder },
	{ "replaced_file", replaced_file },       {},
};
