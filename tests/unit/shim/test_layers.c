/* What containerd's EROFS snapshotter hands over: the mounts, and the files that they name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "shim/layer_files.h"
#include "shim/layer_mounts.h"
#include "tests/unit/folder.h"

enum { MOUNTS = 300, OPTIONS = 8 };

/* "TYPE SOURCE OPTION OPTION ..."; a template's spaces are written as _. */
struct given {
	Containerd__Types__Mount mounts[MOUNTS];
	Containerd__Types__Mount *list[MOUNTS];
	char *options[MOUNTS][OPTIONS];
	char *texts[MOUNTS];
	size_t count;
};

static void give(struct given *given, const char *line)
{
	size_t i = given->count++;
	Containerd__Types__Mount *mount = &given->mounts[i];
	char *rest = given->texts[i] = xstrdup(line);

	containerd__types__mount__init(mount);
	given->list[i] = mount;
	mount->type = strsep(&rest, " ");
	mount->source = strsep(&rest, " ");
	mount->options = given->options[i];
	for (char *option; rest && (option = strsep(&rest, " "));)
		mount->options[mount->n_options++] = option;
	for (size_t o = 0; o < mount->n_options; o++)
		for (char *p = mount->options[o]; (p = strchr(p, '_'));)
			*p = ' ';
	for (char *p = mount->source; (p = strchr(p, '_'));)
		*p = ' ';
}

static void given_done(struct given *given)
{
	for (size_t i = 0; i < given->count; i++)
		free(given->texts[i]);
	*given = (struct given){};
}

/* "LAYER:DEVICE:... LAYER ... > UPPER", or "> WRITABLE FSTYPE BYTES UUID"; a folder with a slash
 * behind. */
static char *text_of(const struct layer_mounts *mounts)
{
	_cleanup_(strbuf_done) struct strbuf text = {};

	for (size_t i = 0; i < mounts->count; i++) {
		const struct layer_mount *layer = &mounts->items[i];
		strbuf_addf(&text, "%s%s%s", i ? " " : "", layer->path,
			    layer->is_folder ? "/" : "");
		for (size_t d = 0; d < layer->devices.count; d++)
			strbuf_addf(&text, ":%s", layer->devices.items[d]);
	}
	if (mounts->writable.path)
		strbuf_addf(&text, " > %s %s %llu%s%s", mounts->writable.path,
			    mounts->writable.fstype, (unsigned long long)mounts->writable.bytes,
			    mounts->writable.uuid ? " " : "", mounts->writable.uuid ?: "");
	if (mounts->upper)
		strbuf_addf(&text, " > %s/", mounts->upper);
	return xstrdup(strbuf_text(&text));
}

