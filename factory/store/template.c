#include "factory/store/template.h"

#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/config.h"
#include "base/file.h"
#include "base/memory.h"
#include "factory/guest/dax_window.h"
#include "factory/guest/disks.h"
#include "factory/guest/network_cards.h"
#include "factory/store/annotations.h"

#define MIB                ((uint64_t)1024 * 1024)
#define PMEM_ALIGN         (2 * MIB)
#define DEFINITION_PARAMS  2000 /* bytes; the kernel takes 2048 of command line */
#define BLOCK_MIB          128  /* of memory that is added: the guest kernel's on x86-64 */
#define MAKE_IMAGE         "`make image` makes it"
#define DEFINITION(f, ...) CONFIG_##f(struct template_definition, __VA_ARGS__)

static const char *const on_stale_names[] = {
	[ON_STALE_KEEP] = "keep",
	[ON_STALE_REBUILD] = "rebuild",
};
DEFINE_STRING_TABLE(on_stale, enum on_stale, on_stale_names)

static const struct config_key definition_keys[] = {
	DEFINITION(STRING_REQUIRED, name, "name", "What claims call the template"),
	DEFINITION(STRING_REQUIRED, kernel, "kernel", "ELF vmlinux with a PVH entry"),
	DEFINITION(STRING_REQUIRED, initrd, "initrd", "Initramfs that mounts the root image"),
	DEFINITION(STRING_REQUIRED, image, "image",
		   "EROFS root image, its size a multiple of 2 MiB"),
	DEFINITION(STRING_REQUIRED, machine, "machine", "libvirt domain XML with placeholders"),
	DEFINITION(STRING, kernel_params, "kernel_params", "",
		   "Kernel command line, 2000 bytes at most"),
	DEFINITION(UINT, vcpus, "vcpus", 1, 1, 64, "Virtual CPUs of each machine"),
	DEFINITION(UINT, memory_mib, "memory_mib", 256, 64, 1024 * 1024,
		   "Memory of each machine, MiB"),
	DEFINITION(UINT, spare_vcpus, "spare_vcpus", 0, 0, 63,
		   "Virtual CPUs besides, which wait offline until a claim wants them"),
	DEFINITION(
		UINT, max_memory_mib, "max_memory_mib", 0, 0, 1024 * 1024,
		"Memory that a machine can grow to for a claim, MiB: memory_mib and a multiple of "
		"128 more; 0: memory_mib"),
	DEFINITION(
		UINT, scratch_mib, "scratch_mib", DISKS_SCRATCH_MIB, 0, DISKS_SCRATCH_MAX_MIB,
		"Size of the disk that a machine's containers write to, MiB; 0: they write to guest "
		"memory instead"),
	DEFINITION(UINT, block_slots, "block_slots", DISKS_SLOTS, 0, DISKS_SLOTS_MAX,
		   "Disks of each machine that wait for images of containers' layers"),
	DEFINITION(
		UINT, dax_windows, "dax_windows", DAX_WINDOWS, 0, DAX_WINDOWS_MAX,
		"Memory devices of each machine that wait for such images, whose pages all machines "
		"share; none where share is never"),
	DEFINITION(UINT, dax_window_mib, "dax_window_mib", 0, 0, DAX_WINDOW_MAX_MIB,
		   "Size of each of them, MiB; 0: twice memory_mib, 2048 at most"),
	DEFINITION(UINT, network_cards, "network_cards", NETWORK_CARDS, 0, NETWORK_CARDS_MAX,
		   "Network cards of each machine that wait for the interfaces of a pod"),
	DEFINITION(BOOL, free_page_reporting, "free_page_reporting", true,
		   "Memory that a machine's guest has freed goes back to the host"),
	DEFINITION(STRING, annotations, "annotations", "",
		   "Words that claims can demand, separated by commas"),
	DEFINITION(UINT, ttl_s, "ttl_s", 0, 0, 366 * 24 * 3600,
		   "Seconds that a sandbox of it may live; the shim's settings may say less; 0: "
		   "nothing"),
	DEFINITION(
		UINT, idle_s, "idle_s", 0, 0, 366 * 24 * 3600,
		"Seconds after which a sandbox of it that nobody uses is ended; the shim's settings "
		"may say less; 0: nothing"),
	DEFINITION(UINT, boot_timeout_s, "boot_timeout_s", 120, 1, 3600,
		   "Seconds that a bake waits for the agent's first answer"),
	DEFINITION(UINT, pool_size, "pool_size", 3, 0, 1000,
		   "Clones to keep parked; short for a target of the object pool"),
	DEFINITION(ENUM, on_stale, "on_stale", "keep", on_stale_from_string,
		   "keep or rebuild: what is done with the template when an input changed"),
	DEFINITION(
		ENUM, share, "share", "always", template_share_from_string,
		"always or never; never: each clone gets its own copy of the template's memory and "
		"images"),
	DEFINITION(BOOL, debug_console, "debug_console", false,
		   "kiln-ctl exec may run programs in the root of its machines"),
	DEFINITION(
		STRING, memory_dir, "memory_dir", "",
		"Folder for the template's memory, on tmpfs, hugetlbfs or a disk; empty: the store"),
};

