#include "agent/kernel_limits.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"

#define IPV4 "/proc/sys/net/ipv4/"

enum { TRIPLE_MAX = 256 };

static void set_limit(const char *path, const char *value)
{
	_cleanup_(error_done) struct error err = {};

	if (file_write_value(path, value, &err) < 0)
		log_warning(NULL, "a limit of the kernel stays: %s", error_message(&err));
}

/* 4194304 pids are the most that the kernel takes (PID_MAX_LIMIT of linux/threads.h), and there are
 * no more threads than pids. pid_max and file-max are those of a host with systemd. A watch of
 * inotify is reckoned to its container's memory; 1048576 are those of a large host. */
void kernel_limits_raise(void)
{
	set_limit("/proc/sys/kernel/pid_max", "4194304");
	set_limit("/proc/sys/kernel/threads-max", "4194304");
	set_limit("/proc/sys/fs/file-max", "9223372036854775807");
	set_limit("/proc/sys/fs/inotify/max_user_watches", "1048576");
}

/* ---------------------------------------------------------------- buffers of sockets */

struct triple {
	uint64_t low, middle, high;
};

static bool read_triple(const char *path, struct triple *ret)
{
	_cleanup_free_ char *text = NULL;

	return file_read(path, TRIPLE_MAX, &text, NULL, NULL) == 0 &&
	       sscanf(text, "%" SCNu64 " %" SCNu64 " %" SCNu64, &ret->low, &ret->middle,
		      &ret->high) == 3;
}

static void write_triple(const char *path, const struct triple *triple)
{
	_cleanup_free_ char *text = xasprintf("%" PRIu64 " %" PRIu64 " %" PRIu64, triple->low,
					      triple->middle, triple->high);

	set_limit(path, text);
}

/* Of all sockets, in pages: up to low nothing is held back, from middle on it is; high is the
 * most. */
static void raise_sum(const char *path, uint64_t pages)
{
	const struct triple wanted = { pages / 4 * 3, pages, pages / 4 * 3 * 2 };
	struct triple now;

	if (read_triple(path, &now) && now.middle < wanted.middle)
		write_triple(path, &wanted);
}

/* Of one socket, in bytes: the least, at first, the most. */
static void raise_most(const char *path, uint64_t bytes)
{
	struct triple now;

	if (!read_triple(path, &now) || now.high >= bytes)
		return;
	now.high = bytes;
	write_triple(path, &now);
}

void kernel_limits_follow_memory(void)
{
	struct sysinfo info;

	if (sysinfo(&info) < 0)
		return;
	const uint64_t bytes = (uint64_t)info.totalram * info.mem_unit;
	const uint64_t pages = bytes / (uint64_t)sysconf(_SC_PAGESIZE);
	const uint64_t share = bytes / 128;
	raise_sum(IPV4 "tcp_mem", pages / 16);
	raise_sum(IPV4 "udp_mem", pages / 8);
	raise_most(IPV4 "tcp_wmem", share < 4 << 20 ? share : 4 << 20);
	raise_most(IPV4 "tcp_rmem", share < 6 << 20 ? share : 6 << 20);
}