static const struct {
	const char *name;
	const char *mounts[6];
	const char *result; /* of the layers, or a part of the error */
	int number;
} cases[] = {
	{ "one layer",
	  { "erofs /1.erofs ro loop",
	    "format/mkdir/overlay overlay workdir=/2/work upperdir=/2/fs lowerdir={{_mount_0_}}" },
	  "/1.erofs > /2/fs/",
	  0 },
	{ "three layers",
	  { "erofs /3 ro loop", "erofs /2 ro loop", "erofs /1 ro loop",
	    "format/mkdir/overlay overlay lowerdir={{_overlay_0_2_}}" },
	  "/3 /2 /1",
	  0 },
	{ "the other way round",
	  { "erofs /1", "erofs /2", "format/overlay overlay lowerdir={{overlay_1_0}}" },
	  "/2 /1",
	  0 },
	{ "a writable image",
	  { "ext4 /rw.img rw loop", "erofs /2 ro", "erofs /1 ro",
	    "format/mkdir/overlay overlay X-containerd.mkdir.path={{_mount_0_}}/upper:0755 "
	    "workdir={{_mount_0_}}/work upperdir={{_mount_0_}}/upper lowerdir={{_overlay_1_2_}}" },
	  "/2 /1 > /rw.img ext4 0",
	  0 },
	{ "a writable image that is not made",
	  { "mkfs/ext4 /rw.img X-containerd.mkfs.fs=ext4 X-containerd.mkfs.size=65536 rw loop",
	    "erofs /1 ro",
	    "format/mkdir/overlay overlay upperdir={{_mount_0_}}/upper lowerdir={{_mount_1_}}" },
	  "/1 > /rw.img ext4 65536",
	  0 },
	{ "a writable image with a name",
	  { "mkfs/ext2 /rw.img X-containerd.mkfs.size=1 X-containerd.mkfs.uuid=u-1", "erofs /1 ro",
	    "format/mkdir/overlay overlay upperdir={{_mount_0_}}/upper lowerdir={{_mount_1_}}" },
	  "/1 > /rw.img ext2 1 u-1",
	  0 },
	{ "a writable image of no size",
	  { "mkfs/ext4 /rw.img rw", "erofs /1",
	    "format/overlay o upperdir={{_mount_0_}}/upper lowerdir={{_mount_1_}}" },
	  "size=\" is missing",
	  -EINVAL },
	{ "a writable image of a strange size",
	  { "mkfs/ext4 /rw.img X-containerd.mkfs.size=1G", "erofs /1",
	    "format/overlay o upperdir={{_mount_0_}}/upper lowerdir={{_mount_1_}}" },
	  "no number of bytes",
	  -EINVAL },
	{ "a writable image of two kinds",
	  { "mkfs/ext4 /rw.img X-containerd.mkfs.size=1 X-containerd.mkfs.fs=ext3", "erofs /1",
	    "format/overlay o upperdir={{_mount_0_}}/upper lowerdir={{_mount_1_}}" },
	  "\"ext3\" is to be made for a mount of ext4",
	  -EINVAL },
	{ "a writable image that is read-only",
	  { "ext4 /rw.img ro loop", "erofs /1",
	    "format/overlay o upperdir={{_mount_0_}}/upper lowerdir={{_mount_1_}}" },
	  "/rw.img: option \"ro\"",
	  -EOPNOTSUPP },
	{ "another folder of a writable image",
	  { "ext4 /rw.img", "erofs /1",
	    "format/overlay o upperdir={{_mount_0_}}/fs lowerdir={{_mount_1_}}" },
	  "the folder \"upper\"",
	  -EOPNOTSUPP },
	{ "a writable image that the guest cannot mount",
	  { "xfs /rw.img", "erofs /1",
	    "format/overlay o upperdir={{_mount_0_}}/upper lowerdir={{_mount_1_}}" },
	  "mount 0 (xfs)",
	  -EOPNOTSUPP },
	{ "images of many devices",
	  { "erofs /fsmeta ro loop device=/2 device=/1",
	    "format/mkdir/overlay overlay lowerdir={{_mount_0_}}" },
	  "/fsmeta:/2:/1",
	  0 },
	{ "a view", { "erofs /1 ro", "format/bind {{_mount_0_}} ro rbind" }, "/1", 0 },
	{ "a view of one layer", { "erofs /1 ro loop" }, "/1", 0 },
	{ "mounted by the host",
	  { "overlay overlay index=off upperdir=/u lowerdir=/b:/a" },
	  "/b/ /a/ > /u/",
	  0 },
	{ "the last lowerdir counts", { "overlay overlay lowerdir=/b:/a lowerdir=/c" }, "/c/", 0 },
	{ "a bind", { "bind /x rbind" }, "", 0 },
	{ "a disk", { "ext4 /dev/sda rw" }, "", 0 },
	{ "no mount", { NULL }, "", 0 },
	{ "another number",
	  { "erofs /1", "format/overlay o lowerdir={{_mount_1_}}" },
	  "not understood",
	  -EINVAL },
	{ "a number beyond",
	  { "erofs /1", "format/overlay o lowerdir={{_overlay_0_7_}}" },
	  "not understood",
	  -EINVAL },
	{ "a huge number",
	  { "erofs /1", "format/overlay o lowerdir={{_mount_99999999999999999999_}}" },
	  "not understood",
	  -EINVAL },
	{ "another word",
	  { "erofs /1", "format/overlay o lowerdir={{_source_0_}}" },
	  "not understood",
	  -EINVAL },
	{ "two templates in one",
	  { "erofs /1", "format/overlay o lowerdir={{_mount_0_0_}}" },
	  "not understood",
	  -EINVAL },
	{ "no end",
	  { "erofs /1", "format/overlay o lowerdir={{_mount_0" },
	  "not understood",
	  -EINVAL },
	{ "nothing before",
	  { "format/overlay o lowerdir={{_mount_0_}}" },
	  "not understood",
	  -EINVAL },
	{ "not a template",
	  { "erofs /1", "mkdir/overlay o lowerdir={{_mount_0_}}" },
	  "no absolute path",
	  -EINVAL },
	{ "a folder of a layer",
	  { "erofs /1", "format/overlay o lowerdir={{_mount_0_}}/x" },
	  "no layer",
	  -EINVAL },
	{ "not to be written to",
	  { "erofs /1", "format/overlay o lowerdir={{_mount_0_}} upperdir={{_mount_0_}}/u" },
	  "cannot be written",
	  -EINVAL },
	{ "not to be read",
	  { "ext4 /1", "format/overlay o lowerdir={{_mount_0_}}" },
	  "no layer",
	  -EINVAL },
	{ "no layers", { "erofs /1", "format/overlay o upperdir=/u" }, "no lowerdir", -EINVAL },
	{ "a number in disguise", { "erofs /1", "overlay o lowerdir=@7" }, "no layer", -EINVAL },
	{ "a path from somewhere", { "erofs x.erofs ro" }, "no absolute path", -EINVAL },
	{ "a device from somewhere", { "erofs /1 device=x" }, "no absolute path", -EINVAL },
	{ "an empty path",
	  { "erofs /1", "overlay o lowerdir=/1::/2" },
	  "no absolute path",
	  -EINVAL },
	{ "dm-verity",
	  { "erofs /1 ro X-containerd.dmverity=/1.dmverity" },
	  "dmverity_mode",
	  -EOPNOTSUPP },
	{ "an option", { "erofs /1 ro dax" }, "\"dax\"", -EOPNOTSUPP },
	{ "no layers, writable",
	  { "ext4 /rw rw loop", "format/mkdir/bind {{_mount_0_}}/upper rw rbind" },
	  "without layers",
	  -EOPNOTSUPP },
	{ "another transform",
	  { "erofs /1", "shape/overlay o lowerdir=/1" },
	  "\"shape\"",
	  -EOPNOTSUPP },
	{ "another file system",
	  { "squashfs /1", "format/overlay o lowerdir={{_mount_0_}}" },
	  "mount 0 (squashfs)",
	  -EOPNOTSUPP },
	{ "another root", { "erofs /1", "tmpfs t" }, "mount 1 (tmpfs)", -EOPNOTSUPP },
};

