/* Bytes: room, holes, mappings, locks, several processes at one file. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/probe/probe.h"

#define BLOCK ((off_t)4096)
#define GIB   ((off_t)1 << 30)

/* ---------------------------------------------------------------- room and holes */

static void fallocate_keep_size(void)
{
	int fd = make_file("file", "");

	must(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 16 * BLOCK), "fallocate");
	struct stat st = status_of("file");
	check(st.st_size == 0, "its size is %ld", (long)st.st_size);
	check(st.st_blocks * 512 >= 16 * BLOCK, "it has %ld blocks", (long)st.st_blocks);
}

static void fallocate_punch_hole(void)
{
	char block[BLOCK], zeroes[BLOCK];
	int fd = make_file("file", "");

	memset(block, 'x', sizeof(block));
	memset(zeroes, 0, sizeof(zeroes));
	for (int i = 0; i < 16; i++)
		must(write(fd, block, sizeof(block)), "write");
	must(fsync(fd), "fsync");
	blkcnt_t before = status_of("file").st_blocks;
	must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * BLOCK, 8 * BLOCK),
	     "fallocate");
	must(pread(fd, block, sizeof(block), 5 * BLOCK), "pread");
	check(memcmp(block, zeroes, sizeof(block)) == 0, "the hole has bytes");
	struct stat st = status_of("file");
	check(st.st_size == 16 * BLOCK, "its size is %ld", (long)st.st_size);
	check(st.st_blocks < before, "it has as many blocks as before");
}

static void sparse_file(void)
{
	char byte = 0;
	int fd = make_file("file", "");

	must(pwrite(fd, "x", 1, 5 * GIB), "pwrite beyond 4 GiB");
	must(pread(fd, &byte, 1, 5 * GIB), "pread");
	check(byte == 'x', "the byte is %d", byte);
	must(fsync(fd), "fsync");
	struct stat st = status_of("file");
	check(st.st_size == 5 * GIB + 1 && st.st_blocks < 1000, "size %ld, blocks %ld",
	      (long)st.st_size, (long)st.st_blocks);
	off_t data = must(lseek(fd, 0, SEEK_DATA), "SEEK_DATA");
	check(data > GIB && data <= 5 * GIB, "its data begins at %ld", (long)data);
	must(ftruncate(fd, 1), "ftruncate");
	check(status_of("file").st_size == 1, "ftruncate leaves %ld",
	      (long)status_of("file").st_size);
}

static void file_without_a_name(void)
{
	char path[64];
	int fd = (int)must(open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0644), "O_TMPFILE");

	must(write(fd, "text", 4), "write");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	must(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW), "linkat");
	expect_content("named", "text");
	check(status_of("named").st_nlink == 1, "it has %lu links",
	      (unsigned long)status_of("named").st_nlink);
}

static void copy_file_ranges(void)
{
	int from = make_file("from", "a text");
	int to = make_file("to", "");

	check(must(copy_file_range(from, &(off64_t){ 2 }, to, NULL, 4, 0), "copy_file_range") == 4,
	      "it copies less");
	expect_content("to", "text");
}

static void direct_io(void)
{
	char *block = aligned_alloc(BLOCK, BLOCK);
	int fd = (int)must(open("file", O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0644), "O_DIRECT");

	memset(block, 'd', BLOCK);
	must(write(fd, block, BLOCK), "write");
	memset(block, 0, BLOCK);
	must(pread(fd, block, BLOCK, 0), "pread");
	check(block[0] == 'd' && block[BLOCK - 1] == 'd', "the block is another");
	free(block);
}

static void room_is_told(void)
{
	struct statvfs st;

	must(statvfs(".", &st), "statvfs");
	check(st.f_blocks > 0 && st.f_bavail > 0 && st.f_bsize >= 512, "%lu of %lu blocks are free",
	      (unsigned long)st.f_bavail, (unsigned long)st.f_blocks);
	check(st.f_namemax == 255, "names may have %lu bytes", st.f_namemax);
}

static void synchronised(void)
{
	int fd = make_file("file", "text");

	must(fdatasync(fd), "fdatasync");
	must(sync_file_range(fd, 0, 4, SYNC_FILE_RANGE_WRITE), "sync_file_range");
	must(syncfs(fd), "syncfs");
	must(fsync((int)must(open(".", O_RDONLY | O_CLOEXEC), "open")), "fsync of a folder");
}

static void busy_program(void)
{
	copy_self("copy", 0755);
	int fd = (int)must(open("copy", O_WRONLY | O_CLOEXEC), "open");
	must_not(execl("./copy", "copy", "root", (char *)NULL), ETXTBSY, "exec of a written file");
	close(fd);
	expect_run("./copy", "root");
}

/* ---------------------------------------------------------------- mappings */

static char *map_shared(const char *name, size_t size)
{
	int fd = (int)must(open(name, O_RDWR | O_CLOEXEC), name);
	char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	check(map != MAP_FAILED, "mmap: %s", strerror(errno));
	close(fd);
	return map;
}

static void write_to_mapping(void *data _unused_)
{
	char *map = map_shared("file", 1 << 20);

	memcpy(map + 500000, "mapped", 7);
}

static void shared_mapping(void)
{
	char text[8] = "";
	int fd = make_file("file", "");

	must(ftruncate(fd, 1 << 20), "ftruncate");
	const char *map = map_shared("file", 1 << 20);
	join(start(write_to_mapping, NULL));
	check(memcmp(map + 500000, "mapped", 7) == 0, "another process' bytes are not there");
	must(pread(fd, text, 7, 500000), "pread");
	check(strcmp(text, "mapped") == 0, "read(2) does not see the mapping's bytes");
	must(pwrite(fd, "file", 4, 0), "pwrite");
	check(memcmp(map, "file", 4) == 0, "the mapping does not see write(2)'s bytes");
}

