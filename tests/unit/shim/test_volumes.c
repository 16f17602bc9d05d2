/* Volumes: what is one, and how the host shows it to the machine. */
#include "share_fixture.h"

#include <sys/statvfs.h>

#include "base/strings.h"
#include "proto/guest_disks.h"
#include "shim/spec.h"
#include "shim/volumes.h"

static enum volumes_driver driver;
static struct storages storages; /* of the test; emptied by oci_done() */

/* An OCI configuration with up to 4 mounts. */
struct oci {
	Grpc__Spec spec;
	Grpc__Mount mounts[4];
	Grpc__Mount *list[4];
};

static void oci_init(struct oci *oci)
{
	grpc__spec__init(&oci->spec);
	oci->spec.mounts = oci->list;
}

static void oci_done(struct oci *oci)
{
	storages_done(&storages);
	for (size_t i = 0; i < oci->spec.n_mounts; i++) {
		for (size_t j = 0; j < oci->mounts[i].n_options; j++)
			free(oci->mounts[i].options[j]);
		free(oci->mounts[i].options);
		free(oci->mounts[i].source);
		free(oci->mounts[i].destination);
		free(oci->mounts[i].type);
	}
}

/* options: words with commas between them. Takes source. */
static Grpc__Mount *oci_add(struct oci *oci, const char *type, char *source,
			    const char *destination, const char *options)
{
	Grpc__Mount *mount = &oci->mounts[oci->spec.n_mounts];
	_cleanup_free_ char *words = xstrdup(options);

	assert_true(oci->spec.n_mounts < ARRAY_SIZE(oci->mounts));
	grpc__mount__init(mount);
	mount->type = xstrdup(type);
	mount->source = source;
	mount->destination = xstrdup(destination);
	for (char *save, *word = strtok_r(words, ",", &save); word;
	     word = strtok_r(NULL, ",", &save)) {
		mount->options = xrealloc_array(mount->options, mount->n_options + 1,
						sizeof(char *));
		mount->options[mount->n_options++] = xstrdup(word);
	}
	oci->list[oci->spec.n_mounts++] = mount;
	return mount;
}

static int mount_them(struct oci *oci, struct volumes **ret, struct error *err)
{
	_cleanup_free_ char *scratch = scratch_dir();
	const struct volumes_options options = {
		.driver = driver,
		.folder = &folder,
		.container_id = "c1",
		.scratch_dir = scratch,
		.idmap = &idmap,
	};

	assert_int_equal(folder_make(NULL), 0);
	return volumes_mount(&oci->spec, &options, &storages, ret, err);
}

static void binds_of_the_host_become_volumes(void **state _unused_)
{
	_cleanup_(oci_done) struct oci oci = {};
	struct volumes *volumes = NULL;

	oci_init(&oci);
	make("a");
	make("b");
	oci_add(&oci, "proc", xstrdup("proc"), "/proc", "");
	oci_add(&oci, "bind", in_dir("a"), "/a", "rbind,ro");
	oci_add(&oci, "bind", xstrdup("/sys"), "/sys", "rbind");
	oci_add(&oci, "", in_dir("b"), "/b", "bind");
	assert_int_equal(mount_them(&oci, &volumes, NULL), 0);
	assert_string_equal(oci.mounts[0].source, "proc");
	assert_string_equal(oci.mounts[1].source,
			    "/run/kata-containers/shared/containers/c1/mounts/0");
	assert_string_equal(oci.mounts[2].source, "/sys");
	assert_string_equal(oci.mounts[3].source,
			    "/run/kata-containers/shared/containers/c1/mounts/1");
	volumes_unmount(volumes);
}

static void virtio_fs_shows_the_same_folder(void **state _unused_)
{
	_cleanup_(oci_done) struct oci oci = {};
	struct volumes *volumes = NULL;

	oci_init(&oci);
	make("a");
	oci_add(&oci, "bind", in_dir("a"), "/a", "rbind");
	driver = VOLUMES_VIRTIOFS_LOCKS;
	assert_int_equal(mount_them(&oci, &volumes, NULL), 0);
	driver = VOLUMES_9P;
	assert_int_equal(storages.count, 2);
	assert_string_equal(storages.items[0]->driver, "virtio-fs");
	assert_string_equal(storages.items[0]->source, "kilnVolumes");
	assert_string_equal(storages.items[1]->driver, "bind");
	assert_string_equal(storages.items[1]->source, "/run/kiln/host-volumes/share/c1");
	assert_string_equal(oci.mounts[0].source, "/run/kiln/host-volumes/containers/c1/mounts/0");
	volumes_unmount(volumes);
}

