/* Ids from 65536 on: their places, the mounts that have them, and the library that a VMM is started
 * with (factory/preload/large_ids.c), here without a VMM. */
#include "share_fixture.h"

#include <dlfcn.h>
#include <libgen.h>
#include <limits.h>

#include "base/strings.h"
#include "shim/large_ids.h"
#include "shim/mount.h"

#define LARGE UINT32_C(1000650000)
#define FIRST UINT32_C(0x70000000) /* a machine's, on the host */
#define PLACE LARGE_IDS_FIRST

static int take(struct large_ids *ids, uint32_t uid, uint32_t gid, uint32_t *more, size_t nmore,
		struct error *err)
{
	Grpc__User user = GRPC__USER__INIT;

	user.uid = uid;
	user.gid = gid;
	user.additionalgids = more;
	user.n_additionalgids = nmore;
	return large_ids_take(ids, &user, err);
}

/* ---------------------------------------------------------------- places */

static void each_large_id_has_one_place(void **state _unused_)
{
	uint32_t more[] = { 7, 65536, LARGE, UINT32_MAX - 1 };
	struct large_ids ids = {};

	assert_int_equal(take(&ids, 1000, 65535, NULL, 0, NULL), 0);
	assert_int_equal(ids.count, 0);
	assert_int_equal(large_ids_take(&ids, NULL, NULL), 0);
	assert_int_equal(take(&ids, LARGE, LARGE, more, ARRAY_SIZE(more), NULL), 0);
	assert_int_equal(take(&ids, LARGE + 1, 0, NULL, 0, NULL), 0);
	assert_int_equal(ids.count, 4);
	assert_int_equal(ids.items[0], LARGE);
	assert_int_equal(ids.items[1], 65536);
	assert_int_equal(ids.items[2], UINT32_MAX - 1);
	assert_int_equal(ids.items[3], LARGE + 1);
}

static void more_than_there_are_places_are_refused(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};
	uint32_t many[LARGE_IDS_MAX + 1];
	struct large_ids ids = {};

	for (uint32_t i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = LARGE + i;
	assert_int_equal(take(&ids, 0, 0, many, LARGE_IDS_MAX, NULL), 0);
	assert_int_equal(take(&ids, LARGE, 0, many, LARGE_IDS_MAX, NULL), 0);
	assert_int_equal(take(&ids, 0, 0, many, ARRAY_SIZE(many), &err), -EAGAIN);
	assert_non_null(strstr(error_message(&err), "process.user.additionalGids 1000650128"));
	assert_int_equal(ids.count, LARGE_IDS_MAX);
}

static void the_mapping_is_what_a_machine_has(void **state _unused_)
{
	struct large_ids ids = {};

	assert_int_equal(take(&ids, LARGE, 70000, NULL, 0, NULL), 0);
	_cleanup_free_ char *text = large_ids_text(&ids, 1000000);
	assert_string_equal(text, "0 1000000 61056\n"
				  "61184 1061184 4352\n"
				  "1000650000 1061056 1\n"
				  "70000 1061057 1\n");
	for (uint32_t i = 0; i < LARGE_IDS_MAX - 2; i++)
		assert_int_equal(take(&ids, UINT32_MAX - 1 - i, 0, NULL, 0, NULL), 0);
	_cleanup_free_ char *full = large_ids_text(&ids, UINT32_MAX - 70000);
	assert_true(strlen(full) < 4096);
}

static void owners_of_copies(void **state _unused_)
{
	struct large_ids ids = {};
	const struct idmap plain = { .userns = -EBADF, .first = FIRST };
	const struct idmap mapped = { .userns = -EBADF, .first = FIRST, .large = &ids };

	assert_int_equal(take(&ids, LARGE, 0, NULL, 0, NULL), 0);
	assert_int_equal(large_ids_on_host(&plain, PLACE), FIRST + PLACE);
	assert_int_equal(large_ids_on_host(&plain, LARGE), FIRST + 65534);
	assert_int_equal(large_ids_on_host(&mapped, LARGE), FIRST + PLACE);
	assert_int_equal(large_ids_on_host(&mapped, LARGE + 1), FIRST + 65534);
	assert_int_equal(large_ids_on_host(&mapped, PLACE), FIRST + 65534);
	assert_int_equal(large_ids_on_host(&mapped, 1000), FIRST + 1000);
}

/* ---------------------------------------------------------------- mounts */

static void give_to(const char *name, uid_t uid, gid_t gid)
{
	_cleanup_free_ char *path = in_dir(name);

	assert_int_equal(chown(path, uid, gid), 0);
}

static void assert_owner(const char *name, uid_t uid, gid_t gid)
{
	_cleanup_free_ char *path = in_dir(name);
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(st.st_uid, uid);
	assert_int_equal(st.st_gid, gid);
}

static void mounts_show_places(void **state _unused_)
{
	_cleanup_(idmap_close) struct idmap mapped = IDMAP_NONE;
	_cleanup_free_ char *source = in_dir("vol"), *scratch = scratch_dir();
	const struct idmap machine = { .userns = -EBADF, .first = FIRST };
	struct large_ids ids = {};

	make("vol");
	write_text("vol/large", "its own");
	write_text("vol/small", "");
	write_text("vol/place", "");
	give_to("vol/large", LARGE, 70000);
	give_to("vol/small", 5, 65535);
	give_to("vol/place", PLACE, PLACE + 5);
	assert_int_equal(take(&ids, 70000, 0, &(uint32_t){ LARGE }, 1, NULL), 0);
	assert_int_equal(large_ids_map(&ids, &machine, &mapped, NULL), 0);
	assert_int_equal(folder_make(NULL), 0);
	make("share/c1/v");

	const struct mount_place place = { folder.fd, "v", &mapped, scratch };
	assert_int_equal(mount_bind_at(&place, source, 0, NULL), 0);
	assert_text("share/c1/v/large", "its own");
	assert_owner("share/c1/v/large", FIRST + PLACE + 1, FIRST + PLACE);
	assert_owner("share/c1/v/small", FIRST + 5, FIRST + 65535);
	assert_owner("share/c1/v/place", 65534, 65534);
	give_to("share/c1/v/small", FIRST + PLACE, FIRST + 12);
	assert_owner("vol/small", 70000, 12);
	mount_remove_at(folder.fd, "v");
}