static void test_mounts_are_read(void **state _unused_)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(layer_mounts_done) struct layer_mounts mounts = {};
		_cleanup_(error_done) struct error err = {};
		_cleanup_(given_done) struct given given = {};
		for (size_t m = 0; cases[i].mounts[m]; m++)
			give(&given, cases[i].mounts[m]);
		int r = layer_mounts_parse(given.list, given.count, &mounts, &err);
		_cleanup_free_ char *text = r < 0 ? xstrdup(error_message(&err)) : text_of(&mounts);
		bool good = r == cases[i].number && (r < 0 ? strstr(text, cases[i].result) != NULL
							   : !strcmp(text, cases[i].result));
		if (!good)
			fail_msg("%s: %d, %s", cases[i].name, r, text);
	}
}

/* As many as a disk has partitions, the data of other images among them. */
static void test_layers_are_counted(void **state _unused_)
{
	for (size_t count = LAYER_MOUNTS_IMAGES_MAX; count < LAYER_MOUNTS_IMAGES_MAX + 2; count++) {
		_cleanup_(layer_mounts_done) struct layer_mounts mounts = {};
		_cleanup_(given_done) struct given given = {};
		_cleanup_free_ char *overlay = xasprintf(
			"format/overlay o lowerdir={{_overlay_0_%zu_}}", count - 2);
		give(&given, "erofs /meta device=/data");
		for (size_t i = 1; i < count - 1; i++)
			give(&given, "erofs /layer");
		give(&given, overlay);
		int r = layer_mounts_parse(given.list, given.count, &mounts, NULL);
		assert_int_equal(r, count > LAYER_MOUNTS_IMAGES_MAX ? -E2BIG : 0);
		assert_int_equal(mounts.count, r < 0 ? 0 : count - 1);
	}
}

