/* kiln-ctl check: room on file systems and in memory. */
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/file.h"
#include "base/memory.h"
#include "ctl/check.h"

#define MIB (1024 * 1024)

/* The file system of a folder, or of the nearest one above it that is there. */
static bool find_fs(const char *path, struct statfs *ret_fs)
{
	_cleanup_free_ char *at = xstrdup(path);

	while (statfs(at, ret_fs) < 0) {
		char *slash = strrchr(at, '/');
		if (!slash || slash[1] == '\0')
			return false;
		slash[slash == at ? 1 : 0] = '\0';
	}
	return true;
}

static bool is_memory(const struct statfs *fs)
{
	return fs->f_type == TMPFS_MAGIC || fs->f_type == RAMFS_MAGIC ||
	       fs->f_type == HUGETLBFS_MAGIC;
}

static uint64_t free_mib(const struct statfs *fs)
{
	return (uint64_t)fs->f_bavail * (uint64_t)fs->f_bsize / MIB;
}

static bool is_configured(const struct check_host *host, struct check_result *result)
{
	if (!host->configured)
		check_unseen(result, "the configuration cannot be read");
	return host->configured;
}

void check_run_dir(const struct check_host *host, struct check_result *result)
{
	const char *path = host->config.run_dir;
	struct statfs fs;

	if (!is_configured(host, result))
		return;
	if (!find_fs(path, &fs))
		return check_unseen(result, "cannot look at %s", path);
	if (!is_memory(&fs))
		check_without(result,
			      "each start waits for the disk, and what is left there outlives the "
			      "host's next start",
			      "set \"run_dir\" to a folder on tmpfs", "%s is not on tmpfs", path);
	else if (free_mib(&fs) < 16)
		check_mend(result, "mount -o remount,size=10% /run",
			   "%s has %" PRIu64 " MiB left for sockets and the journal", path,
			   free_mib(&fs));
	else
		check_fine(result, "%s, on tmpfs, %" PRIu64 " MiB free", path, free_mib(&fs));
}

/* ---------------------------------------------------------------- the store */

static uint64_t image_mib(const struct template_definition *template)
{
	struct stat st;

	return stat(template->image, &st) == 0 ? (uint64_t)st.st_size / MIB : 0;
}

/* Of one template in the store: its memory, unless that is elsewhere, and its image. */
static uint64_t template_mib(const struct template_definition *template)
{
	return (str_empty(template->memory_dir) ? template->memory_mib : 0) + image_mib(template);
}

static bool is_baked(const struct check_host *host, const char *name)
{
	const Kiln__Factory__V1__TemplateStatus *status = check_host_template(host, name);

	return status && !str_empty(status->id);
}

void store_judge(const struct room_facts *facts, struct check_result *result)
{
	if (facts->free_mib < facts->wanted_mib)
		check_mend(result,
			   facts->memory ? "mount -o remount,size=75% of the tmpfs, or a smaller "
					   "memory_mib"
					 : "make room on the disk, or set \"store\"",
			   "%s has %" PRIu64
			   " MiB free; templates that are not baked yet want %" PRIu64,
			   facts->path, facts->free_mib, facts->wanted_mib);
	else if (!facts->memory)
		check_without(result, "clones read their memory from a disk, and start slower",
			      "set \"store\" to a folder on tmpfs", "%s is not on tmpfs",
			      facts->path);
	else if (facts->free_mib - facts->wanted_mib < facts->largest_mib)
		check_without(result, "no template can be rebuilt beside the one that serves",
			      "mount -o remount,size=75% of the tmpfs",
			      "%s has %" PRIu64
			      " MiB free, and the largest template wants %" PRIu64,
			      facts->path, facts->free_mib - facts->wanted_mib, facts->largest_mib);
	else
		check_fine(result, "%s, on tmpfs, %" PRIu64 " MiB free", facts->path,
			   facts->free_mib);
}

void check_store(const struct check_host *host, struct check_result *result)
{
	struct room_facts facts = { .path = host->config.store };
	struct statfs fs;

	if (!is_configured(host, result))
		return;
	if (!find_fs(facts.path, &fs))
		return check_unseen(result, "cannot look at %s", facts.path);
	facts.memory = is_memory(&fs);
	facts.free_mib = free_mib(&fs);
	for (size_t i = 0; i < host->definitions.count; i++) {
		uint64_t mib = template_mib(host->definitions.items[i]);
		if (mib > facts.largest_mib)
			facts.largest_mib = mib;
		if (!is_baked(host, host->definitions.items[i]->name))
			facts.wanted_mib += mib;
	}
	store_judge(&facts, result);
}

