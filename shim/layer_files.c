#include "shim/layer_files.h"

#include <endian.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/strbuf.h"
#include "factory/guest/dax_window.h"
#include "factory/guest/disks.h"

#define KEY_VERSION "kiln layers 1"

enum {
	SECTOR = 512,
	SUPERBLOCK_OFFSET = 1024,
	EROFS_MAGIC = 0xe0f5e1e2,
	BLOCK_BITS_MAX = 16,
};

/* The first fields of Linux' struct erofs_super_block. */
struct superblock {
	uint32_t magic;
	uint32_t checksum;
	uint32_t features;
	uint8_t block_bits;
	uint8_t slots;
	uint16_t root;
	uint64_t inodes;
	uint64_t built_at;
	uint32_t built_at_ns;
	uint32_t blocks;
	uint8_t names[40]; /* and places that are of no interest here */
	uint32_t needed_features;
	uint16_t compression;
	uint16_t devices; /* how much more data it refers to */
	uint16_t device_table;
};

_Static_assert(offsetof(struct superblock, devices) == 86, "as Linux has it");

/* Of its table of devices (struct erofs_deviceslot). */
struct device {
	uint8_t tag[64];
	uint32_t blocks;
	uint32_t first_block; /* where it begins on a disk that has all of it, one after another */
	uint8_t reserved[56];
};

static int check_size(uint64_t bytes, struct error *err)
{
	if (bytes == 0 || bytes % SECTOR != 0)
		return error_set(err, EBADMSG,
				 "it is truncated: %llu bytes are no whole number of sectors",
				 (unsigned long long)bytes);
	if (bytes > DISKS_SLOT_BYTES)
		return error_set(err, E2BIG, "it has %llu bytes, more than a slot",
				 (unsigned long long)bytes);
	return 0;
}

/* Data that the image refers to and that nobody has given: behind it in the same file (a tar with
 * its index), or missing. */
static int check_devices(int fd, uint64_t bytes, const struct superblock *sb, struct error *err)
{
	struct device device;

	if (le16toh(sb->devices) > LAYER_MOUNTS_IMAGES_MAX)
		return error_set(err, EBADMSG, "it refers to %u other images",
				 (unsigned)le16toh(sb->devices));
	for (unsigned i = 0; i < le16toh(sb->devices); i++) {
		off_t at = (off_t)((le16toh(sb->device_table) + i) * sizeof(device));
		if (pread(fd, &device, sizeof(device), at) != (ssize_t)sizeof(device))
			return error_set(err, EBADMSG, "it is truncated: its devices are missing");
		uint64_t end = (uint64_t)le32toh(device.first_block) + le32toh(device.blocks);
		if (end << sb->block_bits > bytes)
			return error_set(
				err, EBADMSG,
				"it is truncated, or other images that it refers to are "
				"not known (an image merged of others needs containerd 2.4)");
	}
	return 0;
}

/* is_alone: no other images are given with it. */
static int check_image(int fd, uint64_t bytes, bool is_alone, bool *ret_has_pages,
		       struct error *err)
{
	struct superblock sb;

	if (pread(fd, &sb, sizeof(sb), SUPERBLOCK_OFFSET) != (ssize_t)sizeof(sb) ||
	    le32toh(sb.magic) != (uint32_t)EROFS_MAGIC || sb.block_bits > BLOCK_BITS_MAX)
		return error_set(err, EBADMSG, "it is no EROFS image");
	uint64_t said = (uint64_t)le32toh(sb.blocks) << sb.block_bits;
	if (bytes < said)
		return error_set(err, EBADMSG, "it is truncated: %llu bytes of %llu",
				 (unsigned long long)bytes, (unsigned long long)said);
	*ret_has_pages = UINT64_C(1) << sb.block_bits == DAX_WINDOW_UNIT;
	return is_alone ? check_devices(fd, bytes, &sb, err) : 0;
}

static void add_number(struct digest *d, uint64_t number)
{
	uint64_t bytes = htole64(number);

	digest_add(d, &bytes, sizeof(bytes));
}

/* As long as a slot has the file open, no other one can have its inode; the time of birth, where
 * the file system knows it, tells it from one that was there before. */