/* Of a plain overlay of folders, nothing is known here. */
static void test_other_overlays_are_others(void **state _unused_)
{
	_cleanup_(layer_mounts_done) struct layer_mounts mounts = {};
	_cleanup_(given_done) struct given given = {};

	give(&given, "overlay overlay lowerdir=/tmp:/no/such/folder uidmap=1:2:3");
	assert_int_equal(layer_mounts_find(given.list, given.count, &mounts, NULL), 0);
	assert_int_equal(mounts.count, 0);
}

/* ---------------------------------------------------------------- files */

static char *in_dir(const char *name)
{
	return path_join(test_folder, name);
}

/* A file of this size that begins as an image of so many blocks of 4096 bytes. */
static void write_image(const char *name, uint32_t blocks, size_t bytes)
{
	_cleanup_free_ char *path = in_dir(name);
	_cleanup_free_ char *data = xcalloc(1, bytes + 2048);
	const uint32_t magic = 0xe0f5e1e2;

	memcpy(data + 1024, &magic, sizeof(magic));
	data[1024 + 12] = 12;
	memcpy(data + 1024 + 36, &blocks, sizeof(blocks));
	assert_int_equal(file_write_volatile(path, data, bytes, 0644, NULL), 0);
}

/* The same, which refers to data from a block on. */
static void write_index(const char *name, uint32_t first, uint32_t blocks, size_t bytes)
{
	_cleanup_free_ char *path = in_dir(name), *data = NULL;
	const uint16_t table[2] = { 1, 16 }; /* one device, in the slot of 128 bytes at 2048 */
	size_t len;

	write_image(name, 1, bytes);
	assert_int_equal(file_read(path, 1 << 20, &data, &len, NULL), 0);
	memcpy(data + 1024 + 86, table, sizeof(table));
	memcpy(data + 2048 + 64, &blocks, sizeof(blocks));
	memcpy(data + 2048 + 68, &first, sizeof(first));
	assert_int_equal(file_write_volatile(path, data, len, 0644, NULL), 0);
}

static int open_of(const char *const *names, struct layer_files *files, struct error *err)
{
	_cleanup_(layer_mounts_done) struct layer_mounts mounts = {};
	_cleanup_(given_done) struct given given = {};
	_cleanup_(strbuf_done) struct strbuf line = {};

	for (size_t i = 0; names[i]; i++)
		strbuf_addf(&line, "%s%s/%s", i == 0 ? "erofs " : " device=", test_folder,
			    names[i]);
	give(&given, line.text);
	assert_int_equal(layer_mounts_parse(given.list, given.count, &mounts, err), 0);
	return layer_files_open(&mounts, files, err);
}

static void expect_layout(const struct layer_files *files, uint64_t unit, const char *wanted)
{
	_cleanup_(strv_done) struct strv layout = {};

	layer_files_layout(files, unit, &layout);
	assert_int_equal(layout.count, 1);
	assert_string_equal(layout.items[0], wanted);
}

