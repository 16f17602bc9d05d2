/* Root file systems in the share. */
#include "share_fixture.h"

#include "base/strbuf.h"
#include "shim/rootfs.h"

static int mount_it(struct spec *spec, Containerd__Types__Mount *const *mounts, size_t nmounts,
		    struct rootfs **ret, struct error *err)
{
	_cleanup_free_ char *root = in_dir("bundle/rootfs");
	_cleanup_free_ char *scratch = scratch_dir();
	struct rootfs_options options = {
		.folder = &folder,
		.scratch_dir = scratch,
		.idmap = &idmap,
		.spec = spec,
		.mounts = mounts,
		.nmounts = nmounts,
	};

	if (!spec->rootfs)
		spec->rootfs = root;
	int r = folder_make(err);
	if (r == 0)
		r = rootfs_mount(&options, ret, err);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(without_mounts_the_bundle_is_bound),
		T(small_overlay_is_mounted),
		T(overlay_of_many_layers_is_mounted),
		T(missing_sources_leave_nothing),
		T(links_planted_by_the_guest_are_not_followed),
		T(unknown_kinds_of_mounts_are_refused),
	};

	if (!enter_private_mounts())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