static void read_beyond_end(void *data)
{
	volatile char *map = data;

	(void)map[BLOCK];
}

static void mapping_beyond_the_end(void)
{
	int status;

	close(make_file("file", "short"));
	char *map = map_shared("file", 2 * BLOCK);
	check(map[BLOCK - 1] == 0, "the rest of the last page is not zero");
	pid_t pid = start(read_beyond_end, map);
	must(waitpid(pid, &status, 0), "waitpid");
	check(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "no SIGBUS beyond the end");
}

/* ---------------------------------------------------------------- locks */

static int open_file(void)
{
	return (int)must(open("file", O_RDWR | O_CLOEXEC), "open");
}

static void expect_flock(void *held)
{
	int result = flock(open_file(), LOCK_EX | LOCK_NB);

	if (*(bool *)held)
		must_not(result, EWOULDBLOCK, "flock of what another process has locked");
	else
		must(result, "flock");
}

static void flock_between_processes(void)
{
	bool held = true;
	int fd = make_file("file", "");

	must(flock(fd, LOCK_EX), "flock");
	join(start(expect_flock, &held));
	must(flock(fd, LOCK_UN), "flock");
	held = false;
	join(start(expect_flock, &held));
}

static int lock_record(int fd, int command, short type, off_t at)
{
	return fcntl(fd, command, &(struct flock){ .l_type = type, .l_start = at, .l_len = 10 });
}

static void expect_record_locked(void *data _unused_)
{
	struct flock lock = { .l_type = F_WRLCK, .l_start = 5, .l_len = 10 };
	int fd = open_file();

	must_not(lock_record(fd, F_SETLK, F_WRLCK, 5), EAGAIN, "lock of a locked record");
	must(fcntl(fd, F_GETLK, &lock), "F_GETLK");
	check(lock.l_type == F_WRLCK && lock.l_pid == getppid(), "F_GETLK tells of process %d",
	      lock.l_pid);
	must(lock_record(fd, F_SETLK, F_WRLCK, 100), "lock of another record");
	must(lock_record(fd, F_SETLKW, F_WRLCK, 5), "waiting for a lock");
}

static void record_locks(void)
{
	int fd = make_file("file", "");

	must(lock_record(fd, F_SETLK, F_WRLCK, 0), "F_SETLK");
	pid_t pid = start(expect_record_locked, NULL);
	check(poll(NULL, 0, 200) == 0, "poll");
	check(must(waitpid(pid, &(int){ 0 }, WNOHANG), "waitpid") == 0,
	      "the other process does not wait for the lock");
	must(lock_record(fd, F_SETLK, F_UNLCK, 0), "unlock");
	join(pid);
}

static void open_file_locks(void)
{
	int fd = make_file("file", "");

	must(lock_record(fd, F_OFD_SETLK, F_WRLCK, 0), "F_OFD_SETLK");
	must_not(lock_record(open_file(), F_OFD_SETLK, F_WRLCK, 0), EAGAIN,
		 "lock by another open of the file");
}

/* ---------------------------------------------------------------- several writers */

#define LINES 300

static void append_lines(void *letter)
{
	char line[8];
	int len;

	for (int i = 0; i < LINES; i++) {
		int fd = (int)must(open("log", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644),
				   "open for appending");

		len = snprintf(line, sizeof(line), "%c%d\n", *(char *)letter, i);
		must(write(fd, line, (size_t)len), "write");
		must(close(fd), "close");
	}
}

static void two_processes_append(void)
{
	char line[64];
	int next[2] = {}, number;
	pid_t one = start(append_lines, (char[]){ "a" });
	pid_t two = start(append_lines, (char[]){ "b" });

	join(one);
	join(two);
	FILE *file = open_lines("log");
	while (fgets(line, sizeof(line), file)) {
		bool is_line = (line[0] == 'a' || line[0] == 'b') && line[1] >= '0' &&
			       line[1] <= '9';
		number = is_line ? atoi(line + 1) : -1;
		check(is_line && number == next[line[0] - 'a']++, "a torn or lost line: %s", line);
	}
	fclose(file);
	check(next[0] == LINES && next[1] == LINES, "%d and %d of %d lines", next[0], next[1],
	      LINES);
}

static void exclusive_creation(void)
{
	close(make_file("file", ""));
	must_not(open("file", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0644), EEXIST, "O_EXCL");
}

const struct property data_properties[] = {
	{ "fallocate_keep_size", fallocate_keep_size },
	{ "fallocate_punch_hole", fallocate_punch_hole },
	{ "sparse_file", sparse_file },
	{ "file_without_a_name", file_without_a_name },
	{ "copy_file_ranges", copy_file_ranges },
	{ "direct_io", direct_io },
	{ "room_is_told", room_is_told },
	{ "synchronised", synchronised },
	{ "busy_program", busy_program },
	{ "shared_mapping", shared_mapping },
	{ "mapping_beyond_the_end", mapping_beyond_the_end },
	{ "flock_between_processes", flock_between_processes },
	{ "record_locks", record_locks },
	{ "open_file_locks", open_file_locks },
	{ "two_processes_append", two_processes_append },
	{ "exclusive_creation", exclusive_creation },
	{},
};