/* ---------------------------------------------------------------- memory */

static uint64_t meminfo_mib(const char *meminfo, const char *key)
{
	const char *at = strstr(meminfo, key);
	uint64_t kib = 0;

	return at && sscanf(at + strlen(key), ": %" SCNu64, &kib) == 1 ? kib / 1024 : 0;
}

void memory_judge(const char *meminfo, uint64_t wanted_mib, uint64_t min_free_mib,
		  struct check_result *result)
{
	uint64_t total = meminfo_mib(meminfo, "MemTotal");
	uint64_t available = meminfo_mib(meminfo, "MemAvailable");

	if (total == 0)
		check_unseen(result, "/proc/meminfo does not say");
	else if (total < wanted_mib + min_free_mib)
		check_mend(result, "set a smaller \"memory_mib\" in the definitions",
			   "%" PRIu64 " MiB in all; templates want %" PRIu64
			   ", and \"min_free_mib\" is %" PRIu64,
			   total, wanted_mib, min_free_mib);
	else if (available < wanted_mib + min_free_mib)
		check_without(result, "bakes or clones fail until there is more", NULL,
			      "%" PRIu64 " of %" PRIu64 " MiB available; templates want %" PRIu64
			      ", and \"min_free_mib\" is %" PRIu64,
			      available, total, wanted_mib, min_free_mib);
	else
		check_fine(result, "%" PRIu64 " of %" PRIu64 " MiB available", available, total);
}

void check_memory(const struct check_host *host, struct check_result *result)
{
	_cleanup_free_ char *meminfo = check_host_read(host, "/proc/meminfo");
	uint64_t wanted = 0;

	for (size_t i = 0; i < host->definitions.count; i++)
		if (!is_baked(host, host->definitions.items[i]->name))
			wanted += host->definitions.items[i]->memory_mib;
	memory_judge(meminfo ? meminfo : "", wanted, host->config.min_free_mib, result);
}

/* ---------------------------------------------------------------- disks */

void scratch_judge(const struct room_facts *facts, struct check_result *result)
{
	if (facts->free_mib < 64)
		check_mend(result, "make room there, or set \"scratch_dir\"",
			   "%s has %" PRIu64 " MiB free for what containers write", facts->path,
			   facts->free_mib);
	else if (facts->memory)
		check_without(result, "what containers write takes the host's memory",
			      "set \"scratch_dir\" to a folder on a disk", "%s is on tmpfs",
			      facts->path);
	else if (facts->free_mib < facts->largest_mib)
		check_without(result, "a container that fills its disk gets EIO, not ENOSPC", NULL,
			      "%s has %" PRIu64 " MiB free, and a scratch disk may take %" PRIu64,
			      facts->path, facts->free_mib, facts->largest_mib);
	else
		check_fine(result, "%s, %" PRIu64 " MiB free", facts->path, facts->free_mib);
}

void check_scratch(const struct check_host *host, struct check_result *result)
{
	struct room_facts facts = { .path = host->config.scratch_dir };
	struct statfs fs;

	if (!find_fs(facts.path, &fs))
		return check_unseen(result, "cannot look at %s", facts.path);
	facts.memory = is_memory(&fs);
	facts.free_mib = free_mib(&fs);
	for (size_t i = 0; i < host->definitions.count; i++)
		if (host->definitions.items[i]->scratch_mib > facts.largest_mib)
			facts.largest_mib = host->definitions.items[i]->scratch_mib;
	scratch_judge(&facts, result);
}

void check_image_cache(const struct check_host *host, struct check_result *result)
{
	const char *path = host->config.image_cache;
	struct statfs fs;

	if (str_empty(path))
		return check_without(result,
				     "images of containers' layers: guests read them by the share",
				     "set \"image_cache\"", "none: \"image_cache\" is empty");
	if (!find_fs(path, &fs))
		return check_unseen(result, "cannot look at %s", path);
	uint64_t has = free_mib(&fs) + (host->status && host->status->image_cache
						? host->status->image_cache->bytes / MIB
						: 0);
	if (has < host->config.image_cache_mib)
		check_without(result, "images that find no room are not made",
			      "set a smaller \"image_cache_mib\"",
			      "%s has room for %" PRIu64 " MiB, \"image_cache_mib\" is %" PRIu64,
			      path, has, host->config.image_cache_mib);
	else
		check_fine(result, "%s, room for %" PRIu64 " MiB", path, has);
}
