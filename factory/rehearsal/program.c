/* What the throwaway container of warming runs (factory/vm/rehearsal.h): it asks the kernel for
 * what a common program asks for before and after its main() - thread, heap, a shared library's
 * mappings, its own name - and says one line. So a clone's kernel has been through all that when
 * a real container starts.
 *
 * It is a static program of its own, with no library: the root it runs in holds nothing else. What
 * a kernel refuses is passed over, as programs do with most of it. */
#include <asm/prctl.h>
#include <asm/unistd.h>
#include <fcntl.h>
#include <linux/rseq.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define PAGE           4096
#define TCGETS         0x5401
#define RSEQ_SIGNATURE 0x53053053 /* the C library's */

enum {
	HEAP_BYTES = 132 * 1024, /* malloc's first */
	READ_AHEAD_BYTES = 64 * 1024,
	ELF_HEADER_BYTES = 832, /* as the dynamic linker reads them */
};

static const char line[] = "done\n";
static char thread_area[512] __attribute__((aligned(64)));
static struct rseq restartable __attribute__((aligned(32)));
static int thread_id;
static char buffer[ELF_HEADER_BYTES];
static volatile char data = 1;         /* its page comes from the file, and is copied */
static volatile char zeroes[2 * PAGE]; /* these come with the program's bss */

static long call(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

#define CALL(number, a, b, c, d) call(number, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)

static void become_thread(void)
{
	static struct {
		void *next;
		long offset;
		void *pending;
	} robust = { &robust, 0, NULL };

	CALL(__NR_arch_prctl, ARCH_SET_FS, thread_area, 0, 0);
	CALL(__NR_set_tid_address, &thread_id, 0, 0, 0);
	CALL(__NR_set_robust_list, &robust, sizeof(robust), 0, 0);
	CALL(__NR_rseq, &restartable, sizeof(restartable), 0, RSEQ_SIGNATURE);
}

static void look_around(void)
{
	struct rlimit stack;
	struct stat output;

	CALL(__NR_prlimit64, 0, RLIMIT_STACK, NULL, &stack);
	CALL(__NR_readlinkat, AT_FDCWD, "/proc/self/exe", buffer, sizeof(buffer));
	CALL(__NR_getrandom, buffer, sizeof(long), GRND_NONBLOCK, 0);
	CALL(__NR_openat, AT_FDCWD, "/etc/ld.so.preload", O_RDONLY | O_CLOEXEC, 0);
	CALL(__NR_newfstatat, 1, "", &output, AT_EMPTY_PATH);
	CALL(__NR_ioctl, 1, TCGETS, buffer, 0);
}

static void grow_heap(void)
{
	long begin = CALL(__NR_brk, 0, 0, 0, 0);
	long end = CALL(__NR_brk, begin + HEAP_BYTES, 0, 0, 0);

	if (end > begin) {
		*(volatile char *)begin = 1;
		*(volatile char *)(end - 1) = 1;
	}
}

/* This file stands for the library: read a page here and there, written to in one place. */
static void map_library(const char *path)
{
	long fd = CALL(__NR_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	struct stat st = {};

	CALL(__NR_read, fd, buffer, ELF_HEADER_BYTES, 0);
	CALL(__NR_newfstatat, fd, "", &st, AT_EMPTY_PATH);
	long at = call(__NR_mmap, 0, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	CALL(__NR_close, fd, 0, 0, 0);
	if (at <= 0)
		return;
	for (long offset = 0; offset < st.st_size; offset += READ_AHEAD_BYTES)
		(void)*(volatile char *)(at + offset);
	if (CALL(__NR_mprotect, at, PAGE, PROT_READ | PROT_WRITE, 0) == 0)
		*(volatile char *)at = 1;
	CALL(__NR_mprotect, at, PAGE, PROT_READ, 0);
	CALL(__NR_munmap, at + PAGE, st.st_size - PAGE, 0, 0);
}

_Noreturn void _start(void);

__attribute__((force_align_arg_pointer)) void _start(void)
{
	become_thread();
	look_around();
	grow_heap();
	data = zeroes[PAGE] = 1;
	map_library("/proc/self/exe");
	CALL(__NR_write, 1, line, sizeof(line) - 1, 0);
	for (;;)
		CALL(__NR_exit_group, 0, 0, 0, 0);
}