static void without_volumes_nothing_is_mounted(void **state _unused_)
{
	_cleanup_(oci_done) struct oci oci = {};
	struct volumes *volumes = NULL;

	oci_init(&oci);
	oci_add(&oci, "proc", xstrdup("proc"), "/proc", "");
	driver = VOLUMES_VIRTIOFS;
	assert_int_equal(mount_them(&oci, &volumes, NULL), 0);
	driver = VOLUMES_9P;
	assert_int_equal(storages.count, 0);
	volumes_unmount(volumes);
}

static void volumes_are_bound_and_read_only_ones_protected(void **state _unused_)
{
	_cleanup_free_ char *target = in_dir("share/c1/mounts/1");
	_cleanup_(oci_done) struct oci oci = {};
	struct volumes *volumes = NULL;

	oci_init(&oci);
	make("vol");
	write_text("vol/f", "data");
	oci_add(&oci, "bind", in_dir("vol"), "/v", "rbind");
	oci_add(&oci, "bind", in_dir("vol/f"), "/f", "rbind,ro");
	assert_int_equal(mount_them(&oci, &volumes, NULL), 0);
	write_text("share/c1/mounts/0/g", "more");
	assert_text("share/c1/mounts/1", "data");
	assert_int_equal(open(target, O_WRONLY), -1);
	assert_int_equal(errno, EROFS);
	volumes_unmount(volumes);
	assert_text("vol/g", "more");
}

static void missing_sources_leave_nothing(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};
	_cleanup_(oci_done) struct oci oci = {};
	struct volumes *volumes = NULL;

	oci_init(&oci);
	make("vol");
	oci_add(&oci, "bind", in_dir("vol"), "/v", "bind");
	oci_add(&oci, "bind", xstrdup("/nowhere/vol"), "/w", "bind");
	assert_int_equal(mount_them(&oci, &volumes, &err), -ENOENT);
	assert_non_null(strstr(error_message(&err), "/nowhere/vol"));
	assert_int_equal(mounts_here(), 0);
}

static bool has_option(char *const *options, size_t count, const char *option)
{
	for (size_t i = 0; i < count; i++)
		if (str_equal(options[i], option))
			return true;
	return false;
}

static void assert_option(const Grpc__Storage *storage, const char *option)
{
	if (!has_option(storage->options, storage->n_options, option))
		fail_msg("no option %s", option);
}

static void mount_tmpfs(const char *name, const char *options, unsigned long flags)
{
	_cleanup_free_ char *path = in_dir(name);

	assert_int_equal(mount("tmpfs", path, "tmpfs", flags, options), 0);
}

static void unmount(const char *name)
{
	_cleanup_free_ char *path = in_dir(name);

	assert_int_equal(umount2(path, MNT_DETACH), 0);
}

#define EMPTY_DIR "pod/volumes/kubernetes.io~empty-dir/cache"

static void empty_dirs_are_the_guests(void **state _unused_)
{
	_cleanup_free_ char *path = in_dir(EMPTY_DIR);
	_cleanup_(oci_done) struct oci oci = {};
	struct volumes *volumes = NULL;

	oci_init(&oci);
	make(EMPTY_DIR);
	assert_int_equal(chown(path, 7, 8), 0);
	assert_int_equal(chmod(path, 02775), 0);
	oci_add(&oci, "bind", in_dir(EMPTY_DIR), "/a", "rbind,ro");
	oci_add(&oci, "bind", in_dir(EMPTY_DIR), "/b", "rbind,noexec");
	assert_int_equal(mount_them(&oci, &volumes, NULL), 0);
	assert_int_equal(storages.count, 2);
	const Grpc__Storage *storage = storages.items[0];

	assert_string_equal(storage->driver, "local");
	assert_non_null(str_after(storage->mount_point, GUEST_SCRATCH "/volumes/cache-"));
	assert_string_equal(storage->driver_options[0], "kiln.keep");
	assert_option(storage, "mode=2775");
	assert_option(storage, "uid=7");
	assert_option(storage, "gid=8");
	assert_string_equal(storages.items[1]->mount_point, storage->mount_point);
	assert_string_equal(oci.mounts[0].source, storage->mount_point);
	assert_true(has_option(oci.mounts[0].options, oci.mounts[0].n_options, "ro"));
	assert_int_equal(mounts_here(), 0);
	volumes_unmount(volumes);
}

