/* The files a clone's QEMU opens: the template's own, or copies nobody else has. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"
#include "factory/vm/clone_files.h"

#define FIRST_FD    6
#define DEADLINE_MS 30000

struct fixture {
	char dir[32];
	const char *scratch_dir;
	struct template_manifest manifest;
	struct loop *loop;
	struct clone_files files;
	bool done;
	int number;
	char *why;
};

static void put(const char *path, const char *text)
{
	assert_int_equal(file_write_atomic(path, text, strlen(text), 0600, NULL), 0);
}

static int setup(void **state)
{
	struct fixture *f = xnew(struct fixture);
	struct template_inputs *inputs = &f->manifest.inputs;

	strcpy(f->dir, "/tmp/kiln-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->loop = loop_new();
	f->manifest.dir = f->dir;
	f->scratch_dir = f->dir;
	f->manifest.memory = path_join(f->dir, "memory");
	inputs->images = (struct carried){ .items = xnew(struct carried_image), .count = 1 };
	inputs->images.items[0].name = xstrdup("tools");
	_cleanup_free_ char *image = path_join(f->dir, "image");
	_cleanup_free_ char *images = path_join(f->dir, "images");
	_cleanup_free_ char *carried = carried_path(f->dir, 0);
	assert_int_equal(dir_make(images, 0700, NULL), 0);
	put(f->manifest.memory, "memory");
	put(image, "image");
	put(carried, "carried");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	clone_files_done(&f->files);
	template_inputs_done(&f->manifest.inputs);
	free(f->manifest.memory);
	loop_free(f->loop);
	assert_int_equal(path_remove(f->dir, NULL), 0);
	free(f->why);
	free(f);
	return 0;
}

static void init(struct fixture *f, const char *share)
{
	replace_string(&f->manifest.inputs.values[INPUT_SHARE], share);
	clone_files_init(&f->files, &(struct clone_files_options){ .manifest = &f->manifest,
								   .scratch_dir = f->scratch_dir,
								   .owner = getuid(),
								   .first_fd = FIRST_FD });
}

static void on_copied(int number, const struct error *err, void *userdata)
{
	struct fixture *f = userdata;

	assert_false(f->done);
	f->done = true;
	f->number = number;
	replace_string(&f->why, number < 0 ? error_message(err) : "");
}

static void copy(struct fixture *f)
{
	struct clone_copy *copy = NULL;
	assert_int_equal(clone_copy_start(f->loop, &f->files, on_copied, f, &copy, NULL), 0);

	assert_true(loop_run_until(f->loop, &f->done, DEADLINE_MS));
	clone_copy_free(copy);
}

static void test_shared_ones_are_the_templates(void **state)
{
	static const char *const placeholders[] = { "memory", "image", "images_0" };
	struct fixture *f = *state;

	init(f, "always");
	assert_false(f->files.copied);
	assert_int_equal(f->files.count, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_string_equal(f->files.items[i].placeholder, placeholders[i]);
		assert_string_equal(f->files.items[i].opened, f->files.items[i].path);
		assert_true(path_exists(f->files.items[i].opened));
	}
}

static void test_copies_are_nobodys_else(void **state)
{
	struct fixture *f = *state;
	char text[16] = "";

	init(f, "never");
	assert_true(f->files.copied);
	assert_string_equal(f->files.items[2].opened, "/proc/self/fd/8");
	copy(f);
	assert_int_equal(f->number, 0);
	for (size_t i = 0; i < 3; i++) {
		const struct clone_file *file = &f->files.items[i];
		struct stat own, template;
		assert_int_equal(file->child_fd, FIRST_FD + (int)i);
		assert_int_equal(fstat(file->copy, &own), 0);
		assert_int_equal(stat(file->path, &template), 0);
		assert_int_equal(own.st_nlink, 0); /* without a name: nothing can be left */
		assert_int_not_equal(own.st_ino, template.st_ino);
		assert_int_equal(own.st_size, template.st_size);
	}
	assert_int_equal(pread(f->files.items[2].copy, text, sizeof(text), 0), 7);
	assert_string_equal(text, "carried");
}

/* Each clone writes to its own scratch disk, whether it shares the rest or not; it is in the folder
 * for those, and takes up no more than what is in it. */
static void test_scratch_disk_is_always_a_copy(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *scratch = path_join(f->dir, "scratch");
	_cleanup_free_ char *slot = path_join(f->dir, "slot");
	const struct clone_file *file;
	struct stat st;

	put(scratch, "file system");
	put(slot, "image");
	assert_int_equal(truncate(scratch, (off_t)1 << 30), 0);
	f->manifest.scratch_bytes = (uint64_t)1 << 30;
	f->manifest.block_slots = 2;
	init(f, "always");
	assert_false(f->files.copied);
	assert_true(f->files.has_copies);
	assert_int_equal(f->files.count, 5);
	assert_string_equal(f->files.items[3].opened, slot);
	file = &f->files.items[4];
	assert_string_equal(file->placeholder, "scratch");
	assert_string_equal(file->opened, "/proc/self/fd/10");
	copy(f);
	assert_int_equal(f->number, 0);
	assert_int_equal(f->files.items[0].copy, -EBADF);
	assert_int_equal(fstat(file->copy, &st), 0);
	assert_int_equal(st.st_nlink, 0);
	assert_int_equal(st.st_size, (off_t)1 << 30);
	assert_in_range(st.st_blocks * 512, 1, 64 * 1024);
}

/* What is frozen with the memory is of no use to a machine that is booted. */
static void test_booted_machine_has_a_fresh_scratch_disk(void **state)
{
	struct fixture *f = *state;
	const struct clone_file *file;

	f->manifest.scratch_bytes = 4096;
	clone_files_init(&f->files, &(struct clone_files_options){ .manifest = &f->manifest,
								   .booted = true,
								   .scratch_dir = f->dir,
								   .first_fd = FIRST_FD });
	file = &f->files.items[f->files.count - 1];
	assert_string_equal(file->placeholder, "scratch");
	assert_non_null(strstr(file->path, "/scratch-new"));
}

static void test_scratch_folder_that_is_not_there_is_named(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *scratch = path_join(f->dir, "scratch");

	put(scratch, "file system");
	f->manifest.scratch_bytes = 11;
	f->scratch_dir = "/nowhere/scratch";
	init(f, "always");
	copy(f);
	assert_int_equal(f->number, -ENOENT);
	assert_non_null(strstr(f->why, "/nowhere/scratch"));
}

static void test_what_is_missing_is_named(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *carried = carried_path(f->dir, 0);

	init(f, "never");
	assert_int_equal(path_remove(carried, NULL), 0);
	copy(f);
	assert_int_equal(f->number, -ENOENT);
	assert_non_null(strstr(f->why, "images/0"));
}

static void test_nobody_is_told_once_it_is_given_up(void **state)
{
	struct fixture *f = *state;

	init(f, "never");
	assert_int_equal(truncate(f->manifest.memory, (off_t)1 << 40), 0); /* a hole */
	struct clone_copy *copy = NULL;
	assert_int_equal(clone_copy_start(f->loop, &f->files, on_copied, f, &copy, NULL), 0);
	clone_copy_free(copy);
	assert_false(f->done);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_shared_ones_are_the_templates),
		TEST(test_copies_are_nobodys_else),
		TEST(test_scratch_disk_is_always_a_copy),
		TEST(test_booted_machine_has_a_fresh_scratch_disk),
		TEST(test_scratch_folder_that_is_not_there_is_named),
		TEST(test_what_is_missing_is_named),
		TEST(test_nobody_is_told_once_it_is_given_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
