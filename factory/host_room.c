#include "factory/host_room.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/strings.h"

#define MEMINFO_MAX (64 * 1024)

static int64_t meminfo_available_mib(void)
{
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *text = NULL;

	int r = file_read("/proc/meminfo", MEMINFO_MAX, &text, NULL, &err);
	if (r < 0)
		return r;
	const char *line = strstr(text, "MemAvailable:");
	if (!line)
		return -ENOENT;
	return (int64_t)(strtoull(line + strlen("MemAvailable:"), NULL, 10) / 1024);
}

/* A host that does not tell its memory is not held against the claims. */
static int memory_check(const struct host_room *room, struct error *err)
{
	int64_t available = room->available_mib ? room->available_mib() : meminfo_available_mib();

	if (available < 0 || (uint64_t)available >= room->min_free_mib)
		return 0;
	return error_set(err, EAGAIN,
			 "the host has %" PRId64 " MiB of memory left, less than the %" PRIu64
			 " MiB of min_free_mib",
			 available, room->min_free_mib);
}

int host_room_check(const struct host_room *room, unsigned count, const char **ret_reason,
		    struct error *err)
{
	if (room->vms + count > room->max_vms) {
		*ret_reason = "max_vms";
		return error_set(err, EAGAIN,
				 "%" PRIu64 " machines are in use of %" PRIu64 " (max_vms)",
				 room->vms, room->max_vms);
	}
	if (room->min_free_mib == 0)
		return 0;
	int r = memory_check(room, err);
	if (r < 0)
		*ret_reason = "min_free_mib";
	return r;
}