static void sub_paths_of_empty_dirs_are_folders_in_them(void **state _unused_)
{
	static const char *const levels[] = { "", "/some", "/some/where" };
	_cleanup_free_ char *some = in_dir(EMPTY_DIR "/some");
	_cleanup_free_ char *sub = in_dir(EMPTY_DIR "/some/where");
	_cleanup_free_ char *shown = in_dir("pod/volume-subpaths/cache/main/0");
	_cleanup_(oci_done) struct oci oci = {};
	struct volumes *volumes = NULL;

	oci_init(&oci);
	make(EMPTY_DIR "/some/where");
	assert_int_equal(chmod(some, 0750), 0);
	assert_int_equal(chmod(sub, 0701), 0);
	make("pod/volume-subpaths/cache/main/0");
	assert_int_equal(mount(sub, shown, NULL, MS_BIND, NULL), 0);
	oci_add(&oci, "bind", xstrdup(shown), "/a", "rbind");
	assert_int_equal(mount_them(&oci, &volumes, NULL), 0);
	assert_int_equal(storages.count, ARRAY_SIZE(levels));
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		assert_string_equal(storages.items[i]->driver, "local");
		assert_string_equal(
			str_after(storages.items[i]->mount_point, storages.items[0]->mount_point),
			levels[i]);
	}
	assert_option(storages.items[1], "mode=750");
	assert_option(storages.items[2], "mode=701");
	assert_string_equal(oci.mounts[0].source, storages.items[2]->mount_point);
	volumes_unmount(volumes);
	unmount("pod/volume-subpaths/cache/main/0");
}

static void other_sub_paths_of_empty_dirs_are_refused(void **state _unused_)
{
	_cleanup_free_ char *shown = in_dir("pod/volume-subpaths/cache/main/0");
	_cleanup_(error_done) struct error err = {};
	_cleanup_(oci_done) struct oci oci = {};
	struct volumes *volumes = NULL;

	oci_init(&oci);
	make(EMPTY_DIR);
	make("pod/volume-subpaths/cache/main/0");
	oci_add(&oci, "bind", xstrdup(shown), "/a", "rbind");
	assert_int_equal(mount_them(&oci, &volumes, &err), -EINVAL);
	assert_non_null(strstr(error_message(&err), shown));
}

static void tmpfs_of_the_pod_are_the_guests(void **state _unused_)
{
	_cleanup_(oci_done) struct oci oci = {};
	struct volumes *volumes = NULL;

	oci_init(&oci);
	make(EMPTY_DIR);
	make("shm");
	mount_tmpfs(EMPTY_DIR, "size=2m,mode=0700", 0);
	mount_tmpfs("shm", "size=1m,mode=1777", MS_NOSUID | MS_NODEV | MS_NOEXEC);
	oci_add(&oci, "bind", in_dir(EMPTY_DIR), "/a", "rbind");
	oci_add(&oci, "bind", in_dir("shm"), "/dev/shm", "rbind");
	oci_add(&oci, "bind", in_dir("shm"), "/elsewhere", "rbind");
	assert_int_equal(mount_them(&oci, &volumes, NULL), 0);
	assert_int_equal(storages.count, 2);
	assert_string_equal(storages.items[0]->driver, "ephemeral");
	assert_option(storages.items[0], "size=2097152");
	assert_option(storages.items[0], "mode=700");
	assert_false(has_option(storages.items[0]->options, storages.items[0]->n_options, "nodev"));
	assert_option(storages.items[1], "size=1048576");
	assert_option(storages.items[1], "mode=1777");
	assert_option(storages.items[1], "nosuid");
	assert_option(storages.items[1], "nodev");
	assert_option(storages.items[1], "noexec");
	assert_string_equal(oci.mounts[1].source, storages.items[1]->mount_point);
	assert_non_null(strstr(oci.mounts[2].source, "/c1/mounts/0"));
	volumes_unmount(volumes);
	unmount(EMPTY_DIR);
	unmount("shm");
}

