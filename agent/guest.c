#include "agent/guest.h"

#include <fcntl.h>
#include <linux/random.h>
#include <sys/ioctl.h>
#include <time.h>

#include "base/file.h"

#define MEMORY_FOLDER "/sys/devices/system/memory/"

enum { USEC_PER_SEC = 1000000, NSEC_PER_USEC = 1000, NUMBER_MAX = 64 };

int guest_reseed(const void *data, size_t len, struct error *err)
{
	_cleanup_close_ int fd = -EBADF;

	if (len == 0 || len > GUEST_SEED_MAX)
		return error_set(err, EINVAL, "a seed has 1 to %d bytes, not %zu", GUEST_SEED_MAX,
				 len);
	fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return error_set_errno(err, errno, "cannot open /dev/urandom");

	int r = write_full(fd, data, len);
	if (r < 0)
		return error_set_errno(err, r, "cannot write to /dev/urandom");
	/* Without this the old state goes on for up to a minute. */
	if (ioctl(fd, RNDRESEEDCRNG) < 0)
		return error_set_errno(err, errno, "cannot reseed the random generator");
	return 0;
}

int guest_set_time(int64_t sec, int64_t usec, struct error *err)
{
	if (sec < 0 || usec < 0 || usec >= USEC_PER_SEC)
		return error_set(err, EINVAL, "not a point in time");
	const struct timespec now = { .tv_sec = sec, .tv_nsec = usec * NSEC_PER_USEC };
	if (clock_settime(CLOCK_REALTIME, &now) < 0)
		return error_set_errno(err, errno, "cannot set the clock");
	return 0;
}

uint64_t guest_memory_block_size(void)
{
	_cleanup_free_ char *text = NULL;
	char *end;

	if (file_read(MEMORY_FOLDER "block_size_bytes", NUMBER_MAX, &text, NULL, NULL) < 0)
		return 0;

	uint64_t size = strtoull(text, &end, 16);

	return end == text ? 0 : size;
}

bool guest_can_probe_memory(void)
{
	return path_exists(MEMORY_FOLDER "probe");
}
