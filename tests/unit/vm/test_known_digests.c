/* Digests that are known: of which files, for how long, and what is believed of their file. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "factory/store/known_digests.h"

#define SETTLED_S 2
#define PROC_FILE "/proc/sys/kernel/ostype"
#define OLD_FILE  (old_file) /* on tmpfs, older than what is just written */

static char old_file[] = "/dev/shm/kiln-test-old-XXXXXX";

struct fixture {
	char store[32];
	char *input, *digests;
	struct known_digests known;
};

static void wait_until_old(const char *path)
{
	const struct timespec step = { .tv_nsec = 50 * 1000 * 1000 };
	struct timespec now;
	struct stat st;

	do {
		assert_int_equal(stat(path, &st), 0);
		nanosleep(&step, NULL);
		clock_gettime(CLOCK_REALTIME, &now);
	} while (now.tv_sec <= st.st_ctim.tv_sec + SETTLED_S);
}

static int make_old_file(void **state _unused_)
{
	int fd = mkstemp(old_file);

	assert_int_equal(write_full(fd, "old", 3), 0);
	close(fd);
	wait_until_old(old_file);
	return 0;
}

static int remove_old_file(void **state _unused_)
{
	return unlink(old_file);
}

static int setup(void **state)
{
	struct fixture *f = xnew(struct fixture);

	strcpy(f->store, "/tmp/kiln-test-XXXXXX");
	assert_non_null(mkdtemp(f->store));
	f->input = path_join(f->store, "input");
	f->digests = path_join(f->store, "digests.json");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(path_remove(f->store, NULL), 0);
	known_digests_done(&f->known);
	free(f->input);
	free(f->digests);
	free(f);
	return 0;
}

static void load(struct fixture *f)
{
	known_digests_done(&f->known);
	known_digests_load(f->store, &f->known);
}

