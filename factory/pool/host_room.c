#include "factory/pool/host_room.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/strings.h"

#define MEMINFO_MAX (64 * 1024)

/* The number of one line of /proc/meminfo, in MiB. */
static int64_t meminfo_mib(const char *key)
{
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *text = NULL;

	int r = file_read("/proc/meminfo", MEMINFO_MAX, &text, NULL, &err);
	if (r < 0)
		return r;
	const char *line = strstr(text, key);
	if (!line)
		return -ENOENT;
	return (int64_t)(strtoull(line + strlen(key), NULL, 10) / 1024);
}

static int64_t available_mib(const struct host_room *room)
{
	return room->available_mib ? room->available_mib() : meminfo_mib("MemAvailable:");
}

/* A host that does not tell its memory is not held against the claims. */
static int memory_check(const struct host_room *room, struct error *err)
{
	int64_t available = available_mib(room);

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

/* ---------------------------------------------------------------- what is taken up */

static void count(struct host_room *room, enum room_use use, int by)
{
	switch (use) {
	case ROOM_NONE:
		return;
	case ROOM_SPARE:
		room->spares += (uint64_t)by;
		return;
	case ROOM_COMING:
		room->coming += (uint64_t)by;
		break;
	case ROOM_BOOT:
		room->boots += (uint64_t)by;
		break;
	case ROOM_VM:
		break;
	}
	room->vms += (uint64_t)by;
}

void host_room_change(struct host_room *room, enum room_use from, enum room_use to)
{
	count(room, from, -1);
	count(room, to, 1);
}

bool host_room_lack(struct host_room *room, bool lacking)
{
	room->lacking += lacking ? 1 : -1u;
	return room->lacking == 0;
}

/* ---------------------------------------------------------------- sizes */

static struct vm_size host_size(const struct host_room *room)
{
	if (room->host_size)
		return room->host_size();
	int64_t memory_mib = meminfo_mib("MemTotal:");
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	return (struct vm_size){
		.vcpus = cpus > 0 ? (uint32_t)cpus : 1,
		.memory_mib = memory_mib > 0 ? (uint32_t)memory_mib : UINT32_MAX,
	};
}

static int check_most(const char *what, uint32_t wanted, uint32_t set, const char *key,
		      uint32_t host, struct error *err)
{
	uint32_t most = set > 0 ? set : host;

	if (wanted <= most)
		return 0;
	return error_set(err, EINVAL, "%u %s are wanted, and a claim gets %u at most (%s)", wanted,
			 what, most, set > 0 ? key : "the host has no more");
}

/* Where the configuration names no limit the host's own size is it. */
int host_room_check_size(const struct host_room *room, const struct vm_size *size,
			 struct error *err)
{
	const struct vm_size *set = &room->max_size;

	if (size->vcpus == 0 && size->memory_mib == 0)
		return 0;
	struct vm_size host = host_size(room);
	int r = check_most("vCPUs", size->vcpus, set->vcpus, "max_vcpus", host.vcpus, err);
	return r < 0 ? r
		     : check_most("MiB", size->memory_mib, set->memory_mib, "max_memory_mib",
				  host.memory_mib, err);
}

static int check_fits_host(const struct host_room *room, const struct vm_size *size,
			   struct error *err)
{
	struct vm_size host = host_size(room);

	if (vm_size_holds(&host, size))
		return 0;
	return error_set(err, EINVAL,
			 "no template fits %u vCPUs and %u MiB, and the host has no more than %u "
			 "and %u",
			 size->vcpus, size->memory_mib, host.vcpus, host.memory_mib);
}

/* Unlike a clone's, none of its memory is shared. */
static int check_memory_of_boot(const struct host_room *room, const struct vm_size *size,
				struct error *err)
{
	int64_t available = available_mib(room);

	if (available < 0 || (uint64_t)available >= room->min_free_mib + size->memory_mib)
		return 0;
	return error_set(err, EAGAIN,
			 "no template fits, and to boot a machine of %u MiB the host has %" PRId64
			 " MiB of memory left, of which %" PRIu64 " are kept (min_free_mib)",
			 size->memory_mib, available, room->min_free_mib);
}

int host_room_check_boot(const struct host_room *room, const struct vm_size *size,
			 const char **ret_reason, struct error *err)
{
	*ret_reason = "larger than the host";
	int r = check_fits_host(room, size, err);
	if (r < 0)
		return r;
	*ret_reason = "boots_at_once";
	if (room->boots >= room->max_boots)
		return error_set(err, EAGAIN,
				 "no template fits, and %" PRIu64
				 " machines are being booted already (boots_at_once)",
				 room->boots);
	*ret_reason = "max_vms";
	r = host_room_check(room, 1, ret_reason, err);
	if (r < 0)
		return r;
	*ret_reason = "no memory to boot";
	return check_memory_of_boot(room, size, err);
}
