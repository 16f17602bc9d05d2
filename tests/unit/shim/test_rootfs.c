/* Root file systems in the share. */
#include "share_fixture.h"

#include "base/strbuf.h"
#include "factory/guest/guest_root.h"
#include "shim/lower_folders.h"
#include "shim/rootfs.h"

/* What the test mounts: an overlay of containerd's, or nothing. */
static enum rootfs_driver driver;
static struct layer_image image = LAYER_IMAGE_EMPTY;
static const char *upper_place;
static struct storages storages;
static struct lower_folders *lowers; /* the machine's, which a test has once */
static Grpc__Spec oci = GRPC__SPEC__INIT;
static Grpc__Root oci_root; /* its path is what rootfs_mount() has set */

static int end_machine(void **state)
{
	lower_folders_free(steal_ptr(lowers));
	return teardown(state);
}

static int mount_it(struct spec *spec, Containerd__Types__Mount *const *mounts, size_t nmounts,
		    struct rootfs **ret, struct error *err)
{
	_cleanup_free_ char *share = in_dir("share");
	_cleanup_free_ char *root = in_dir("bundle/rootfs");
	_cleanup_free_ char *scratch = scratch_dir();

	if (!lowers)
		lowers = lower_folders_new(share);
	struct rootfs_options options = {
		.driver = driver,
		.image = &image,
		.upper = upper_place,
		.lowers = lowers,
		.container_id = "c1",
		.folder = &folder,
		.scratch_dir = scratch,
		.idmap = &idmap,
		.spec = spec,
		.mounts = mounts,
		.nmounts = nmounts,
	};

	if (!spec->rootfs)
		spec->rootfs = root;
	oci.root = &oci_root;
	spec->oci = &oci;
	make("share/lower");
	int r = folder_make(err);
	if (r == 0)
		r = rootfs_mount(&options, &storages, ret, err);
	if (spec->rootfs == root)
		spec->rootfs = NULL;
	return r;
}

static void use(enum rootfs_driver wanted)
{
	driver = wanted;
	storages_done(&storages);
	free(oci_root.path);
	oci_root.path = NULL;
}

static void without_mounts_the_bundle_is_bound(void **state _unused_)
{
	struct rootfs *rootfs = NULL;
	struct spec spec = {};

	use(ROOTFS_SHARE);
	assert_int_equal(mount_it(&spec, NULL, 0, &rootfs, NULL), 0);
	assert_text("share/c1/rootfs/file", "bundle's");
	rootfs_unmount(rootfs);
	assert_true(exists("bundle/rootfs/file"));
}

/* By the share: what is written is in the upper folder. */
static void shared_overlay_is_writable(const char *last)
{
	_cleanup_free_ char *path = path_join("share/c1/rootfs", last);

	assert_text(path, "layer");
	write_text("share/c1/rootfs/new", "written");
	assert_text("snapshots/up/fs/new", "written");
	assert_string_equal(oci_root.path, "/run/kata-containers/shared/containers/c1/rootfs");
	assert_int_equal(storages.count, 0);
}

/* The folder that the guest is told of, seen from the host. */
static char *lower_of(const Grpc__Storage *storage)
{
	const char *name = str_after(storage->options[0], "lowerdir+=" GUEST_LOWER "/");

	assert_non_null(name);
	return path_join("share/lower", name);
}

static void lower_is_readonly(const char *last)
{
	_cleanup_free_ char *lower = lower_of(storages.items[0]);
	_cleanup_free_ char *file = path_join(lower, last);
	_cleanup_free_ char *path = in_dir(file);

	assert_text(file, "layer");
	assert_int_equal(open(path, O_WRONLY), -1);
	assert_int_equal(errno, EROFS);
	assert_string_equal(storages.items[0]->driver, "overlayfs");
	assert_string_equal(oci_root.path, "/run/kata-containers/c1/rootfs");
	assert_string_equal(storages.items[0]->mount_point, oci_root.path);
	assert_false(exists("share/c1/rootfs"));
}

/* An overlay like containerd's; layers many enough that the options fill more than a page. */
static void overlay_is_mounted(unsigned layers, void (*check)(const char *last))
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
	_cleanup_free_ char *last = xasprintf("file%u", layers - 1);
	check(last);
	rootfs_unmount(rootfs);
}

static void small_overlay_is_mounted(void **state _unused_)
{
	use(ROOTFS_SHARE);
	overlay_is_mounted(1, shared_overlay_is_writable);
}

