/* Notes as a shim leaves them for the factory's list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* After what it needs. */
#include <cmocka.h>

#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "proto/root_note.h"
#include "tests/unit/folder.h"

/* "app=share side=overlay-image" */
static void expect_notes(const char *dir, const char *wanted)
{
	struct root_notes notes;
	char text[256] = "";

	root_notes_load(dir, &notes);
	for (size_t i = 0; i < notes.count; i++) {
		strcat(text, i > 0 ? " " : "");
		strcat(text, notes.items[i].container_id);
		strcat(text, "=");
		strcat(text, root_kind_to_string(notes.items[i].kind));
	}
	assert_string_equal(text, wanted);
	root_notes_done(&notes);
}

static void test_notes_of_a_pod(void **state)
{
	char *side = NULL, *app = NULL;

	expect_notes(*state, "");
	assert_int_equal(root_note_write(*state, "side", ROOT_OVERLAY_IMAGE, &side, NULL), 0);
	assert_int_equal(root_note_write(*state, "app", ROOT_SHARE, &app, NULL), 0);
	expect_notes(*state, "app=share side=overlay-image");
	root_note_remove(app);
	expect_notes(*state, "side=overlay-image");
	root_note_remove(side);
	expect_notes(*state, "");
	root_note_remove(NULL);
}

static void put(const char *dir, const char *name, const char *text)
{
	_cleanup_free_ char *path = xasprintf("%s/roots/%s", dir, name);

	assert_int_equal(file_write_volatile(path, text, strlen(text), 0600, NULL), 0);
}

static void test_what_is_no_note_is_passed_over(void **state)
{
	_cleanup_free_ char *folder = path_join(*state, "roots/folder");

	assert_int_equal(dir_make(folder, 0700, NULL), 0);
	put(*state, "app", "overlay-share");
	put(*state, "empty", "");
	put(*state, "unknown", "tape");
	put(*state, "long", "overlay-share and then so much more that no note is as long as this");
	put(*state, "-odd", "share");
	expect_notes(*state, "app=overlay-share");
}

static void test_a_machine_that_is_gone_cannot_be_noted(void **state)
{
	_cleanup_free_ char *gone = path_join(*state, "file/below");
	_cleanup_free_ char *file = path_join(*state, "file");
	char *path = NULL;

	assert_int_equal(file_write_volatile(file, "", 0, 0600, NULL), 0);
	assert_int_equal(root_note_write(gone, "app", ROOT_SHARE, &path, NULL), -ENOTDIR);
	assert_null(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_notes_of_a_pod, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_what_is_no_note_is_passed_over, folder_setup,
						folder_teardown),
		cmocka_unit_test_setup_teardown(test_a_machine_that_is_gone_cannot_be_noted,
						folder_setup, folder_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