static void test_files_follow_each_other(void **state _unused_)
{
	_cleanup_(layer_files_done) struct layer_files files = {}, same = {}, other = {};

	write_image("a", 1, 4096);
	write_image("b", 2, 8192 + 512); /* as one with a tar behind it */
	write_image("c", 1, 4096);
	assert_int_equal(open_of((const char *const[]){ "a", "b", "c", NULL }, &files, NULL), 0);
	assert_int_equal(files.count, 3);
	assert_true(files.has_pages);
	expect_layout(&files, 512, "0+8,8+17,25+8");
	expect_layout(&files, 4096, "0+8,8+24,32+8");
	assert_int_equal(open_of((const char *const[]){ "a", "b", "c", NULL }, &same, NULL), 0);
	assert_string_equal(files.key, same.key);
	assert_int_equal(open_of((const char *const[]){ "b", "a", "c", NULL }, &other, NULL), 0);
	assert_string_not_equal(files.key, other.key);
}

/* A window's memory is mapped by pages, and an image of a tar has blocks of a sector. */
static void test_blocks_may_be_no_pages(void **state _unused_)
{
	_cleanup_(layer_files_done) struct layer_files files = {};
	_cleanup_free_ char *path = in_dir("sectors");
	_cleanup_close_ int fd = -EBADF;

	write_image("pages", 1, 4096);
	write_image("sectors", 1, 4096);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, &(uint8_t){ 9 }, 1, 1024 + 12), 1);
	assert_int_equal(open_of((const char *const[]){ "pages", "sectors", NULL }, &files, NULL),
			 0);
	assert_false(files.has_pages);
}

/* It is behind the image, or given with it; else it is missing. */
static void test_data_that_an_image_refers_to_is_there(void **state _unused_)
{
	_cleanup_(layer_files_done) struct layer_files behind = {}, given = {}, missing = {};
	_cleanup_(error_done) struct error err = {};

	write_index("tar", 1, 2, 3 * 4096);
	assert_int_equal(open_of((const char *const[]){ "tar", NULL }, &behind, NULL), 0);
	write_index("meta", 1, 3, 3 * 4096);
	write_image("data", 1, 3 * 4096);
	assert_int_equal(open_of((const char *const[]){ "meta", "data", NULL }, &given, NULL), 0);
	assert_int_equal(open_of((const char *const[]){ "meta", NULL }, &missing, &err), -EBADMSG);
	assert_non_null(strstr(err.message, "other images that it refers to"));
}

static void test_wrong_files_are_named(void **state _unused_)
{
	static const struct {
		const char *name;
		uint32_t blocks;
		size_t bytes;
		int number;
		const char *why;
	} wrong[] = {
		{ "short", 3, 8192, -EBADMSG, "short: it is truncated: 8192 bytes of 12288" },
		{ "odd", 1, 4097, -EBADMSG, "odd: it is truncated: 4097 bytes" },
		{ "tiny", 0, 512, -EBADMSG, "tiny: it is no EROFS image" },
		{ "empty", 0, 0, -EBADMSG, "empty: it is truncated: 0 bytes" },
		{ "missing", 0, SIZE_MAX, -ENOENT, "missing: cannot open" },
	};

	write_image("good", 1, 4096);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		_cleanup_(layer_files_done) struct layer_files files = {};
		_cleanup_(error_done) struct error err = {};
		const char *const names[] = { "good", wrong[i].name, NULL };
		if (wrong[i].bytes != SIZE_MAX)
			write_image(wrong[i].name, wrong[i].blocks, wrong[i].bytes);
		assert_int_equal(open_of(names, &files, &err), wrong[i].number);
		assert_non_null(strstr(error_message(&err), wrong[i].why));
	}
	_cleanup_(layer_files_done) struct layer_files files = {};
	_cleanup_(error_done) struct error err = {};
	assert_int_equal(open_of((const char *const[]){ ".", NULL }, &files, &err), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mounts_are_read),
		cmocka_unit_test(test_layers_are_counted),
		cmocka_unit_test(test_other_overlays_are_others),
		cmocka_unit_test(test_files_follow_each_other),
		cmocka_unit_test(test_blocks_may_be_no_pages),
		cmocka_unit_test(test_data_that_an_image_refers_to_is_there),
		cmocka_unit_test(test_wrong_files_are_named),
	};

	return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
