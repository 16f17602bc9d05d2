#include "agent/layers.h"

#include <ctype.h>
#include <fcntl.h>
#include <linux/blkpg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include "agent/disk.h"
#include "agent/mounts.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "base/strv.h"

enum { SECTOR = 512 };

#define SECTORS_MAX (UINT64_C(1) << 40) /* half a PiB: no sum of them overflows */

/* ---------------------------------------------------------------- options */

static bool take_number(const char **p, char end, uint64_t *ret)
{
	char *after;

	if (!isdigit((unsigned char)**p))
		return false;
	unsigned long long number = strtoull(*p, &after, 10);
	if (number > SECTORS_MAX || (*after != end && *after != '\0'))
		return false;
	*p = after;
	*ret = number * SECTOR;
	return true;
}

int layers_parse(const char *option, struct layers_part *parts, size_t max, size_t *ret_count,
		 struct error *err)
{
	const char *p = option;
	size_t count = 0;

	do {
		struct layers_part part;
		if (!take_number(&p, '+', &part.start) || *p++ != '+' ||
		    !take_number(&p, ',', &part.length) || part.length == 0)
			return error_set(err, EINVAL, "\"%.64s\" is no place on a disk", option);
		if (count == max)
			return error_set(err, E2BIG, "more than %d images on a disk",
					 LAYERS_PARTS_MAX);
		parts[count++] = part;
	} while (*p++ == ',');
	*ret_count = count;
	return 0;
}

/* ---------------------------------------------------------------- partitions */

static int tell_disk(int fd, int op, int number, const struct layers_part *part)
{
	struct blkpg_partition partition = { .pno = number };
	struct blkpg_ioctl_arg arg = { .op = op, .datalen = sizeof(partition), .data = &partition };

	if (part) {
		partition.start = (long long)part->start;
		partition.length = (long long)part->length;
	}
	return ioctl(fd, BLKPG, &arg) < 0 ? -errno : 0;
}

/* Those of an image that was on the disk before: their numbers follow each other. */
static int forget_partitions(int fd, const char *device, struct error *err)
{
	int r = 0;

	for (int number = 1; r == 0 && number <= LAYERS_PARTS_MAX; number++)
		r = tell_disk(fd, BLKPG_DEL_PARTITION, number, NULL);
	return r < 0 && r != -ENXIO ? error_set_errno(err, r, "a part of %s is still used", device)
				    : 0;
}

static char *partition_name(const char *device, size_t number)
{
	bool ends_in_digit = isdigit((unsigned char)device[strlen(device) - 1]);

	return xasprintf("%s%s%zu", device, ends_in_digit ? "p" : "", number);
}

/* ---------------------------------------------------------------- mounts */

struct disk {
	const char *device;
	const char *mount_point;
	bool dax;
	int fd;
	size_t used; /* partitions */
};

/* Their numbers follow each other, from disk->used + 1 on. */
static int add_partitions(struct disk *disk, const char *option, size_t *ret_count,
			  struct error *err)
{
	struct layers_part parts[LAYERS_PARTS_MAX];
	size_t count = 0;
	int r = layers_parse(option, parts, LAYERS_PARTS_MAX - disk->used, &count, err);

	for (size_t i = 0; r == 0 && i < count; i++) {
		r = tell_disk(disk->fd, BLKPG_ADD_PARTITION, (int)(disk->used + i + 1), &parts[i]);
		if (r < 0)
			return error_set_errno(err, r, "part \"%s\" of %s", option, disk->device);
	}
	*ret_count = count;
	return r;
}

static int mount_layer(struct disk *disk, const char *option, size_t number, struct error *err)
{
	_cleanup_free_ char *point = xasprintf("%s/%zu", disk->mount_point, number);
	_cleanup_free_ char *image = partition_name(disk->device, disk->used + 1);
	_cleanup_(mount_options_done) struct mount_options options = {};
	_cleanup_(strv_done) struct strv words = {};
	size_t count = 0;
	int r = add_partitions(disk, option, &count, err);

	if (r == 0)
		r = dir_make(point, 0755, err);
	if (r < 0)
		return r;
	strv_add(&words, "ro");
	if (disk->dax)
		strv_add(&words, "dax=always");
	for (size_t i = 1; i < count; i++) {
		_cleanup_free_ char *other = partition_name(disk->device, disk->used + 1 + i);
		strv_addf(&words, "device=%s", other);
	}
	disk->used += count;
	r = mount_options_parse(words.items, words.count, &options, err);
	if (r < 0)
		return r;
	options.fs_readonly = true;
	return mount_at("erofs", image, &options, point, err);
}

/* Holds the folders of the layers and nothing else. */
static int mount_holder(const char *mount_point, struct error *err)
{
	static char *const words[] = { (char *)"mode=0755", (char *)"size=64k" };
	_cleanup_(mount_options_done) struct mount_options options = {};
	int r = dir_make(mount_point, 0755, err);

	if (r == 0)
		r = mount_options_parse(words, ARRAY_SIZE(words), &options, err);
	return r < 0 ? r : mount_at("tmpfs", "layers", &options, mount_point, err);
}

int layers_mount(const char *device, bool dax, char *const *options, size_t count,
		 const char *mount_point, struct error *err)
{
	_cleanup_close_ int fd = open(device, O_RDONLY | O_CLOEXEC);
	struct disk disk = { device, mount_point, dax, fd, 0 };
	int r;

	if (fd < 0)
		return error_set_errno(err, errno, "cannot open %s", device);
	if (count == 0)
		return error_set(err, EINVAL, "no layers are named");
	r = forget_partitions(fd, device, err);
	if (r == 0)
		r = disk_forget(device, err);
	if (r == 0)
		r = mount_holder(mount_point, err);
	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < count; i++) {
		r = mount_layer(&disk, options[i], i, err);
		if (r < 0)
			(void)error_wrap(err, "layer %zu", i);
	}
	if (r < 0)
		umount2(mount_point, UMOUNT_NOFOLLOW | MNT_DETACH);
	return r;
}