/* The files of a definition, with the largest size that makes sense. */
static const struct {
	size_t offset;
	const char *what;
	uint64_t max;
} definition_files[] = {
	{ offsetof(struct template_definition, kernel), "kernel", 1024 * MIB },
	{ offsetof(struct template_definition, initrd), "initrd", 1024 * MIB },
	{ offsetof(struct template_definition, image), "image", 64 * 1024 * MIB },
	{ offsetof(struct template_definition, machine), "machine", 1 * MIB },
};

static char **definition_path(struct template_definition *d, size_t i)
{
	return (char **)((char *)d + definition_files[i].offset);
}

static int definition_check_file(const struct template_definition *d, size_t i, struct error *err)
{
	const char *what = definition_files[i].what;
	const char *path = *definition_path((struct template_definition *)d, i);
	struct stat st;

	if (stat(path, &st) < 0) {
		if (errno == ENOENT)
			return error_set(err, ENOENT, "no %s %s: " MAKE_IMAGE, what, path);
		return error_set_errno(err, errno, "%s %s", what, path);
	}
	if (!S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "%s %s is not a regular file", what, path);
	if (st.st_size == 0)
		return error_set(err, EINVAL, "%s %s is empty: " MAKE_IMAGE, what, path);
	if ((uint64_t)st.st_size > definition_files[i].max)
		return error_set(err, EFBIG, "%s %s is larger than %" PRIu64 " MiB", what, path,
				 definition_files[i].max / MIB);
	if (path == d->image && (uint64_t)st.st_size % PMEM_ALIGN)
		return error_set(err, EINVAL,
				 "image %s is %jd bytes, not a multiple of 2 MiB as virtio-pmem "
				 "needs: " MAKE_IMAGE,
				 path, (intmax_t)st.st_size);
	return 0;
}

/* max_memory_mib 0 becomes memory_mib: then nothing grows. */
static int definition_check_growth(struct template_definition *d, struct error *err)
{
	if (d->max_memory_mib == 0)
		d->max_memory_mib = d->memory_mib;
	if (d->max_memory_mib < d->memory_mib ||
	    (d->max_memory_mib - d->memory_mib) % BLOCK_MIB != 0)
		return error_set(err, EINVAL,
				 "max_memory_mib is %" PRIu64 ": must be memory_mib (%" PRIu64
				 ") and a multiple of %d more",
				 d->max_memory_mib, d->memory_mib, BLOCK_MIB);
	if (d->scratch_mib > 0 && d->scratch_mib < DISKS_SCRATCH_MIN_MIB)
		return error_set(err, EINVAL,
				 "scratch_mib is %" PRIu64 ": must be 0 or at least %d",
				 d->scratch_mib, DISKS_SCRATCH_MIN_MIB);
	return annotations_check(d->annotations, err);
}

/* Images in windows are shared by machines: not where the definition forbids that. */
static int definition_check_windows(struct template_definition *d, struct error *err)
{
	if (d->share == SHARE_NEVER || d->dax_windows == 0) {
		d->dax_windows = d->dax_window_mib = 0;
		return 0;
	}
	if (d->dax_window_mib == 0)
		d->dax_window_mib = DAX_WINDOW_PER_MEMORY * d->memory_mib < DAX_WINDOW_DEFAULT_MIB
					    ? DAX_WINDOW_PER_MEMORY * d->memory_mib
					    : DAX_WINDOW_DEFAULT_MIB;
	if (d->dax_window_mib % DAX_WINDOW_ALIGN_MIB != 0)
		return error_set(err, EINVAL, "dax_window_mib is %" PRIu64 ": must be even",
				 d->dax_window_mib);
	if (d->dax_windows * d->dax_window_mib > DAX_WINDOWS_PER_MEMORY * d->memory_mib)
		return error_set(err, EINVAL,
				 "dax_windows (%" PRIu64 ") of dax_window_mib (%" PRIu64
				 ") are more than %d times memory_mib (%" PRIu64
				 "): the guest would need a quarter of its memory to describe them",
				 d->dax_windows, d->dax_window_mib, DAX_WINDOWS_PER_MEMORY,
				 d->memory_mib);
	return 0;
}