static void layers_are_mounted_for_the_guest(void **state _unused_)
{
	use(ROOTFS_OVERLAY);
	overlay_is_mounted(1, lower_is_readonly);
}

static void what_was_written_before_is_the_topmost_layer(void **state _unused_)
{
	use(ROOTFS_OVERLAY);
	make("snapshots/up/fs");
	write_text("snapshots/up/fs/file0", "layer");
	overlay_is_mounted(1, lower_is_readonly);
	assert_text("snapshots/up/fs/file0", "layer");
}

/* Each has a folder of its own, and the guest is told where each lies. */
static void images_of_layers_are_the_lower_side(void **state _unused_)
{
	struct rootfs *rootfs = NULL;
	struct spec spec = {};

	use(ROOTFS_OVERLAY);
	image.slot = 1;
	strv_add(&image.layout, "0+16");
	strv_add(&image.layout, "16+8,24+8");
	assert_int_equal(mount_it(&spec, NULL, 0, &rootfs, NULL), 0);
	image.slot = LAYER_IMAGE_NONE;
	strv_done(&image.layout);
	assert_int_equal(mounts_here(), 0);
	assert_int_equal(storages.count, 2);
	assert_string_equal(storages.items[0]->driver, "layers");
	assert_string_equal(storages.items[0]->source, "/dev/disk/by-id/virtio-kiln-slot1");
	assert_int_equal(storages.items[0]->n_options, 2);
	assert_string_equal(storages.items[0]->options[1], "16+8,24+8");
	_cleanup_free_ char *lower = xasprintf("lowerdir+=%s/1", storages.items[0]->mount_point);
	assert_int_equal(storages.items[1]->n_options, 2);
	assert_string_equal(storages.items[1]->options[1], lower);
	rootfs_unmount(rootfs);
}

/* The same, of a window. */
static void images_of_layers_in_a_window_are_the_lower_side(void **state _unused_)
{
	struct rootfs *rootfs = NULL;
	struct spec spec = {};

	use(ROOTFS_OVERLAY);
	image.window = xstrdup("/dev/pmem2");
	strv_add(&image.layout, "0+16");
	assert_int_equal(mount_it(&spec, NULL, 0, &rootfs, NULL), 0);
	layer_image_done(&image);
	assert_string_equal(storages.items[0]->driver, "layers");
	assert_string_equal(storages.items[0]->source, "/dev/pmem2");
	assert_string_equal(storages.items[0]->mount_point, "/run/kiln/w2");
	assert_string_equal(storages.items[0]->driver_options[0], "kiln.dax");
	assert_string_equal(storages.items[1]->options[0], "lowerdir+=/run/kiln/w2/0");
	rootfs_unmount(rootfs);
	share_folder_remove(&folder);
}

/* The host's kernel looks into none. */
static void images_of_layers_are_not_shared(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};
	const struct layer_mounts none = {}, one = { .count = 1 };
	enum rootfs_driver chosen;

	assert_int_equal(rootfs_choose(ROOTFS_SHARE, &one, NULL, 0, &chosen, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.message, "io.kiln.rootfs=overlay"));
	assert_int_equal(rootfs_choose(ROOTFS_OVERLAY, &one, NULL, 0, &chosen, NULL), 0);
	assert_int_equal(chosen, ROOTFS_OVERLAY);
	assert_int_equal(rootfs_choose(ROOTFS_SHARE, &none, NULL, 0, &chosen, NULL), 0);
	assert_int_equal(chosen, ROOTFS_SHARE);
}

/* The guest's folder for what is written: its scratch disk, or another that is mounted there. */
static void what_is_written_has_its_place(void **state _unused_)
{
	struct rootfs *rootfs = NULL;
	struct spec spec = {};

	image.slot = 0;
	for (int own = 0; own < 2; own++) {
		use(ROOTFS_OVERLAY);
		upper_place = own ? "/run/upper" : NULL;
		assert_int_equal(mount_it(&spec, NULL, 0, &rootfs, NULL), 0);
		assert_int_equal(storages.items[1]->n_driver_options, 1);
		assert_string_equal(storages.items[1]->driver_options[0],
				    own ? "kiln.overlay-upper=/run/upper"
					: "io.katacontainers.fs-opt.overlay-rw");
		rootfs_unmount(rootfs);
		share_folder_remove(&folder);
	}
	upper_place = NULL;
	image.slot = LAYER_IMAGE_NONE;
}