/* Containers of a pod that share their IPC namespace name a tmpfs each. */
static void shm_is_the_pods(void **state _unused_)
{
	const struct volumes_options options = {
		.folder = &folder,
		.container_id = "c1",
		.scratch_dir = dir,
		.idmap = &idmap,
		.shares_shm = true,
	};
	_cleanup_(oci_done) struct oci oci = {};
	const Grpc__Mount *mount = &oci.mounts[0];
	struct volumes *volumes = NULL;

	oci_init(&oci);
	oci_add(&oci, "tmpfs", xstrdup("shm"), "/dev/shm", "nosuid,mode=1777,size=64k");
	assert_int_equal(folder_make(NULL), 0);
	assert_int_equal(volumes_mount(&oci.spec, &options, &storages, &volumes, NULL), 0);
	assert_int_equal(storages.count, 1);
	assert_string_equal(storages.items[0]->driver, "ephemeral");
	assert_option(storages.items[0], "size=64k");
	assert_option(storages.items[0], "mode=1777");
	assert_option(storages.items[0], "nosuid");
	assert_string_equal(mount->type, "bind");
	assert_string_equal(mount->source, storages.items[0]->mount_point);
	assert_int_equal(mount->n_options, 2);
	assert_string_equal(mount->options[0], "nosuid");
	assert_string_equal(mount->options[1], "bind");
	volumes_unmount(volumes);
}

#define HEX16     "0123456789abcdef"
#define ANONYMOUS "volumes/default/" HEX16 HEX16 HEX16 HEX16 "/_data"

/* Where it is from host to guest: "local" or "host". */
static const char *anonymous_volume(const char *removed)
{
	Grpc__Spec__AnnotationsEntry entry = GRPC__SPEC__ANNOTATIONS_ENTRY__INIT;
	Grpc__Spec__AnnotationsEntry *entries[] = { &entry };
	_cleanup_(oci_done) struct oci oci = {};
	struct volumes *volumes = NULL;

	oci_init(&oci);
	entry.key = (char *)"nerdctl/auto-remove";
	entry.value = (char *)removed;
	oci.spec.annotations = entries;
	oci.spec.n_annotations = 1;
	oci_add(&oci, "bind", in_dir(ANONYMOUS), "/a", "rbind");
	assert_int_equal(mount_them(&oci, &volumes, NULL), 0);
	const char *where = storages.count == 1 ? "local" : "host";
	volumes_unmount(volumes);
	share_folder_remove(&folder);
	return where;
}

static void anonymous_volumes_are_the_guests_if_they_end_with_it(void **state _unused_)
{
	make(ANONYMOUS);
	assert_string_equal(anonymous_volume("true"), "local");
	assert_string_equal(anonymous_volume("false"), "host");
	write_text(ANONYMOUS "/of-the-image", "");
	assert_string_equal(anonymous_volume("true"), "host");
}

static void devices_are_the_guests_and_what_lies_in_dev_shm_is_not(void **state _unused_)
{
	_cleanup_free_ char *in_shm = xasprintf("/dev/shm/%s", strrchr(dir, '/') + 1);
	_cleanup_(oci_done) struct oci oci = {};
	struct volumes *volumes = NULL;

	oci_init(&oci);
	assert_int_equal(mkdir(in_shm, 0755), 0);
	oci_add(&oci, "bind", xstrdup("/dev/null"), "/null", "bind");
	oci_add(&oci, "bind", xstrdup("/dev"), "/dev", "rbind");
	oci_add(&oci, "bind", xstrdup("/dev/pts"), "/pts", "bind");
	oci_add(&oci, "bind", xstrdup(in_shm), "/d", "bind");
	assert_int_equal(mount_them(&oci, &volumes, NULL), 0);
	assert_string_equal(oci.mounts[0].source, "/dev/null");
	assert_string_equal(oci.mounts[1].source, "/dev");
	assert_string_equal(oci.mounts[2].source, "/dev/pts");
	assert_non_null(strstr(oci.mounts[3].source, "/c1/mounts/0"));
	volumes_unmount(volumes);
	assert_int_equal(rmdir(in_shm), 0);
}

/* An emptyDir of the medium HugePages; the kernel mounts one also where it has no huge pages. */
static void huge_pages_are_refused(void **state _unused_)
{
	_cleanup_free_ char *path = in_dir(EMPTY_DIR);
	_cleanup_(error_done) struct error err = {};
	_cleanup_(oci_done) struct oci oci = {};
	struct volumes *volumes = NULL;

	oci_init(&oci);
	make(EMPTY_DIR);
	if (mount("nodev", path, "hugetlbfs", 0, NULL) < 0)
		skip();
	oci_add(&oci, "bind", xstrdup(path), "/huge", "rbind");
	int r = mount_them(&oci, &volumes, &err);
	unmount(EMPTY_DIR);
	assert_int_equal(r, -EOPNOTSUPP);
	assert_non_null(strstr(error_message(&err), path));
	assert_non_null(strstr(error_message(&err), "huge pages"));
	assert_int_equal(storages.count, 0);
}

