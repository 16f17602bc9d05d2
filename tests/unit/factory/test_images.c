/* The cache of images from the loop's side: who is answered what and when, what is made once, what
 * is remembered. mkfs.erofs and its mounts are real (the tests run as root), in a folder of their
 * own; a PATH without it stands for all that can fail. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* After what it needs. */
#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "factory/cache/image_cache.h"
#include "factory/images/images.h"

enum { DEADLINE_MS = 20000, MIB = 1 << 20, ASKED_MAX = 150 };

struct bench {
	struct loop *loop;
	char *dir;   /* of all */
	char *cache; /* in it */
	char *path;  /* PATH before */
	struct metrics metrics;
	struct images *images;
};

/* One who asked. */
struct asked {
	struct image_wish *wish;
	bool done;
	int number;
	enum image_state state;
	char key[DIGEST_HEX_SIZE];
	struct error err;
};

static void bench_open(struct bench *bench)
{
	bench->images = images_new(bench->loop, bench->cache, NULL, 8 * MIB, &bench->metrics);
}

static int setup(void **state)
{
	struct bench *bench = xnew(struct bench);
	char dir[] = "/var/tmp/kiln-images.XXXXXX";

	bench->loop = loop_new();
	bench->dir = xstrdup(mkdtemp(dir));
	bench->cache = path_join(bench->dir, "cache");
	bench->path = xstrdup(getenv("PATH"));
	bench_open(bench);
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	images_free(bench->images);
	loop_free(bench->loop);
	metrics_done(&bench->metrics);
	assert_int_equal(setenv("PATH", bench->path, 1), 0);
	assert_int_equal(path_remove(bench->dir, NULL), 0);
	free(bench->path);
	free(bench->cache);
	free(bench->dir);
	free(bench);
	return 0;
}

/* A folder with a file of that size; the caller frees. */
static char *layer(struct bench *bench, const char *name, size_t bytes)
{
	char *dir = path_join(bench->dir, name);
	_cleanup_free_ char *file = path_join(dir, "file"), *data = xcalloc(bytes + 1, 1);

	assert_int_equal(dir_make(dir, 0755, NULL), 0);
	assert_int_equal(file_write_volatile(file, data, bytes, 0644, NULL), 0);
	return dir;
}

static void on_answer(int number, const char *key, enum image_state state, const struct error *err,
		      void *userdata)
{
	struct asked *asked = userdata;

	assert_false(asked->done);
	asked->done = true;
	asked->number = number;
	asked->state = state;
	memcpy(asked->key, key, strlen(key) + 1);
	if (err)
		(void)error_set(&asked->err, err->number, "%s", error_message(err));
}

static int ask(struct bench *bench, char *dir, bool wait, struct asked *asked)
{
	char *items[] = { dir, NULL };
	const struct strv layers = { items, 1 };

	error_done(&asked->err);
	*asked = (struct asked){};
	return images_prepare(bench->images, &layers, "", wait, on_answer, asked, &asked->wish,
			      &asked->err);
}

static void wait_for(struct bench *bench, struct asked *asked)
{
	assert_true(loop_run_until(bench->loop, &asked->done, DEADLINE_MS));
}

static void ask_and_wait(struct bench *bench, char *dir, bool wait, struct asked *asked)
{
	assert_int_equal(ask(bench, dir, wait, asked), 0);
	assert_false(asked->done);
	wait_for(bench, asked);
}

static uint64_t made(const struct bench *bench)
{
	return metrics_sum(&bench->metrics, COUNTER_IMAGES_MADE);
}

static uint64_t failed(const struct bench *bench)
{
	return metrics_sum(&bench->metrics, COUNTER_IMAGES_FAILED);
}

/* ---------------------------------------------------------------- making */