/* Nothing is mounted on the host for it. */
static void image_on_a_slot_is_the_lower_side(void **state _unused_)
{
	struct rootfs *rootfs = NULL;
	struct spec spec = {};

	use(ROOTFS_OVERLAY);
	image.slot = 2;
	assert_int_equal(mount_it(&spec, NULL, 0, &rootfs, NULL), 0);
	image.slot = LAYER_IMAGE_NONE;
	assert_int_equal(mounts_here(), 0);
	assert_int_equal(storages.count, 2);
	assert_string_equal(storages.items[0]->driver, "blk");
	assert_string_equal(storages.items[0]->source, "/dev/disk/by-id/virtio-kiln-slot2");
	_cleanup_free_ char *lower = xasprintf("lowerdir+=%s", storages.items[0]->mount_point);
	assert_string_equal(storages.items[1]->options[0], lower);
	rootfs_unmount(rootfs);
}

/* Mounts it for a container that then ends; what the guest is told of. */
static char *lower_of_one(struct spec *spec, const char *text)
{
	struct rootfs *rootfs = NULL;
	size_t last = storages.count;

	assert_int_equal(mount_it(spec, NULL, 0, &rootfs, NULL), 0);
	char *lower = lower_of(storages.items[last]);
	_cleanup_free_ char *file = path_join(lower, "file");
	assert_text(file, text);
	rootfs_unmount(rootfs);
	share_folder_remove(&folder);
	assert_text(file, text); /* the guest may ask for it by this name again */
	return lower;
}

/* A guest knows a file by what it is, and asks for it by its first name. */
static void the_same_layers_are_one_folder(void **state _unused_)
{
	_cleanup_free_ char *other_root = in_dir("other");
	struct spec spec = {}, other = { .rootfs = other_root };

	use(ROOTFS_OVERLAY);
	make("other");
	write_text("other/file", "other's");
	_cleanup_free_ char *first = lower_of_one(&spec, "bundle's");
	_cleanup_free_ char *second = lower_of_one(&other, "other's");
	_cleanup_free_ char *third = lower_of_one(&spec, "bundle's");
	assert_string_equal(first, third);
	assert_string_not_equal(first, second);
}

static int remove_snapshots(void)
{
	_cleanup_free_ char *path = in_dir("snapshots");

	return path_remove(path, NULL);
}

static void overlay_of_many_layers_is_mounted(void **state _unused_)
{
	_cleanup_free_ char *before = getcwd(NULL, 0);

	use(ROOTFS_SHARE);
	overlay_is_mounted(120, shared_overlay_is_writable);
	share_folder_remove(&folder);
	use(ROOTFS_OVERLAY);
	assert_int_equal(remove_snapshots(), 0);
	overlay_is_mounted(120, lower_is_readonly);
	_cleanup_free_ char *after = getcwd(NULL, 0);
	assert_string_equal(before, after);
}

static void missing_sources_leave_nothing(void **state _unused_)
{
	struct spec missing = { .rootfs = (char *)"/nowhere/rootfs" };
	_cleanup_(error_done) struct error err = {};
	struct rootfs *rootfs = NULL;

	assert_int_equal(mount_it(&missing, NULL, 0, &rootfs, &err), -ENOENT);
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

#define ROOTFS_TEST(f) cmocka_unit_test_setup_teardown(f, setup, end_machine)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ROOTFS_TEST(without_mounts_the_bundle_is_bound),
		ROOTFS_TEST(small_overlay_is_mounted),
		ROOTFS_TEST(layers_are_mounted_for_the_guest),
		ROOTFS_TEST(what_was_written_before_is_the_topmost_layer),
		ROOTFS_TEST(images_of_layers_are_the_lower_side),
		ROOTFS_TEST(images_of_layers_in_a_window_are_the_lower_side),
		ROOTFS_TEST(images_of_layers_are_not_shared),
		ROOTFS_TEST(what_is_written_has_its_place),
		ROOTFS_TEST(image_on_a_slot_is_the_lower_side),
		ROOTFS_TEST(the_same_layers_are_one_folder),
		ROOTFS_TEST(overlay_of_many_layers_is_mounted),
		ROOTFS_TEST(missing_sources_leave_nothing),
		ROOTFS_TEST(links_planted_by_the_guest_are_not_followed),
		ROOTFS_TEST(unknown_kinds_of_mounts_are_refused),
	};

	if (!enter_private_mounts())
		return 0;
	int r = cmocka_run_group_tests(tests, NULL, NULL);
	use(ROOTFS_SHARE);
	return r;
}
