/* kiln-files-work SCALE TIMES: the work that the scenario `files` measures
 * (bench/scenario_files.c), below /work of the root it runs in: each kind once, in order, and all
 * of it TIMES times. SCALE is how much of it, in percent.
 *
 * Prints "NAME NANOSECONDS" for each kind, each time. It is static and runs in a container by any
 * runtime, and in a machine that has nothing else. What it works on is in /data
 * (bench/files-image). */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PLACE       "/work"
#define MIB         (1 << 20)
#define WRITTEN     (200 * (uint64_t)MIB)
#define COMPUTED    50000000 /* steps */
#define SMALL       4096
#define SMALLS      5000
#define FILES       2000
#define TAR_FOLDERS 60 /* of 50 files each */
#define MAPPED      (32 * (uint64_t)MIB)
#define MANY        200 /* folders, of 100 files each */
#define SCALE_MOST  100
#define TIMES_MOST  100

static uint64_t scale; /* percent */
static char block[MIB];

/* ---------------------------------------------------------------- helpers */

static _Noreturn void give_up(const char *what)
{
	fprintf(stderr, "kiln-files-work: %s: %s\n", what, strerror(errno));
	exit(1);
}

static long must(long result, const char *what)
{
	if (result < 0)
		give_up(what);
	return result;
}

static uint64_t share_of(uint64_t whole)
{
	uint64_t part = whole * scale / 100;

	return part > 0 ? part : 1;
}

static void run_program(char *const *argv)
{
	int status = 0;
	pid_t pid = (pid_t)must(fork(), "fork");

	if (pid == 0) {
		execvp(argv[0], argv);
		give_up(argv[0]);
	}
	must(waitpid(pid, &status, 0), "waitpid");
	if (status != 0) {
		errno = ECHILD;
		give_up(argv[0]);
	}
}

#define RUN(...) run_program((char *const *)(const char *const[]){ __VA_ARGS__, NULL })

/* ---------------------------------------------------------------- the work */

/* No file is touched: what the machine itself makes of the same instructions. */
static void compute(void)
{
	uint32_t x = 1;

	for (uint64_t i = 0; i < share_of(COMPUTED); i++)
		x = x * 1664525 + (x >> 7) + (uint32_t)i;
	__asm__ volatile("" : : "r"(x)); /* so that it is not left out */
}

static void write_large(void)
{
	int fd = (int)must(open("large", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), "large");

	for (uint64_t i = 0; i < share_of(WRITTEN / MIB); i++)
		must(write(fd, block, MIB), "write");
	must(fsync(fd), "fsync");
	/* What is read next is to come from below. */
	must(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0 ? 0 : -1, "posix_fadvise");
	close(fd);
}

static void read_large(void)
{
	int fd = (int)must(open("large", O_RDONLY | O_CLOEXEC), "large");

	while (must(read(fd, block, MIB), "read") > 0)
		;
	close(fd);
	must(unlink("large"), "unlink");
}

static void write_small(void)
{
	int fd = (int)must(open("small", O_WRONLY | O_CREAT | O_CLOEXEC, 0644), "small");

	for (uint64_t i = 0; i < share_of(SMALLS); i++)
		must(write(fd, block, SMALL), "write");
	close(fd);
}

static const char *file_name(uint64_t i)
{
	static char name[32];

	snprintf(name, sizeof(name), "files/%" PRIu64, i);
	return name;
}

static void make_files(void)
{
	must(mkdir("files", 0755), "mkdir");
	for (uint64_t i = 0; i < share_of(FILES); i++)
		close((int)must(open(file_name(i), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644),
				"a new file"));
}

static int visit(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)path;
	(void)st;
	(void)type;
	(void)ftw;
	return 0;
}

static void walk(const char *folder)
{
	must(nftw(folder, visit, 16, FTW_PHYS), folder);
}

static void find_files(void)
{
	walk("files");
}

