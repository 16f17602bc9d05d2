/* What a confined process may do no more, and what it still can. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/loop.h"
#include "base/memory.h"

static pid_t test_pid; /* somebody to send signals to */

/* Runs it in a confined child; its status, a signal as a shell has it. */
static int confined(int (*fn)(int fd), int fd)
{
	int status;
	pid_t child = fork();

	if (child == 0)
		_exit(confine(NULL) < 0 ? 99 : fn(fd));
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files_are_out_of_reach),
		cmocka_unit_test(test_other_processes_are_out_of_reach),
		cmocka_unit_test(test_nobody_else_can_be_called),
		cmocka_unit_test(test_what_there_is_goes_on),
		cmocka_unit_test(test_another_numbering_is_the_end),
	};

	test_pid = getpid();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