static int definition_check(struct template_definition *d, struct error *err)
{
	if (!id_is_valid(d->name))
		return error_set(err, EINVAL,
				 "name \"%s\" is not 1 to 128 of [A-Za-z0-9._-] with a letter or "
				 "digit first",
				 d->name);
	if (strlen(d->kernel_params) > DEFINITION_PARAMS)
		return error_set(err, EINVAL, "kernel_params is longer than %d bytes",
				 DEFINITION_PARAMS);
	if (*d->memory_dir && d->memory_dir[0] != '/')
		return error_set(err, EINVAL, "memory_dir is \"%s\": must be an absolute path",
				 d->memory_dir);
	int r = definition_check_growth(d, err);
	if (r == 0)
		r = definition_check_windows(d, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(definition_files); i++) {
		r = definition_check_file(d, i, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Paths of the definition mean the folder it lies in, not the one we run in. */
static int definition_resolve_paths(struct template_definition *d, const char *path,
				    struct error *err)
{
	_cleanup_free_ char *copy = xstrdup(path);
	_cleanup_free_ char *dir = realpath(dirname(copy), NULL);

	if (!dir)
		return error_set_errno(err, errno, "folder of %s", path);
	for (size_t i = 0; i < ARRAY_SIZE(definition_files); i++) {
		char **slot = definition_path(d, i);
		char *absolute = path_join(dir, *slot);

		free(*slot);
		*slot = absolute;
	}
	return 0;
}

/* What the table of keys cannot read: taken out of the object before it does. */
struct definition_parts {
	json_t *pool, *images;
};

static json_t *part_take(json_t *object, const char *key)
{
	json_t *part = json_incref(json_object_get(object, key));

	(void)json_object_del(object, key);
	return part;
}

static void parts_done(struct definition_parts *parts)
{
	json_decref(parts->pool);
	json_decref(parts->images);
}

static int definition_read_parts(struct template_definition *d,
				 const struct definition_parts *parts, const char *path,
				 struct error *err)
{
	_cleanup_free_ char *where = xasprintf("pool in %s", path);
	_cleanup_free_ char *copy = xstrdup(path);

	int r = pool_policy_read(parts->pool, d->pool_size, where, &d->pool, err);
	return r < 0 ? r : carried_read(parts->images, dirname(copy), path, &d->images, err);
}

int template_definition_load(const char *path, struct template_definition **ret, struct error *err)
{
	_cleanup_(template_definition_free_cleanup) struct template_definition *d = NULL;
	json_t *object = NULL;
	int r;

	if (!path_exists(path))
		return error_set(err, ENOENT, "no template definition %s: " MAKE_IMAGE, path);
	r = config_load_file(path, &object, err);
	if (r < 0)
		return r;

	d = xnew(struct template_definition);
	d->path = path_absolute(path);
	config_set_defaults(definition_keys, ARRAY_SIZE(definition_keys), d);
	_cleanup_(parts_done) struct definition_parts parts = {
		.pool = part_take(object, "pool"),
		.images = part_take(object, "images"),
	};
	r = config_read(definition_keys, ARRAY_SIZE(definition_keys), object, path, d, err);
	json_decref(object);
	if (r == 0)
		r = definition_read_parts(d, &parts, d->path, err);
	if (r < 0)
		return r;
	r = definition_resolve_paths(d, path, err);
	if (r < 0)
		return r;
	if (definition_check(d, err) < 0)
		return error_wrap(err, "template definition %s", path);
	*ret = steal_ptr(d);
	return 0;
}

void template_definition_print(FILE *out)
{
	config_print(definition_keys, ARRAY_SIZE(definition_keys), out);
}

void template_definition_free(struct template_definition *definition)
{
	if (!definition)
		return;
	config_done(definition_keys, ARRAY_SIZE(definition_keys), definition);
	carried_done(&definition->images);
	free(definition->path);
	free(definition);
}