static bool is_readonly(const char *name)
{
	_cleanup_free_ char *path = in_dir(name);
	struct statvfs fs;

	assert_int_equal(statvfs(path, &fs), 0);
	return fs.f_flag & ST_RDONLY;
}

static void ro_is_the_mount_and_rro_the_tree(void **state _unused_)
{
	_cleanup_(oci_done) struct oci oci = {};
	struct volumes *volumes = NULL;

	oci_init(&oci);
	make("vol/below");
	make("flat");
	mount_tmpfs("vol/below", "", 0);
	oci_add(&oci, "bind", in_dir("vol"), "/ro", "rbind,ro");
	oci_add(&oci, "bind", in_dir("vol"), "/rro", "rbind,rro");
	oci_add(&oci, "bind", in_dir("flat"), "/flat", "rbind,ro");
	assert_int_equal(mount_them(&oci, &volumes, NULL), 0);
	assert_true(is_readonly("share/c1/mounts/0"));
	assert_false(is_readonly("share/c1/mounts/0/below"));
	assert_true(is_readonly("share/c1/mounts/1"));
	assert_true(is_readonly("share/c1/mounts/1/below"));
	assert_false(has_option(oci.mounts[0].options, oci.mounts[0].n_options, "ro"));
	assert_true(has_option(oci.mounts[1].options, oci.mounts[1].n_options, "rro"));
	assert_true(has_option(oci.mounts[2].options, oci.mounts[2].n_options, "ro"));
	volumes_unmount(volumes);
	unmount("vol/below");
}

static void slaves_see_later_mounts(void **state _unused_)
{
	_cleanup_free_ char *vol = in_dir("vol");
	_cleanup_(oci_done) struct oci oci = {};
	struct volumes *volumes = NULL;

	oci_init(&oci);
	make("vol/late");
	assert_int_equal(mount(vol, vol, NULL, MS_BIND, NULL), 0);
	assert_int_equal(mount(NULL, vol, NULL, MS_SHARED, NULL), 0);
	oci_add(&oci, "bind", xstrdup(vol), "/a", "rbind,rslave");
	oci_add(&oci, "bind", xstrdup(vol), "/b", "rbind");
	assert_int_equal(mount_them(&oci, &volumes, NULL), 0);
	mount_tmpfs("vol/late", "", 0);
	write_text("vol/late/file", "late");
	assert_text("share/c1/mounts/0/late/file", "late");
	assert_false(exists("share/c1/mounts/1/late/file"));
	unmount("vol/late");
	assert_false(exists("share/c1/mounts/0/late/file"));
	volumes_unmount(volumes);
	unmount("vol");
}

static void what_the_machine_sees_is_harmless(void **state _unused_)
{
	static const char *const names[] = { "share/c1/mounts/0", "share/c1/mounts/0/below" };
	const unsigned long wanted = ST_NODEV | ST_NOSUID | ST_NOEXEC;
	_cleanup_(oci_done) struct oci oci = {};
	struct volumes *volumes = NULL;
	struct statvfs fs;

	oci_init(&oci);
	make("vol/below");
	mount_tmpfs("vol/below", "", 0);
	oci_add(&oci, "bind", in_dir("vol"), "/a", "rbind");
	assert_int_equal(mount_them(&oci, &volumes, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_free_ char *path = in_dir(names[i]);
		assert_int_equal(statvfs(path, &fs), 0);
		assert_int_equal(fs.f_flag & wanted, wanted);
	}
	volumes_unmount(volumes);
	unmount("vol/below");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(binds_of_the_host_become_volumes),
		T(virtio_fs_shows_the_same_folder),
		T(without_volumes_nothing_is_mounted),
		T(volumes_are_bound_and_read_only_ones_protected),
		T(missing_sources_leave_nothing),
		T(empty_dirs_are_the_guests),
		T(sub_paths_of_empty_dirs_are_folders_in_them),
		T(other_sub_paths_of_empty_dirs_are_refused),
		T(tmpfs_of_the_pod_are_the_guests),
		T(shm_is_the_pods),
		T(anonymous_volumes_are_the_guests_if_they_end_with_it),
		T(devices_are_the_guests_and_what_lies_in_dev_shm_is_not),
		T(huge_pages_are_refused),
		T(ro_is_the_mount_and_rro_the_tree),
		T(slaves_see_later_mounts),
		T(what_the_machine_sees_is_harmless),
	};

	if (!enter_private_mounts())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
