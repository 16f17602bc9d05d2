/* A kubelet's volumes on a tmpfs that cannot be idmapped: shown as copies, which follow them. That
 * the kernel cannot is a fault point's work here (base/fault.h). */
#include "share_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/statvfs.h>

#include "base/loop.h"
#include "base/strings.h"
#include "shim/large_ids.h"
#include "shim/mount.h"
#include "shim/volume_copy.h"
#include "shim/volumes.h"

#define FIRST      UINT32_C(0x70000000) /* of the machine's ids, on the host */
#define GROUP      1234
#define LARGE      1000650000
#define ARMED      "armed"
#define SHOWN      "share/c1/mounts/0"
#define TIMEOUT_MS 30000

static struct loop *loop;
static struct large_ids large;
static struct idmap machine = IDMAP_NONE; /* with a user namespace */
static struct volumes *volumes;

/* ---------------------------------------------------------------- the shim */

static void arm(const char *text)
{
	_cleanup_free_ char *path = in_dir(ARMED), *variable = xasprintf("@%s", path);

	setenv("KILN_FAULT", variable, 1);
	assert_int_equal(file_write_volatile(path, text, strlen(text), 0600, NULL), 0);
}

/* Mounts one volume of the host, whose file system cannot be mapped. */
static int mount_it(const char *source, const char *option, struct error *err)
{
	_cleanup_free_ char *scratch = scratch_dir(), *path = in_dir(source);
	char *words[] = { (char *)"rbind", (char *)option };
	Grpc__Mount mount = GRPC__MOUNT__INIT, *list[] = { &mount };
	struct storages storages = {};
	Grpc__Spec spec;
	const struct volumes_options options = {
		.folder = &folder,
		.container_id = "c1",
		.scratch_dir = scratch,
		.idmap = &machine,
		.loop = loop,
	};

	grpc__spec__init(&spec);
	spec.mounts = list;
	spec.n_mounts = 1;
	mount.type = (char *)"bind";
	mount.source = xstrdup(path);
	mount.destination = (char *)"/v";
	mount.options = words;
	mount.n_options = ARRAY_SIZE(words);
	assert_int_equal(folder_make(NULL), 0);
	arm("mapping.made=EINVAL");
	int r = volumes_mount(&spec, &options, &storages, &volumes, err);
	free(mount.source);
	assert_true(mount_folder_is_empty(scratch));
	return r;
}

static void unmount_it(void)
{
	volumes_unmount(steal_ptr(volumes));
	share_folder_remove(&folder);
}

/* ---------------------------------------------------------------- the kubelet */