static void test_made_once_for_all(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *dir = layer(bench, "a", MIB);
	struct asked first = {}, second = {}, hasty = {}, late = {};
	struct images_status status;
	uint64_t bytes;
	int fd;

	assert_int_equal(ask(bench, dir, true, &first), 0);
	assert_int_equal(ask(bench, dir, false, &hasty), 0);
	assert_int_equal(ask(bench, dir, true, &second), 0);
	wait_for(bench, &first);
	wait_for(bench, &second);
	assert_true(hasty.done);
	assert_int_equal(hasty.number, 0);
	assert_true(hasty.state == IMAGE_MAKING || hasty.state == IMAGE_QUEUED);
	assert_int_equal(first.number, 0);
	assert_int_equal(first.state, IMAGE_READY);
	assert_int_equal(second.state, IMAGE_READY);
	assert_string_equal(first.key, second.key);
	assert_int_equal(made(bench), 1);
	assert_int_equal(image_open(bench->cache, first.key, &fd, &bytes, NULL), 0);
	assert_true(bytes >= MIB && bytes % 4096 == 0);
	close(fd);

	ask_and_wait(bench, dir, false, &late);
	assert_int_equal(late.state, IMAGE_READY);
	assert_int_equal(made(bench), 1);
	images_status(bench->images, &status);
	assert_int_equal(status.count, 1);
	assert_int_equal(status.bytes, bytes);
	assert_string_equal(status.making, "");
	assert_string_equal(status.error, "");
}

static void test_who_gives_up_is_not_answered(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *dir = layer(bench, "a", 10), *other = layer(bench, "b", 10);
	struct asked looking = {}, waiting = {}, rest = {};

	assert_int_equal(ask(bench, dir, true, &looking), 0);
	images_give_up(looking.wish);
	ask_and_wait(bench, dir, true, &rest);
	assert_int_equal(ask(bench, other, true, &waiting), 0);
	ask_and_wait(bench, other, false, &rest); /* both have been looked for by now, mostly */
	if (!waiting.done)
		images_give_up(waiting.wish);
	ask_and_wait(bench, other, true, &rest);
	assert_int_equal(rest.state, IMAGE_READY);
	assert_false(looking.done);
}

/* More at once than are taken; those that are fail quickly, for want of mkfs.erofs. */
static void test_a_queue_has_an_end(void **state)
{
	struct bench *bench = *state;
	static struct asked asked[ASKED_MAX];
	char *dirs[ASKED_MAX];
	size_t refused = 0;

	assert_int_equal(setenv("PATH", "/nowhere", 1), 0);
	for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
		_cleanup_free_ char *name = xasprintf("layer%zu", i);
		dirs[i] = layer(bench, name, 1);
	}
	for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
		int r = ask(bench, dirs[i], true, &asked[i]);
		asked[i].done = r < 0;
		asked[i].number = r;
	}
	for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
		wait_for(bench, &asked[i]);
		assert_true(asked[i].number == -EAGAIN || asked[i].number == -ENOENT);
		refused += asked[i].number == -EAGAIN;
		error_done(&asked[i].err);
		free(dirs[i]);
	}
	assert_true(refused > 0);
	assert_int_equal(failed(bench), ARRAY_SIZE(asked) - refused);
}

/* ---------------------------------------------------------------- what cannot be made */

static void test_a_failure_is_remembered(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *dir = layer(bench, "a", 10);
	struct asked asked = {};
	struct image_wanted wanted;
	struct images_status status;
	const void *cursor = NULL;

	assert_int_equal(setenv("PATH", "/nowhere", 1), 0);
	ask_and_wait(bench, dir, true, &asked);
	assert_int_equal(asked.number, -ENOENT);
	assert_non_null(strstr(error_message(&asked.err), "install erofs-utils"));
	assert_int_equal(failed(bench), 1);

	/* Those who do not wait are told, and nothing is tried. */
	for (int i = 0; i < 3; i++) {
		ask_and_wait(bench, dir, false, &asked);
		assert_int_equal(asked.number, 0);
		assert_int_equal(asked.state, IMAGE_FAILED);
		assert_non_null(strstr(error_message(&asked.err), "install erofs-utils"));
	}
	assert_int_equal(failed(bench), 1);
	assert_true(images_next_wanted(bench->images, &cursor, &wanted));
	assert_int_equal(wanted.state, IMAGE_FAILED);
	assert_non_null(strstr(wanted.error, "install erofs-utils"));
	assert_false(images_next_wanted(bench->images, &cursor, &wanted));
	images_status(bench->images, &status);
	assert_non_null(strstr(status.error, "install erofs-utils"));

	/* Somebody who waits is worth a try. */
	assert_int_equal(setenv("PATH", bench->path, 1), 0);
	ask_and_wait(bench, dir, true, &asked);
	assert_int_equal(asked.state, IMAGE_READY);
	images_status(bench->images, &status);
	assert_string_equal(status.error, "");
	error_done(&asked.err);
}

