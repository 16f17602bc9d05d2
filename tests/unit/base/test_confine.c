/* What a confined process may do no more, and what it still can. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/file.h"
#include "base/loop.h"
#include "base/memory.h"

static pid_t test_pid; /* somebody to send signals to */

/* Runs it in a child; its status, a signal as a shell has it. */
static int in_child(int (*fn)(int fd), int fd)
{
	int status;
	pid_t child = fork();

	if (child == 0)
		_exit(fn(fd));
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int (*tried)(int fd);

static int confine_and_try(int fd)
{
	return confine(NULL) < 0 ? 99 : tried(fd);
}

static int confined(int (*fn)(int fd), int fd)
{
	tried = fn;
	return in_child(confine_and_try, fd);
}

#define REFUSED(call)                                                                              \
	do {                                                                                       \
		errno = 0;                                                                         \
		if ((call) != -1 || errno != EPERM) {                                              \
			fprintf(stderr, "not refused: " #call "\n");                               \
			return 1;                                                                  \
		}                                                                                  \
	} while (0)

static int try_files(int fd _unused_)
{
	REFUSED(open("/dev/null", O_RDONLY));
	REFUSED(creat("/tmp/kiln-test-confined", 0600));
	REFUSED(unlink("/tmp/kiln-test-confined"));
	REFUSED(chmod("/tmp", 01777));
	REFUSED(mount("none", "/tmp", "tmpfs", 0, NULL));
	return 0;
}

static int try_processes(int fd _unused_)
{
	char *const argv[] = { (char *)(uintptr_t) "true", NULL };

	REFUSED(execv("/bin/true", argv));
	REFUSED(syscall(SYS_execveat, AT_FDCWD, "/bin/true", argv, NULL, 0));
	REFUSED(fork());
	REFUSED(kill(test_pid, 0));
	REFUSED((int)ptrace(PTRACE_TRACEME, 0, NULL, NULL));
	return 0;
}

static int try_sockets(int fd)
{
	const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/nowhere" };
	int pair[2];

	REFUSED(socket(AF_UNIX, SOCK_STREAM, 0));
	REFUSED(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	REFUSED(connect(fd, (const struct sockaddr *)&address, sizeof(address)));
	REFUSED(ioctl(fd, TIOCSTI, "x"));
	return 0;
}

/* The loop is the test's own, made before. */
static struct loop *loop;

static int try_work(int fd)
{
	bool never = false;
	char byte;

	if (read(fd, &byte, 1) != 1 || byte != 'a' || write(fd, "b", 1) != 1)
		return 1;
	char *much = xcalloc(1, 32 << 20);
	free(much);
	(void)loop_run_until(loop, &never, 20);
	fputs("", stderr);
	return 42;
}

/* The numbers of 32-bit programs are others: 5 is open(2) there. */
static int try_another_numbering(int fd _unused_)
{
	long result = 5;

	__asm__ volatile("int $0x80" : "+a"(result) : "b"(0), "c"(0), "d"(0) : "memory");
	return 1;
}

static void test_files_are_out_of_reach(void **state _unused_)
{
	assert_int_equal(confined(try_files, -1), 0);
}

static void test_other_processes_are_out_of_reach(void **state _unused_)
{
	assert_int_equal(confined(try_processes, -1), 0);
}

static void test_nobody_else_can_be_called(void **state _unused_)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(confined(try_sockets, fd), 0);
	close(fd);
}

static void test_what_there_is_goes_on(void **state _unused_)
{
	int pair[2];
	char byte = 0;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	loop = loop_new();
	assert_int_equal(write(pair[0], "a", 1), 1);
	assert_int_equal(confined(try_work, pair[1]), 42);
	assert_int_equal(read(pair[0], &byte, 1), 1);
	assert_int_equal(byte, 'b');
	loop_free(loop);
	close(pair[0]);
	close(pair[1]);
}

/* SIGSEGV: the kernel has no such programs. */
static void test_another_numbering_is_the_end(void **state _unused_)
{
	int status = confined(try_another_numbering, -1);

	assert_true(status == 128 + SIGSYS || status == 128 + SIGSEGV);
}

/* ---------------------------------------------------------------- groups of system calls */

/* Others than those of the groups that were asked for are left. */
static int try_without_the_host(int fd _unused_)
{
	if (confine_calls(CONFINE_HOST, NULL) < 0)
		return 99;
	REFUSED(sethostname("kiln-test", 9));
	REFUSED(adjtimex(&(struct timex){}));
	REFUSED((int)syscall(SYS_init_module, NULL, 0, ""));
	if (unshare(CLONE_FILES) < 0 || kill(test_pid, 0) < 0)
		return 2;
	return execl("/bin/true", "true", NULL);
}

static int try_without_corners(int fd _unused_)
{
	const int used[] = { AF_UNIX, AF_INET, AF_NETLINK };

	if (confine_calls(CONFINE_CORNERS | CONFINE_PROCESSES | CONFINE_MOUNTS, NULL) < 0)
		return 99;
	REFUSED((int)syscall(SYS_io_uring_setup, 1, NULL));
	REFUSED((int)syscall(SYS_keyctl, 0, 0, 0, 0, 0));
	REFUSED((int)syscall(SYS_perf_event_open, NULL, 0, 0, 0, 0));
	REFUSED((int)ptrace(PTRACE_TRACEME, 0, NULL, NULL));
	REFUSED(unshare(CLONE_NEWUSER));
	REFUSED(mount("none", "/tmp", "tmpfs", 0, NULL));
	REFUSED(socket(AF_ALG, SOCK_SEQPACKET, 0));
	REFUSED(socket(AF_PACKET, SOCK_RAW, 0));
	REFUSED(socket(AF_MAX + 3, SOCK_RAW, 0));
	for (size_t i = 0; i < ARRAY_SIZE(used); i++) {
		int made = socket(used[i], SOCK_DGRAM | SOCK_CLOEXEC, 0);

		if (made < 0)
			return 2;
		close(made);
	}
	pid_t child = fork();
	if (child == 0)
		_exit(0);
	return child > 0 && waitpid(child, NULL, 0) == child ? 0 : 3;
}

static void test_the_host_as_a_whole_is_refused(void **state _unused_)
{
	assert_int_equal(in_child(try_without_the_host, -1), 0);
}

static void test_corners_of_the_kernel_are_refused(void **state _unused_)
{
	assert_int_equal(in_child(try_without_corners, -1), 0);
}

/* ---------------------------------------------------------------- places */

#define FAILS_WITH(number, call)                                                                   \
	do {                                                                                       \
		errno = 0;                                                                         \
		if ((call) != -1 || errno != (number)) {                                           \
			fprintf(stderr, "not refused: " #call ": %s\n", strerror(errno));          \
			return 1;                                                                  \
		}                                                                                  \
	} while (0)

enum { NO_LANDLOCK = 77 };

/* A port that nobody listens at says ECONNREFUSED to who may ask. */
static bool asks_by_tcp(int tcp, uint16_t port)
{
	const struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };

	return connect(tcp, (const struct sockaddr *)&address, sizeof(address)) == 0 ||
	       errno != EACCES;
}

/* In a folder with "mine/a" and "mine/b", which are folders, "other", which is one too, and "file".
 */
static int try_places(int fd _unused_)
{
	bool done, knows_tcp = syscall(SYS_landlock_create_ruleset, NULL, 0,
				       LANDLOCK_CREATE_RULESET_VERSION) >= 4;

	if (confine_writes("mine", 10, &done, NULL) < 0)
		return 99;
	if (!done)
		return NO_LANDLOCK;
	FAILS_WITH(EACCES, creat("other/new", 0600));
	FAILS_WITH(EACCES, open("file", O_WRONLY));
	FAILS_WITH(EACCES, unlink("file"));
	FAILS_WITH(EACCES, mkdir("more", 0700));
	FAILS_WITH(EACCES, rmdir("other"));
	int made = creat("mine/a/new", 0600), read_only = open("file", O_RDONLY);
	int null = open("/dev/null", O_WRONLY), tcp = socket(AF_INET, SOCK_STREAM, 0);
	if (made < 0 || read_only < 0 || null < 0 || tcp < 0)
		return 2;
	if (knows_tcp && (asks_by_tcp(tcp, 9) || !asks_by_tcp(tcp, 10)))
		return 3;
	FAILS_WITH(EACCES, rename("mine/a/new", "other/new"));
	return rename("mine/a/new", "mine/b/new") == 0 && unlink("mine/b/new") == 0 ? 0 : 4;
}

static void test_what_is_elsewhere_cannot_be_changed(void **state _unused_)
{
	char dir[] = "/tmp/kiln-test-confine.XXXXXX";
	int before = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);

	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(mkdir("mine", 0700) | mkdir("mine/a", 0700) | mkdir("mine/b", 0700) |
				 mkdir("other", 0700) | close(creat("file", 0600)),
			 0);
	int status = in_child(try_places, -1);
	assert_int_equal(fchdir(before), 0);
	close(before);
	assert_int_equal(path_remove(dir, NULL), 0);
	if (status == NO_LANDLOCK)
		skip();
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files_are_out_of_reach),
		cmocka_unit_test(test_other_processes_are_out_of_reach),
		cmocka_unit_test(test_nobody_else_can_be_called),
		cmocka_unit_test(test_what_there_is_goes_on),
		cmocka_unit_test(test_another_numbering_is_the_end),
		cmocka_unit_test(test_the_host_as_a_whole_is_refused),
		cmocka_unit_test(test_corners_of_the_kernel_are_refused),
		cmocka_unit_test(test_what_is_elsewhere_cannot_be_changed),
	};

	test_pid = getpid();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