static void digest(struct fixture *f, const char *path, char *ret_hex)
{
	char expected[DIGEST_HEX_SIZE];
	uint64_t bytes = 0;
	struct stat st;

	assert_int_equal(known_digests_file(&f->known, path, ret_hex, &bytes, NULL), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(bytes, st.st_size);
	assert_int_equal(digest_file(path, expected, NULL), 0);
	assert_string_equal(ret_hex, expected);
}

static void test_a_digest_outlives_the_program(void **state)
{
	struct fixture *f = *state;
	char hex[DIGEST_HEX_SIZE], told[DIGEST_HEX_SIZE];
	uint64_t bytes;
	struct stat st;

	load(f);
	assert_int_equal(f->known.count, 0);
	digest(f, OLD_FILE, hex);
	assert_int_equal(known_digests_store(&f->known, f->store, NULL), 0);
	load(f);
	assert_int_equal(f->known.count, 1);
	assert_string_equal(f->known.items[0].digest, hex);
	memset(f->known.items[0].digest, 'f', DIGEST_HEX_SIZE - 1);
	assert_int_equal(known_digests_file(&f->known, OLD_FILE, told, &bytes, NULL), 0);
	assert_int_equal(strspn(told, "f"), DIGEST_HEX_SIZE - 1);
	/* Nothing is new. */
	assert_int_equal(unlink(f->digests), 0);
	assert_int_equal(known_digests_store(&f->known, f->store, NULL), 0);
	assert_int_equal(stat(f->digests, &st), -1);
}

/* It may be changed again at the same time, as far as its file system tells. */
static void test_a_file_just_written_is_not_stored(void **state)
{
	struct fixture *f = *state;
	char hex[DIGEST_HEX_SIZE];

	load(f);
	assert_int_equal(file_write_atomic(f->input, "new", 3, 0644, NULL), 0);
	assert_int_equal(chmod(f->input, 0600), 0); /* now, however long it took */
	digest(f, f->input, hex);
	assert_int_equal(known_digests_store(&f->known, f->store, NULL), 0);
	assert_false(path_exists(f->digests));
	digest(f, OLD_FILE, hex);
	assert_int_equal(known_digests_store(&f->known, f->store, NULL), 0);
	assert_int_equal(f->known.count, 2);
	load(f);
	assert_int_equal(f->known.count, 1);
	assert_string_equal(f->known.items[0].digest, hex);
}

/* Same inode, same size, same time as packages set it. */
static void test_a_time_that_was_set_hides_nothing(void **state)
{
	static const struct timespec epoch[2] = {};
	struct fixture *f = *state;
	struct input_stamp before, after;
	char one[DIGEST_HEX_SIZE], two[DIGEST_HEX_SIZE];

	assert_int_equal(file_write_atomic(f->input, "one", 3, 0644, NULL), 0);
	assert_int_equal(utimensat(AT_FDCWD, f->input, epoch, 0), 0);
	assert_int_equal(input_stamp_take(f->input, &before, NULL), 0);
	digest(f, f->input, one);
	do {
		assert_int_equal(file_write_value(f->input, "two", NULL), 0);
		assert_int_equal(utimensat(AT_FDCWD, f->input, epoch, 0), 0);
		assert_int_equal(input_stamp_take(f->input, &after, NULL), 0);
	} while (after.changed_ns == before.changed_ns);
	assert_int_equal(after.inode, before.inode);
	assert_int_equal(after.modified_ns, before.modified_ns);
	digest(f, f->input, two);
	assert_string_not_equal(one, two);
	assert_int_equal(f->known.count, 1);
}

/* What was read right after a change may have changed again in the same moment. */
static void test_an_unsettled_file_is_read_once_more(void **state)
{
	struct fixture *f = *state;
	struct known_digest *item;
	char hex[DIGEST_HEX_SIZE];

	digest(f, OLD_FILE, hex);
	item = &f->known.items[0];
	item->settled = item->storable = false;
	memset(item->digest, 'f', DIGEST_HEX_SIZE - 1);
	digest(f, OLD_FILE, hex);
	assert_int_equal(f->known.count, 1);
	assert_true(f->known.items[0].settled);
}

/* The times of files in it are of a clock that does not tell of changes. */
static void test_files_of_other_file_systems_are_not_stored(void **state)
{
	struct fixture *f = *state;
	char hex[DIGEST_HEX_SIZE];
	uint64_t bytes;

	wait_until_old(PROC_FILE);
	assert_int_equal(known_digests_file(&f->known, PROC_FILE, hex, &bytes, NULL), 0);
	assert_int_equal(f->known.count, 1);
	assert_true(f->known.items[0].settled);
	assert_false(f->known.items[0].storable);
	assert_false(f->known.grown);
}

static void test_what_cannot_be_read(void **state)
{
	struct fixture *f = *state;
	_cleanup_(error_done) struct error err = {};
	char hex[DIGEST_HEX_SIZE] = "untouched";
	uint64_t bytes;

	assert_int_equal(known_digests_file(&f->known, f->input, hex, &bytes, &err), -ENOENT);
	assert_non_null(strstr(error_message(&err), f->input));
	error_done(&err);
	assert_int_equal(known_digests_file(&f->known, f->store, hex, &bytes, &err), -EISDIR);
	assert_string_equal(hex, "untouched");
	assert_int_equal(f->known.count, 0);
}

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define ONE(device, digest)                                                                        \
	"{\"device\": " device ", \"inode\": 2, \"size\": 3, \"modified_ns\": -4, "                \
	"\"changed_ns\": 5, \"sha256\": \"" digest "\"}"

static void test_a_damaged_file_is_no_obstacle(void **state)
{
	static const struct {
		const char *text;
		size_t count;
	} cases[] = {
		{ "{\"files\": [" ONE("1", DIGEST) "]}", 1 },
		{ "{\"files\": [" ONE("1", DIGEST) "], \"later\": {}}", 1 },
		{ "{\"files\": []}", 0 },
		{ "", 0 },
		{ "[]", 0 },
		{ "{}", 0 },
		{ "{\"files\": {}}", 0 },
		{ "{\"files\": [1]}", 0 },
		{ "{\"files\": [" ONE("\"1\"", DIGEST) "]}", 0 },
		{ "{\"files\": [" ONE("1", "0123") "]}", 0 },
		{ "{\"files\": [" ONE("1", DIGEST) ", {}]}", 0 },
		{ "{\"version\": 2, \"files\": [" ONE("1", DIGEST) "]}", 0 },
	};
	struct fixture *f = *state;
	char hex[DIGEST_HEX_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(file_write_atomic(f->digests, cases[i].text, strlen(cases[i].text),
						   0644, NULL),
				 0);
		load(f);
		assert_int_equal(f->known.count, cases[i].count);
		digest(f, OLD_FILE, hex);
		assert_int_equal(known_digests_store(&f->known, f->store, NULL), 0);
		load(f);
		assert_int_equal(f->known.count, cases[i].count + 1);
	}
}

static void expect_disbelief(struct fixture *f)
{
	load(f);
	assert_int_equal(f->known.count, 0);
}

static void test_what_others_may_have_written_is_not_believed(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *elsewhere = path_join(f->store, "elsewhere");
	char hex[DIGEST_HEX_SIZE];

	digest(f, OLD_FILE, hex);
	assert_int_equal(known_digests_store(&f->known, f->store, NULL), 0);
	if (chown(f->digests, 65534, (gid_t)-1) < 0)
		skip(); /* not root, or root of nobody else */
	expect_disbelief(f);
	assert_int_equal(chown(f->digests, 0, (gid_t)-1), 0);
	assert_int_equal(chmod(f->digests, 0664), 0);
	expect_disbelief(f);
	assert_int_equal(chmod(f->digests, 0644), 0);
	load(f);
	assert_int_equal(f->known.count, 1);
	assert_int_equal(rename(f->digests, elsewhere), 0);
	assert_int_equal(symlink(elsewhere, f->digests), 0);
	expect_disbelief(f);
}

static void test_they_can_be_forgotten(void **state)
{
	struct fixture *f = *state;
	char hex[DIGEST_HEX_SIZE];

	digest(f, OLD_FILE, hex);
	assert_int_equal(known_digests_store(&f->known, f->store, NULL), 0);
	known_digests_forget(f->store);
	expect_disbelief(f);
	known_digests_forget(f->store);
}

static void test_the_oldest_are_forgotten(void **state)
{
	struct fixture *f = *state;
	json_t *files = json_array();
	char hex[DIGEST_HEX_SIZE];

	for (int i = 0; i < KNOWN_DIGESTS_MAX + 10; i++)
		json_array_append_new(files, json_pack("{si si si si si ss}", "device", 1, "inode",
						       i, "size", 3, "modified_ns", 4, "changed_ns",
						       5, "sha256", DIGEST));
	json_t *object = json_pack("{so}", "files", files);
	_cleanup_free_ char *text = json_dumps(object, 0);
	assert_int_equal(file_write_atomic(f->digests, text, strlen(text), 0644, NULL), 0);
	json_decref(object);
	load(f);
	assert_int_equal(f->known.count, KNOWN_DIGESTS_MAX);
	assert_int_equal(f->known.items[0].stamp.inode, 10);
	digest(f, OLD_FILE, hex);
	digest(f, OLD_FILE, hex);
	assert_int_equal(f->known.count, KNOWN_DIGESTS_MAX);
	assert_int_equal(f->known.items[0].stamp.inode, 11);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_digest_outlives_the_program),
		TEST(test_a_file_just_written_is_not_stored),
		TEST(test_a_time_that_was_set_hides_nothing),
		TEST(test_an_unsettled_file_is_read_once_more),
		TEST(test_files_of_other_file_systems_are_not_stored),
		TEST(test_what_cannot_be_read),
		TEST(test_a_damaged_file_is_no_obstacle),
		TEST(test_what_others_may_have_written_is_not_believed),
		TEST(test_they_can_be_forgotten),
		TEST(test_the_oldest_are_forgotten),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, make_old_file, remove_old_file);
}