static void test_too_large_until_the_limit_changes(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *dir = layer(bench, "a", 9 * MIB);
	struct asked asked = {};

	for (int i = 0; i < 2; i++) {
		ask_and_wait(bench, dir, true, &asked);
		assert_int_equal(asked.number, -EFBIG);
	}
	assert_int_equal(failed(bench), 1);
	images_set_limit(bench->images, 20 * MIB);
	ask_and_wait(bench, dir, true, &asked);
	assert_int_equal(asked.state, IMAGE_READY);
	error_done(&asked.err);
}

static void test_layers_without_an_image(void **state)
{
	struct bench *bench = *state;
	struct asked asked = {};
	const struct strv none = {};
	char relative[] = "layer", gone[] = "/nowhere/at/all", without_birth[] = "/proc/self";

	ask_and_wait(bench, relative, false, &asked);
	assert_int_equal(asked.number, -EINVAL);
	assert_string_equal(asked.key, "");
	ask_and_wait(bench, gone, true, &asked);
	assert_int_equal(asked.number, -ENOENT);
	ask_and_wait(bench, without_birth, true, &asked);
	assert_int_equal(asked.number, -EOPNOTSUPP);
	error_done(&asked.err);
	assert_int_equal(images_prepare(bench->images, &none, "", false, on_answer, &asked,
					&asked.wish, NULL),
			 -EINVAL);
	assert_int_equal(failed(bench), 0);
}

static void test_a_stop_answers_all(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *dir = layer(bench, "a", 6 * MIB), *other = layer(bench, "b", 10);
	struct asked first = {}, second = {};

	assert_int_equal(ask(bench, dir, true, &first), 0);
	assert_int_equal(ask(bench, other, true, &second), 0);
	images_stop(bench->images);
	images_free(steal_ptr(bench->images));
	assert_true(first.done && second.done);
	assert_int_equal(first.number, -ENOTCONN);
	assert_int_equal(second.number, -ENOTCONN);
	error_done(&first.err);
	error_done(&second.err);
}

/* ---------------------------------------------------------------- the folder */