static void give(const char *name, uid_t uid, gid_t gid, mode_t mode)
{
	_cleanup_free_ char *path = in_dir(name);

	assert_int_equal(lchown(path, uid, gid), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static void link_to(const char *name, const char *target)
{
	_cleanup_free_ char *path = in_dir(name);

	assert_int_equal(symlink(target, path), 0);
}

static void make_volume(void)
{
	_cleanup_free_ char *path = in_dir("vol");

	make("vol");
	assert_int_equal(mount("tmpfs", path, "tmpfs", 0, "size=64m"), 0);
	give("vol", 0, GROUP, 03777);
}

static void unmount_volume(void)
{
	_cleanup_free_ char *path = in_dir("vol");

	assert_int_equal(umount2(path, 0), 0); /* nobody keeps it busy */
}

/* The folder with the files of a generation, not shown yet. The caller frees. */
static char *begin(unsigned generation)
{
	char *ts = xasprintf("vol/..2026_%u", generation);

	make(ts);
	return ts;
}

static void put(const char *ts, const char *name, const char *text)
{
	_cleanup_free_ char *file = path_join(ts, name);

	write_text(file, text);
}

/* `..data` leads to it from now on, and the one before it is removed. */
static void show(const char *ts)
{
	_cleanup_free_ char *tmp = in_dir("vol/..data_tmp"), *data = in_dir("vol/..data");
	char old[NAME_MAX + 1];
	ssize_t len = readlink(data, old, sizeof(old) - 1);

	link_to("vol/..data_tmp", strrchr(ts, '/') + 1);
	assert_int_equal(rename(tmp, data), 0);
	if (len > 0) {
		_cleanup_free_ char *name = xasprintf("vol/%.*s", (int)len, old);
		_cleanup_free_ char *path = in_dir(name);
		assert_int_equal(path_remove(path, NULL), 0);
	}
}

/* A generation with one token. */
static void rotate(unsigned generation, const char *token)
{
	_cleanup_free_ char *ts = begin(generation);

	put(ts, "token", token);
	show(ts);
}

static void make_token(void)
{
	make_volume();
	rotate(1, "first");
	link_to("vol/token", "..data/token");
}

/* ---------------------------------------------------------------- what the machine sees */

static void assert_owner(const char *name, uid_t uid, gid_t gid, mode_t mode)
{
	_cleanup_free_ char *path = path_join(SHOWN, name), *real = in_dir(path);
	struct stat st;

	assert_int_equal(lstat(real, &st), 0);
	assert_int_equal(st.st_uid, uid);
	assert_int_equal(st.st_gid, gid);
	if (!S_ISLNK(st.st_mode))
		assert_int_equal(st.st_mode & 07777, mode);
}

static bool shows(const char *name, const char *text)
{
	_cleanup_free_ char *path = path_join(SHOWN, name), *real = in_dir(path), *got = NULL;

	return file_read(real, 100, &got, NULL, NULL) == 0 && str_equal(got, text);
}

/* Entries of the shown folder whose names begin with two dots: `..data`, and where it leads. */
static size_t hidden_entries(void)
{
	_cleanup_free_ char *path = in_dir(SHOWN);
	struct dirent **list = NULL;
	size_t count = 0;
	int n = scandir(path, &list, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		count += strncmp(list[i]->d_name, "..", 2) == 0 && list[i]->d_name[2];
		free(list[i]);
	}
	free(list);
	return count;
}

struct wait {
	const char *name, *text;
	struct loop_timer *timer;
	bool done;
};

static void on_tick(void *userdata)
{
	struct wait *wait = userdata;

	wait->done = shows(wait->name, wait->text);
	loop_timer_start(wait->timer, 5);
}

static void await_text(const char *name, const char *text)
{
	struct wait wait = { .name = name, .text = text };

	wait.timer = loop_timer_new(loop, on_tick, &wait);
	loop_timer_start(wait.timer, 0);
	bool done = loop_run_until(loop, &wait.done, TIMEOUT_MS);
	loop_timer_free(wait.timer);
	if (!done)
		fail_msg("%s does not become \"%s\"", name, text);
}

/* The one before it lingers for a second. */
static void await_one_generation(void)
{
	bool never = false;

	for (unsigned i = 0; i < TIMEOUT_MS / 10 && hidden_entries() != 2; i++)
		(void)loop_run_until(loop, &never, 10);
	assert_int_equal(hidden_entries(), 2);
}

/* Until what was armed has happened. */
static void await_fault(void)
{
	bool never = false;

	for (unsigned i = 0; i < TIMEOUT_MS / 10 && exists(ARMED); i++)
		(void)loop_run_until(loop, &never, 10);
	assert_false(exists(ARMED));
}

/* ---------------------------------------------------------------- tests */

static void a_volume_is_shown_with_its_owners_and_read_only(void **state _unused_)
{
	const unsigned long wanted = ST_RDONLY | ST_NODEV | ST_NOSUID | ST_NOEXEC;
	_cleanup_free_ char *shown = in_dir(SHOWN), *token = path_join(shown, "token");
	struct statvfs fs;

	make_volume();
	_cleanup_free_ char *ts = begin(1);
	_cleanup_free_ char *file = path_join(ts, "token"), *deep = path_join(ts, "a/b"),
			    *link = path_join(ts, "link");
	put(ts, "token", "secret");
	give(file, LARGE, GROUP, 0440);
	make(deep);
	put(ts, "a/b/c", "deep");
	link_to(link, "/etc/shadow");
	show(ts);
	link_to("vol/token", "..data/token");
	link_to("vol/a", "..data/a");
	make("vol/for-another/mount");
	assert_int_equal(mount_it("vol", "ro", NULL), 0);

	assert_text(SHOWN "/token", "secret");
	assert_text(SHOWN "/a/b/c", "deep");
	assert_owner("..data/token", FIRST + LARGE_IDS_FIRST, FIRST + GROUP, 0440);
	assert_owner("", FIRST, FIRST + GROUP, 03777);
	assert_owner("token", FIRST, FIRST + GROUP, 0); /* by the folder's mode */
	assert_owner("..data/link", FIRST, FIRST + GROUP, 0);
	assert_true(exists(SHOWN "/for-another/mount"));
	assert_int_equal(statvfs(shown, &fs), 0);
	assert_int_equal(fs.f_flag & wanted, wanted);
	assert_int_equal(open(token, O_WRONLY | O_CLOEXEC), -1);
	assert_int_equal(errno, EROFS);
	unmount_volume();
	assert_true(shows("token", "secret"));
	unmount_it();
}

static void a_token_that_is_changed_arrives(void **state _unused_)
{
	make_token();
	assert_int_equal(mount_it("vol", "ro", NULL), 0);
	assert_true(shows("token", "first"));
	for (unsigned i = 2; i < 6; i++) {
		_cleanup_free_ char *token = xasprintf("token %u", i);
		rotate(i, token);
		await_text("token", token);
	}
	await_one_generation();
	unmount_it();
	unmount_volume();
}

/* A file that comes has a link of its own, made after `..data` by newer kubelets. */
static void files_come_and_go(void **state _unused_)
{
	_cleanup_free_ char *old = in_dir("vol/token");

	make_token();
	assert_int_equal(mount_it("vol", "ro", NULL), 0);
	_cleanup_free_ char *ts = begin(2);
	put(ts, "other", "came");
	show(ts);
	link_to("vol/other", "..data/other");
	assert_int_equal(unlink(old), 0);
	await_text("other", "came");
	assert_false(exists(SHOWN "/token"));
	/* Older kubelets give the files to the pod's group when they are shown already. */
	_cleanup_free_ char *file = path_join(ts, "other");
	give(file, 0, GROUP, 0440);
	give("vol/..data", 0, GROUP, 0755);
	give(ts, 0, GROUP, 0750);
	_cleanup_free_ char *shown = in_dir(SHOWN "/other");
	struct stat st = {};
	struct wait wait = {};
	for (unsigned i = 0; i < 1000 && st.st_gid != FIRST + GROUP; i++) {
		(void)loop_run_until(loop, &wait.done, 10);
		assert_int_equal(stat(shown, &st), 0);
	}
	assert_int_equal(st.st_gid, FIRST + GROUP);
	unmount_it();
	unmount_volume();
}

/* Looks all the time for two files that are the same in each generation. */
struct reader {
	pthread_t thread;
	atomic_bool stop;
	size_t looks, torn; /* when it has ended */
};

static bool is_whole(void)
{
	_cleanup_free_ char *data = in_dir(SHOWN "/..data");
	_cleanup_close_ int fd = open(data, O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ char *a = xasprintf("/proc/self/fd/%d/token", fd),
			    *b = xasprintf("/proc/self/fd/%d/same", fd);
	_cleanup_free_ char *one = NULL, *other = NULL;

	return file_read(a, 100, &one, NULL, NULL) == 0 &&
	       file_read(b, 100, &other, NULL, NULL) == 0 && str_equal(one, other);
}

static void *read_on(void *userdata)
{
	struct reader *reader = userdata;

	while (!reader->stop) {
		reader->looks++;
		reader->torn += !is_whole();
	}
	return NULL;
}

static void show_pair(unsigned generation)
{
	_cleanup_free_ char *ts = begin(generation), *text = xasprintf("%u", generation);

	put(ts, "token", text);
	put(ts, "same", text);
	show(ts);
}

static void a_generation_is_whole(void **state _unused_)
{
	struct reader reader = {};
	bool never = false;

	make_volume();
	show_pair(1);
	link_to("vol/token", "..data/token");
	link_to("vol/same", "..data/same");
	assert_int_equal(mount_it("vol", "ro", NULL), 0);
	assert_int_equal(pthread_create(&reader.thread, NULL, read_on, &reader), 0);
	for (unsigned i = 2; i < 1000; i++) {
		show_pair(i);
		(void)loop_run_until(loop, &never, 1);
	}
	await_text("token", "999");
	reader.stop = true;
	pthread_join(reader.thread, NULL);
	assert_true(reader.looks > 0);
	assert_int_equal(reader.torn, 0);
	unmount_it();
	unmount_volume();
}

static void what_fails_is_tried_again(void **state _unused_)
{
	make_token();
	assert_int_equal(mount_it("vol", "ro", NULL), 0);
	arm("refresh.copied=EIO");
	rotate(2, "second");
	await_fault();
	assert_true(shows("token", "first"));
	assert_int_equal(hidden_entries(), 2);
	await_text("token", "second");
	await_one_generation();
	unmount_it();
	unmount_volume();
}

static void without_an_inotify_it_is_looked_at(void **state _unused_)
{
	_cleanup_free_ char *path = in_dir("vol"), *scratch = scratch_dir();
	_cleanup_close_ int mounts = -EBADF;
	struct volume_copy *copy;

	make_token();
	make("layers");
	assert_int_equal(folder_make(NULL), 0);
	assert_int_equal(share_folder_add(&folder, "mounts", &mounts, NULL), 0);
	make(SHOWN);
	const struct mount_place place = { mounts, "0", &machine, scratch };
	arm("refresh.following=EMFILE");
	assert_int_equal(volume_copy_new(loop, &place, path, VOLUME_FORM_WHOLE, &copy, NULL), 0);
	assert_false(exists(ARMED));
	rotate(2, "second");
	await_text("token", "second");
	volume_copy_free(copy);
	mount_remove_at(mounts, "0");
	unmount_volume();
}

static void put_large(const char *ts, size_t bytes)
{
	_cleanup_free_ char *file = path_join(ts, "large"), *path = in_dir(file);
	_cleanup_close_ int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
}

static void expect_too_large(const char *wanted)
{
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(mount_it("vol", "ro", &err), -EFBIG);
	assert_non_null(strstr(error_message(&err), "/vol"));
	assert_non_null(strstr(error_message(&err), wanted));
	assert_int_equal(mounts_here(), 0);
	share_folder_remove(&folder);
}

static void what_is_too_large_is_refused(void **state _unused_)
{
	make_volume();
	_cleanup_free_ char *first = begin(1);
	put_large(first, VOLUME_COPY_BYTES_MAX);
	show(first);
	assert_int_equal(mount_it("vol", "ro", NULL), 0);
	unmount_it();
	_cleanup_free_ char *second = begin(2);
	put_large(second, VOLUME_COPY_BYTES_MAX + 1);
	show(second);
	expect_too_large("larger than 8388608 bytes");
	_cleanup_free_ char *third = begin(3);
	for (unsigned i = 0; i < VOLUME_COPY_ENTRIES_MAX; i++) {
		_cleanup_free_ char *name = xasprintf("%u", i);
		put(third, name, "");
	}
	show(third);
	expect_too_large("more than 2048 files");
	_cleanup_free_ char *fourth = begin(4), *deep = xstrdup(fourth);
	for (unsigned i = 0; i < 20; i++) {
		char *deeper = path_join(deep, "d");
		free(deep);
		deep = deeper;
	}
	make(deep);
	show(fourth);
	expect_too_large("in more than 16 others");
	unmount_volume();
}

static void what_becomes_too_large_is_not_shown(void **state _unused_)
{
	make_token();
	assert_int_equal(mount_it("vol", "ro", NULL), 0);
	_cleanup_free_ char *ts = begin(2);
	put_large(ts, VOLUME_COPY_BYTES_MAX + 1);
	put(ts, "token", "second");
	arm("refresh.copied=EIO:2"); /* when it has been looked at once */
	show(ts);
	await_fault();
	assert_true(shows("token", "first"));
	rotate(3, "third");
	await_text("token", "third");
	unmount_it();
	unmount_volume();
}

/* The kubelet binds a folder of the generation. */
static void a_sub_path_is_copied_once(void **state _unused_)
{
	_cleanup_free_ char *sub = in_dir("sub");

	make_volume();
	_cleanup_free_ char *ts = begin(1), *inside = path_join(ts, "inside");
	_cleanup_free_ char *from = in_dir(inside);
	make(inside);
	put(ts, "inside/file", "of then");
	show(ts);
	make("sub");
	assert_int_equal(mount(from, sub, NULL, MS_BIND, NULL), 0);
	assert_int_equal(mount_it("sub", "ro", NULL), 0);
	assert_true(shows("file", "of then"));
	assert_owner("file", FIRST, FIRST + GROUP, 0644);
	unmount_it();
	assert_int_equal(umount2(sub, 0), 0);
	unmount_volume();
}

static void expect_refused(const char *source, const char *option)
{
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(mount_it(source, option, &err), -EINVAL);
	assert_non_null(strstr(error_message(&err), source));
	assert_non_null(strstr(error_message(&err), "since Linux 6.3"));
	share_folder_remove(&folder);
}

static void others_are_refused(void **state _unused_)
{
	_cleanup_free_ char *below = in_dir("vol/below");

	make_token();
	expect_refused("vol", "rw");
	make("vol/folder");
	expect_refused("vol/folder", "ro");
	make("vol/below");
	assert_int_equal(mount("tmpfs", below, "tmpfs", 0, NULL), 0);
	expect_refused("vol", "ro");
	assert_int_equal(umount2(below, 0), 0);
	_cleanup_free_ char *ts = begin(2), *pipe = path_join(ts, "pipe"), *path = in_dir(pipe);
	assert_int_equal(mkfifo(path, 0644), 0);
	show(ts);
	expect_refused("vol", "ro");
	unmount_volume();
}

static int setup_all(void **state)
{
	const struct idmap plain = { .userns = -EBADF, .first = FIRST };

	loop = loop_new();
	large = (struct large_ids){ .items = { LARGE }, .count = 1 };
	machine = (struct idmap)IDMAP_NONE;
	return large_ids_map(&large, &plain, &machine, NULL) < 0 ? -1 : setup(state);
}

static int teardown_all(void **state)
{
	idmap_close(&machine);
	loop_free(loop);
	return teardown(state);
}

#define ALL(name) cmocka_unit_test_setup_teardown(name, setup_all, teardown_all)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALL(a_volume_is_shown_with_its_owners_and_read_only),
		ALL(a_token_that_is_changed_arrives),
		ALL(files_come_and_go),
		ALL(a_generation_is_whole),
		ALL(what_fails_is_tried_again),
		ALL(without_an_inotify_it_is_looked_at),
		ALL(what_is_too_large_is_refused),
		ALL(what_becomes_too_large_is_not_shown),
		ALL(a_sub_path_is_copied_once),
		ALL(others_are_refused),
	};

	if (!enter_private_mounts())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
