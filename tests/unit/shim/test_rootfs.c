/* Mounts of the share, in a mount namespace of the test's own. Needs root; without, it says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "shim/rootfs.h"

static char dir[] = "/tmp/kiln-test-rootfs.XXXXXX";

static char *in_dir(const char *name)
{
	return path_join(dir, name);
}

static void make(const char *name)
{
	_cleanup_free_ char *path = in_dir(name);

	assert_int_equal(dir_make(path, 0755, NULL), 0);
}

static void write_text(const char *name, const char *text)
{
	_cleanup_free_ char *path = in_dir(name);
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void assert_text(const char *name, const char *text)
{
	_cleanup_free_ char *path = in_dir(name);
	_cleanup_free_ char *got = NULL;

	assert_int_equal(file_read(path, 100, &got, NULL, NULL), 0);
	assert_string_equal(got, text);
}

static bool exists(const char *name)
{
	_cleanup_free_ char *path = in_dir(name);

	return path_exists(path);
}

static size_t mounts_here(void)
{
	_cleanup_free_ char *text = NULL;
	size_t count = 0;

	assert_int_equal(file_read("/proc/self/mountinfo", 1 << 20, &text, NULL, NULL), 0);
	for (const char *p = text; (p = strstr(p, dir)); p++)
		count += strncmp(p + strlen(dir), "/share/", 7) == 0;
	return count;
}

static int setup(void **state _unused_)
{
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	assert_non_null(mkdtemp(dir));
	make("share");
	make("bundle/rootfs");
	write_text("bundle/rootfs/file", "bundle's");
	return 0;
}

static int teardown(void **state _unused_)
{
	assert_int_equal(mounts_here(), 0);
	assert_false(exists("share/c1"));
	return path_remove(dir, NULL);
}

static int mount_it(struct spec *spec, Containerd__Types__Mount *const *mounts, size_t nmounts,
		    struct rootfs **ret, struct error *err)
{
	_cleanup_free_ char *share = in_dir("share");
	_cleanup_free_ char *root = in_dir("bundle/rootfs");
	_cleanup_free_ char *scratch = in_dir("layers");
	struct idmap idmap = IDMAP_NONE;
	struct rootfs_options options = {
		.share_dir = share,
		.scratch_dir = scratch,
		.idmap = &idmap,
		.container_id = "c1",
		.spec = spec,
		.mounts = mounts,
		.nmounts = nmounts,
	};

	if (!spec->rootfs)
		spec->rootfs = root;
	int r = rootfs_mount(&options, ret, err);
	if (spec->rootfs == root)
		spec->rootfs = NULL;
	return r;
}

static void without_mounts_the_bundle_is_bound(void **state _unused_)
{
	struct rootfs *rootfs = NULL;
	struct spec spec = {};

	assert_int_equal(mount_it(&spec, NULL, 0, &rootfs, NULL), 0);
	assert_text("share/c1/rootfs/file", "bundle's");
	rootfs_unmount(rootfs);
	assert_true(exists("bundle/rootfs/file"));
}

/* An overlay like containerd's; layers many enough that the options fill more than a page. */
static void overlay_is_mounted(unsigned layers)
{
	_cleanup_(strbuf_done) struct strbuf lower = {};
	_cleanup_free_ char *upper = xasprintf("upperdir=%s/snapshots/up/fs", dir);
	_cleanup_free_ char *work = xasprintf("workdir=%s/snapshots/up/work", dir);
	Containerd__Types__Mount mount = CONTAINERD__TYPES__MOUNT__INIT;
	Containerd__Types__Mount *mounts[] = { &mount };
	struct rootfs *rootfs = NULL;
	struct spec spec = {};
	struct error err = {};
	char *options[3];

	make("snapshots/up/fs");
	make("snapshots/up/work");
	for (unsigned i = 0; i < layers; i++) {
		_cleanup_free_ char *name = xasprintf("snapshots/%u/fs", i);
		_cleanup_free_ char *file = xasprintf("%s/file%u", name, i);
		make(name);
		write_text(file, "layer");
		strbuf_addf(&lower, "%s%s/%s", i ? ":" : "lowerdir=", dir, name);
	}
	options[0] = work;
	options[1] = upper;
	options[2] = (char *)strbuf_text(&lower);
	mount.type = (char *)"overlay";
	mount.source = (char *)"overlay";
	mount.options = options;
	mount.n_options = 3;
	if (mount_it(&spec, mounts, 1, &rootfs, &err) < 0)
		fail_msg("%s", error_message(&err));
	_cleanup_free_ char *last = xasprintf("share/c1/rootfs/file%u", layers - 1);
	assert_text(last, "layer");
	write_text("share/c1/rootfs/new", "written");
	rootfs_unmount(rootfs);
	assert_text("snapshots/up/fs/new", "written");
}