static void test_what_a_crash_leaves(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *dir = layer(bench, "a", 10), *other = layer(bench, "b", 10);
	struct asked kept = {}, lost = {};
	struct stat st;

	ask_and_wait(bench, dir, true, &kept);
	ask_and_wait(bench, other, true, &lost);
	images_free(steal_ptr(bench->images));
	_cleanup_free_ char *record = image_record_path(bench->cache, lost.key);
	_cleanup_free_ char *image = image_path(bench->cache, lost.key);
	_cleanup_free_ char *half = xasprintf("%s/%s.erofs.tmp", bench->cache, kept.key);
	_cleanup_free_ char *torn = xasprintf("%s/.%s.json.Ab3xYz", bench->cache, kept.key);
	_cleanup_free_ char *foreign = path_join(bench->cache, "README");
	assert_int_equal(unlink(record), 0);
	assert_int_equal(file_write_atomic(half, "x", 1, 0600, NULL), 0);
	assert_int_equal(file_write_atomic(torn, "x", 1, 0600, NULL), 0);
	assert_int_equal(file_write_atomic(foreign, "x", 1, 0600, NULL), 0);
	assert_int_equal(chmod(bench->cache, 0755), 0);

	bench_open(bench);
	assert_false(path_exists(image) || path_exists(half) || path_exists(torn));
	assert_true(path_exists(foreign));
	assert_int_equal(stat(bench->cache, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(image_check(bench->cache, kept.key, NULL, NULL), 0);
}

static void test_a_folder_of_somebody_else(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *dir = layer(bench, "a", 10);
	struct asked asked = {};
	struct images_status status;

	images_free(steal_ptr(bench->images));
	assert_int_equal(chown(bench->cache, 65534, 65534), 0);
	bench_open(bench);
	images_status(bench->images, &status);
	assert_non_null(strstr(status.error, "belongs to the user 65534"));
	assert_int_equal(ask(bench, dir, true, &asked), -EPERM);
	error_done(&asked.err);
}

struct removal {
	bool done;
	int number;
	uint64_t freed;
	uint32_t count;
};

static void on_removed(int number, uint64_t freed, uint32_t count, const struct error *err _unused_,
		       void *userdata)
{
	*(struct removal *)userdata = (struct removal){ true, number, freed, count };
}

static struct removal remove_now(struct bench *bench, const char *key_or_name)
{
	struct removal removal = {};

	assert_int_equal(images_remove(bench->images, key_or_name, on_removed, &removal, NULL), 0);
	assert_true(loop_run_until(bench->loop, &removal.done, DEADLINE_MS));
	return removal;
}

static void test_remove_and_prune(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *a = layer(bench, "a", 10), *b = layer(bench, "b", 10);
	struct asked first = {}, second = {};
	uint64_t bytes;
	int fd;

	ask_and_wait(bench, a, true, &first);
	ask_and_wait(bench, b, true, &second);
	assert_int_equal(image_open(bench->cache, second.key, &fd, &bytes, NULL), 0);
	assert_int_equal(remove_now(bench, second.key).number, -EBUSY);
	assert_int_equal(remove_now(bench, "").number, -ENOENT);
	first.key[7] = '\0'; /* too little of it */
	assert_int_equal(remove_now(bench, first.key).number, -ENOENT);
	struct removal pruned = remove_now(bench, NULL);
	assert_int_equal(pruned.number, 0);
	assert_int_equal(pruned.count, 1);
	assert_int_equal(pruned.freed, 4096);
	close(fd);
	second.key[8] = '\0';
	assert_int_equal(remove_now(bench, second.key).number, 0);
	assert_int_equal(remove_now(bench, NULL).count, 0);
}

static void test_what_would_not_be_enough_stays(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *open_one = layer(bench, "a", 5 * MIB);
	_cleanup_free_ char *unused = layer(bench, "b", 2 * MIB);
	_cleanup_free_ char *large = layer(bench, "c", 6 * MIB);
	struct asked first = {}, second = {}, third = {};
	uint64_t bytes;
	int fd;

	images_set_limit(bench->images, 10 * MIB);
	ask_and_wait(bench, open_one, true, &first);
	ask_and_wait(bench, unused, true, &second);
	assert_int_equal(image_open(bench->cache, first.key, &fd, &bytes, NULL), 0);
	ask_and_wait(bench, large, true, &third);
	assert_int_equal(third.number, -ENOSPC);
	assert_int_equal(remove_now(bench, second.key).number, 0);
	close(fd);
	error_done(&third.err);
}

static void test_state_names(void **state _unused_)
{
	for (int i = IMAGE_QUEUED; i <= IMAGE_FAILED; i++)
		assert_int_equal(
			image_state_from_string(image_state_to_string((enum image_state)i)), i);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_made_once_for_all),
		CASE(test_who_gives_up_is_not_answered),
		CASE(test_a_queue_has_an_end),
		CASE(test_a_failure_is_remembered),
		CASE(test_too_large_until_the_limit_changes),
		CASE(test_layers_without_an_image),
		CASE(test_a_stop_answers_all),
		CASE(test_what_a_crash_leaves),
		CASE(test_a_folder_of_somebody_else),
		CASE(test_remove_and_prune),
		CASE(test_what_would_not_be_enough_stays),
		cmocka_unit_test(test_state_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