/* ---------------------------------------------------------------- in the VMM */

typedef int (*stat_fn)(int fd, const char *path, struct stat *st, int flags);
typedef int (*chown_fn)(int fd, const char *path, uid_t uid, gid_t gid, int flags);

static stat_fn vmm_stat;
static chown_fn vmm_chown;

/* build/unit/shim/test_large_ids -> build/kiln-preload.so. It takes from its environment what is
 * the share, so it is loaded anew for each test. */
static void *load_library(void)
{
	_cleanup_free_ char *share = in_dir("share");
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[len > 0 ? len : 0] = '\0';
	_cleanup_free_ char *path = path_join(dirname(dirname(dirname(self))), "kiln-preload.so");
	setenv(LARGE_IDS_ENV, share, 1);
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	assert_non_null(library);
	vmm_stat = (stat_fn)dlsym(library, "fstatat64");
	vmm_chown = (chown_fn)dlsym(library, "fchownat");
	assert_true(vmm_stat && vmm_chown);
	return library;
}

static int open_folder(const char *name)
{
	_cleanup_free_ char *path = in_dir(name);
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void assert_shown(int fd, const char *name, uid_t uid, gid_t gid)
{
	struct stat st;

	assert_int_equal(vmm_stat(fd, name, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH), 0);
	assert_int_equal(st.st_uid, uid);
	assert_int_equal(st.st_gid, gid);
}

static int give(int fd, uid_t uid, gid_t gid)
{
	return vmm_chown(fd, "file", uid, gid, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static void the_vmm_shows_what_the_places_stand_for(void **state _unused_)
{
	void *library = load_library();
	struct large_ids ids = {};

	assert_int_equal(take(&ids, LARGE, UINT32_MAX - 1, NULL, 0, NULL), 0);
	assert_int_equal(folder_make(NULL), 0);
	assert_int_equal(large_ids_show(&ids, &folder, NULL), 0);
	make("share/c1/mounts/0");
	write_text("share/c1/mounts/0/file", "");
	_cleanup_close_ int fd = open_folder("share/c1/mounts/0");

	give_to("share/c1/mounts/0/file", PLACE, PLACE + 1);
	assert_shown(fd, "file", LARGE, UINT32_MAX - 1);
	give_to("share/c1/mounts/0/file", PLACE + 2, 65535);
	assert_shown(fd, "file", PLACE + 2, 65535);
	give_to("share/c1/mounts/0", 3, PLACE);
	assert_shown(fd, "", 3, LARGE);
	dlclose(library);
}

static void the_vmm_takes_what_has_a_place(void **state _unused_)
{
	void *library = load_library();
	struct large_ids ids = {};

	assert_int_equal(take(&ids, LARGE, LARGE + 9, NULL, 0, NULL), 0);
	assert_int_equal(folder_make(NULL), 0);
	assert_int_equal(large_ids_show(&ids, &folder, NULL), 0);
	write_text("share/c1/file", "");
	_cleanup_close_ int fd = open_folder("share/c1");

	assert_int_equal(give(fd, LARGE, LARGE + 9), 0);
	assert_owner("share/c1/file", PLACE, PLACE + 1);
	assert_int_equal(give(fd, 12, (gid_t)-1), 0);
	assert_owner("share/c1/file", 12, PLACE + 1);
	assert_int_equal(give(fd, (uid_t)-1, LARGE), 0);
	assert_owner("share/c1/file", 12, PLACE);
	assert_int_equal(give(fd, LARGE + 1, 0), -EINVAL);
	assert_int_equal(give(fd, 0, PLACE), -EINVAL);
	assert_int_equal(give(fd, 0, PLACE + LARGE_IDS_MAX - 1), -EINVAL);
	assert_owner("share/c1/file", 12, PLACE);
	assert_int_equal(give(fd, 0, PLACE + LARGE_IDS_MAX), 0);
	dlclose(library);
}

/* A container that was made before its pod named such an id, and what is not in the share. */
static void without_a_table_nothing_is_translated(void **state _unused_)
{
	void *library = load_library();

	make("share/c2");
	make("elsewhere/c1");
	for (const char *const *name =
		     (const char *const[]){ "share/c2", "share", "elsewhere/c1", NULL };
	     *name; name++) {
		_cleanup_free_ char *file = path_join(*name, "file");
		write_text(file, "");
		_cleanup_close_ int fd = open_folder(*name);
		assert_int_equal(give(fd, PLACE, LARGE), 0);
		assert_owner(file, PLACE, LARGE);
		assert_shown(fd, "file", PLACE, LARGE);
	}
	dlclose(library);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(each_large_id_has_one_place),
		T(more_than_there_are_places_are_refused),
		T(the_mapping_is_what_a_machine_has),
		T(owners_of_copies),
		T(mounts_show_places),
		T(the_vmm_shows_what_the_places_stand_for),
		T(the_vmm_takes_what_has_a_place),
		T(without_a_table_nothing_is_translated),
	};

	if (!enter_private_mounts())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