static void small_overlay_is_mounted(void **state _unused_)
{
	overlay_is_mounted(1);
}

static void overlay_of_many_layers_is_mounted(void **state _unused_)
{
	_cleanup_free_ char *before = getcwd(NULL, 0);

	overlay_is_mounted(120);
	_cleanup_free_ char *after = getcwd(NULL, 0);
	assert_string_equal(before, after);
}

static void volumes_are_bound_and_read_only_ones_protected(void **state _unused_)
{
	_cleanup_free_ char *folder = in_dir("vol");
	_cleanup_free_ char *file = in_dir("vol/f");
	struct spec_volume volumes[] = { { folder, false, true }, { file, true, false } };
	struct spec spec = { .volumes = volumes, .nvolumes = 2 };
	struct rootfs *rootfs = NULL;

	make("vol");
	write_text("vol/f", "data");
	assert_int_equal(mount_it(&spec, NULL, 0, &rootfs, NULL), 0);
	write_text("share/c1/mounts/0/g", "more");
	assert_text("share/c1/mounts/1", "data");
	_cleanup_free_ char *target = in_dir("share/c1/mounts/1");
	assert_int_equal(open(target, O_WRONLY), -1);
	assert_int_equal(errno, EROFS);
	rootfs_unmount(rootfs);
	assert_text("vol/g", "more");
}

static void missing_sources_leave_nothing(void **state _unused_)
{
	struct spec_volume volume = { (char *)"/nowhere/vol", false, false };
	struct spec spec = { .volumes = &volume, .nvolumes = 1 };
	struct spec missing = { .rootfs = (char *)"/nowhere/rootfs" };
	_cleanup_(error_done) struct error err = {};
	struct rootfs *rootfs = NULL;

	assert_int_equal(mount_it(&spec, NULL, 0, &rootfs, &err), -EINVAL);
	assert_non_null(strstr(error_message(&err), "/nowhere/vol"));
	assert_int_equal(mount_it(&missing, NULL, 0, &rootfs, &err), -EINVAL);
	assert_non_null(strstr(error_message(&err), "/nowhere/rootfs"));
	assert_int_equal(mounts_here(), 0);
}

static void links_planted_by_the_guest_are_not_followed(void **state _unused_)
{
	_cleanup_free_ char *link = in_dir("share/c1");
	_cleanup_free_ char *victim = in_dir("victim");
	_cleanup_(error_done) struct error err = {};
	struct rootfs *rootfs = NULL;
	struct spec spec = {};

	make("victim");
	assert_int_equal(symlink(victim, link), 0);
	assert_int_equal(mount_it(&spec, NULL, 0, &rootfs, &err), -EEXIST);
	assert_false(exists("victim/rootfs"));
	assert_int_equal(unlink(link), 0);
}

static void unknown_kinds_of_mounts_are_refused(void **state _unused_)
{
	Containerd__Types__Mount mount = CONTAINERD__TYPES__MOUNT__INIT;
	Containerd__Types__Mount *mounts[] = { &mount };
	char *options[] = { (char *)"loop" };
	_cleanup_(error_done) struct error err = {};
	struct rootfs *rootfs = NULL;
	struct spec spec = {};

	mount.type = (char *)"ext4";
	mount.source = (char *)"/nowhere.img";
	mount.options = options;
	mount.n_options = 1;
	assert_int_equal(mount_it(&spec, mounts, 1, &rootfs, &err), -EINVAL);
	assert_non_null(strstr(error_message(&err), "loop"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(without_mounts_the_bundle_is_bound),
		T(small_overlay_is_mounted),
		T(overlay_of_many_layers_is_mounted),
		T(volumes_are_bound_and_read_only_ones_protected),
		T(missing_sources_leave_nothing),
		T(links_planted_by_the_guest_are_not_followed),
		T(unknown_kinds_of_mounts_are_refused),
	};

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		printf("skipped: a mount namespace of its own needs root\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
