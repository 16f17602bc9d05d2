#include "agent/kernel_limits.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"

#define INOTIFY_WATCHES "/proc/sys/fs/inotify/max_user_watches"
#define IPV4            "/proc/sys/net/ipv4/"

enum { NUMBERS_MAX = 256, TCP_SEND_MAX = 4 << 20, TCP_RECEIVE_MAX = 6 << 20 };

static void set_limit(const char *path, const char *value)
{
	_cleanup_(error_done) struct error err = {};

	if (file_write_value(path, value, &err) < 0)
		log_warning(NULL, "a limit of the kernel stays: %s", error_message(&err));
}

/* Up to three numbers; how many there are. */
static int read_limit(const char *path, uint64_t numbers[static 3])
{
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *text = NULL;

	if (file_read(path, NUMBERS_MAX, &text, NULL, &err) < 0) {
		log_warning(NULL, "a limit of the kernel stays: %s", error_message(&err));
		return 0;
	}
	return sscanf(text, "%" SCNu64 " %" SCNu64 " %" SCNu64, &numbers[0], &numbers[1],
		      &numbers[2]);
}

/* 4194304 pids are the most that the kernel takes (PID_MAX_LIMIT of linux/threads.h), and there are
 * no more threads than pids. pid_max and file-max are those of a host with systemd. A watch of
 * inotify is reckoned to its container's memory; 1048576 are those of a large host. */
void kernel_limits_raise(void)
{
	uint64_t watches[3];

	set_limit("/proc/sys/kernel/pid_max", "4194304");
	set_limit("/proc/sys/kernel/threads-max", "4194304");
	set_limit("/proc/sys/fs/file-max", "9223372036854775807");
	if (read_limit(INOTIFY_WATCHES, watches) == 1 && watches[0] < 1048576)
		set_limit(INOTIFY_WATCHES, "1048576");
}

/* ---------------------------------------------------------------- buffers of sockets */

static void raise_triple(const char *path, const uint64_t wanted[static 3])
{
	uint64_t numbers[3];
	bool higher = false;

	if (read_limit(path, numbers) != 3)
		return;
	for (int i = 0; i < 3; i++) {
		higher |= wanted[i] > numbers[i];
		numbers[i] = wanted[i] > numbers[i] ? wanted[i] : numbers[i];
	}
	_cleanup_free_ char *text = xasprintf("%" PRIu64 " %" PRIu64 " %" PRIu64, numbers[0],
					      numbers[1], numbers[2]);
	if (higher)
		set_limit(path, text);
}

/* Of all sockets, in pages: up to the first nothing is held back, from the second on it is; the
 * third is the most. */
static void raise_sum(const char *path, uint64_t pages)
{
	raise_triple(path, (const uint64_t[]){ pages / 4 * 3, pages, pages / 4 * 3 * 2 });
}

/* Of one socket, in bytes: the least, at first, the most. */
static void raise_most(const char *path, uint64_t bytes, uint64_t ceiling)
{
	raise_triple(path, (const uint64_t[]){ 0, 0, bytes < ceiling ? bytes : ceiling });
}

void kernel_limits_follow_memory(void)
{
	struct sysinfo info;

	if (sysinfo(&info) < 0) {
		log_warning(NULL, "the memory is not known: %s", strerror(errno));
		return;
	}
	const uint64_t bytes = (uint64_t)info.totalram * info.mem_unit;
	const uint64_t pages = bytes / (uint64_t)sysconf(_SC_PAGESIZE);
	raise_sum(IPV4 "tcp_mem", pages / 16);
	raise_sum(IPV4 "udp_mem", pages / 8);
	raise_most(IPV4 "tcp_wmem", bytes / 128, TCP_SEND_MAX);
	raise_most(IPV4 "tcp_rmem", bytes / 128, TCP_RECEIVE_MAX);
}