static int open_file(const char *path, bool is_alone, struct digest *d, struct slot_file *ret,
		     bool *ret_has_pages, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct statx st;
	int r;

	if (fd < 0 || statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &st) < 0)
		return error_set_errno(err, errno, "cannot open it");
	if (!S_ISREG(st.stx_mode))
		return error_set(err, EBADMSG, "it is no file");
	r = check_size(st.stx_size, err);
	if (r == 0)
		r = check_image(fd, st.stx_size, is_alone, ret_has_pages, err);
	if (r < 0)
		return r;
	add_number(d, (uint64_t)st.stx_dev_major << 32 | st.stx_dev_minor);
	add_number(d, st.stx_ino);
	add_number(d, (uint64_t)st.stx_btime.tv_sec);
	add_number(d, st.stx_btime.tv_nsec);
	add_number(d, st.stx_size);
	*ret = (struct slot_file){ steal_fd(&fd), st.stx_size };
	return 0;
}

struct opening {
	struct layer_files *files;
	struct digest *digest;
	uint64_t bytes; /* of all before */
};

static int add_file(struct opening *opening, const char *path, bool is_alone, struct error *err)
{
	struct layer_files *files = opening->files;
	struct slot_file *file = &files->items[files->count];
	bool has_pages = false;
	int r = open_file(path, is_alone, opening->digest, file, &has_pages, err);

	if (r < 0)
		return error_wrap(err, "layer %s", path);
	files->count++;
	files->has_pages &= has_pages;
	opening->bytes += file->bytes;
	if (opening->bytes > DISKS_SLOT_BYTES)
		return error_set(err, E2BIG, "the layers are larger than a slot (%llu bytes)",
				 (unsigned long long)DISKS_SLOT_BYTES);
	return 0;
}

static int add_layer(struct opening *opening, const struct layer_mount *layer, struct error *err)
{
	struct layer_files *files = opening->files;
	int r = add_file(opening, layer->path, layer->devices.count == 0, err);

	for (size_t i = 0; r == 0 && i < layer->devices.count; i++)
		r = add_file(opening, layer->devices.items[i], true, err);
	add_number(opening->digest, layer->devices.count);
	files->layers[files->nlayers++] = 1 + layer->devices.count;
	return r;
}

int layer_files_open(const struct layer_mounts *mounts, struct layer_files *ret, struct error *err)
{
	_cleanup_(digest_free_cleanup) struct digest *digest = digest_new();
	_cleanup_(layer_files_done) struct layer_files files = {
		.items = xnew_array(struct slot_file, LAYER_MOUNTS_IMAGES_MAX),
		.layers = xnew_array(size_t, LAYER_MOUNTS_IMAGES_MAX),
		.has_pages = true,
	};
	struct opening opening = { &files, digest, 0 };
	int r = 0;

	digest_add_string(digest, KEY_VERSION);
	for (size_t i = 0; r == 0 && i < mounts->count; i++)
		r = add_layer(&opening, &mounts->items[i], err);
	if (r < 0)
		return r;
	digest_finish(digest, files.key);
	*ret = files;
	files = (struct layer_files){};
	return 0;
}

void layer_files_layout(const struct layer_files *files, uint64_t unit, struct strv *ret_layout)
{
	const struct slot_file *file = files->items;
	uint64_t start = 0;

	for (size_t i = 0; i < files->nlayers; i++) {
		_cleanup_(strbuf_done) struct strbuf place = {};
		for (size_t f = 0; f < files->layers[i]; f++, file++) {
			uint64_t length = (file->bytes + unit - 1) / unit * unit;
			strbuf_addf(&place, "%s%llu+%llu", f ? "," : "",
				    (unsigned long long)(start / SECTOR),
				    (unsigned long long)(length / SECTOR));
			start += length;
		}
		strv_add(ret_layout, strbuf_text(&place));
	}
}

void layer_files_done(struct layer_files *files)
{
	for (size_t i = 0; i < files->count; i++)
		close_fd(files->items[i].fd);
	free(files->items);
	free(files->layers);
	*files = (struct layer_files){};
}