static void remove_files(void)
{
	for (uint64_t i = 0; i < share_of(FILES); i++)
		must(unlink(file_name(i)), "unlink");
}

static void untar(void)
{
	static char names[TAR_FOLDERS][16];
	const char *argv[TAR_FOLDERS + 4] = { "tar", "-xf", "/data/tree.tar" };

	for (uint64_t i = 0; i < share_of(TAR_FOLDERS); i++) {
		snprintf(names[i], sizeof(names[i]), "tree/%" PRIu64, i);
		argv[3 + i] = names[i];
	}
	run_program((char *const *)argv);
}

static void tar(void)
{
	RUN("tar", "-cf", "again.tar", "tree");
}

static void remove_tree(void)
{
	RUN("rm", "-rf", "tree");
}

static void git_clone(void)
{
	RUN("git", "clone", "-q", "--no-hardlinks", "/data/repository", "clone");
}

static void git_gc(void)
{
	RUN("git", "-C", "clone", "gc", "-q");
}

static void map_shared(void)
{
	uint64_t size = share_of(MAPPED / MIB) * MIB;
	int fd = (int)must(open("mapped", O_RDWR | O_CREAT | O_CLOEXEC, 0644), "mapped");

	must(ftruncate(fd, (off_t)size), "ftruncate");
	char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		give_up("mmap");
	memset(map, 'm', size);
	must(msync(map, size, MS_SYNC), "msync");
	munmap(map, size);
	close(fd);
}

static void walk_many(void)
{
	char folder[32];

	for (uint64_t i = 0; i < share_of(MANY); i++) {
		snprintf(folder, sizeof(folder), "/data/many/%" PRIu64, i);
		walk(folder);
	}
}

/* ---------------------------------------------------------------- the run */

/* The names are those of bench/scenario_files.c. */
static const struct work {
	const char *name;
	void (*run)(void);
} works[] = {
	{ "cpu", compute },         { "write", write_large },   { "read", read_large },
	{ "small", write_small },   { "make", make_files },     { "find", find_files },
	{ "remove", remove_files }, { "untar", untar },         { "tar", tar },
	{ "rm", remove_tree },      { "git-clone", git_clone }, { "git-gc", git_gc },
	{ "mmap", map_shared },     { "walk", walk_many },
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* It prints a line itself: what Python takes to start is not the file system's. */
static void sqlite(void)
{
	char rows[24];

	snprintf(rows, sizeof(rows), "%" PRIu64, share_of(200));
	RUN("python3", "/data/sqlite.py", rows);
}

/* What is left of it goes, and is not measured. */
static void do_all(void)
{
	must(mkdir(PLACE, 0755), PLACE);
	must(chdir(PLACE), PLACE);
	for (size_t i = 0; i < sizeof(works) / sizeof(works[0]); i++) {
		uint64_t begun = now_ns();

		works[i].run();
		printf("%s %" PRIu64 "\n", works[i].name, now_ns() - begun);
		fflush(stdout);
	}
	sqlite();
	must(chdir("/"), "/");
	RUN("rm", "-rf", PLACE);
}

static uint64_t parse(const char *text, uint64_t largest)
{
	char *end = NULL;
	uint64_t value = strtoul(text, &end, 10);

	if (value >= 1 && value <= largest && *end == '\0')
		return value;
	fprintf(stderr, "kiln-files-work: \"%s\" is not a number from 1 to %" PRIu64 "\n", text,
		largest);
	exit(2);
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: %s SCALE TIMES\n", argv[0]);
		return 2;
	}
	scale = parse(argv[1], SCALE_MOST);
	uint64_t times = parse(argv[2], TIMES_MOST);
	must(setenv("HOME", PLACE, 1), "HOME");
	must(setenv("GIT_TEMPLATE_DIR", "", 1), "GIT_TEMPLATE_DIR"); /* the image has none */
	for (uint64_t i = 0; i < times; i++)
		do_all();
	return 0;
}
