/* A file or a folder of definitions; names that clash. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"
#include "factory/templates/definitions.h"

static char dir[32];

static void write_file(const char *name, const char *text)
{
	_cleanup_free_ char *path = path_join(dir, name);

	assert_int_equal(file_write_atomic(path, text, strlen(text), 0600, NULL), 0);
}

static void define(const char *file, const char *name)
{
	_cleanup_free_ char *text = xasprintf("{\"name\":\"%s\",\"kernel\":\"k\",\"initrd\":\"k\","
					      "\"image\":\"i\",\"machine\":\"k\"}",
					      name);

	write_file(file, text);
}

static int setup(void **state _unused_)
{
	strcpy(dir, "/tmp/kiln-test-XXXXXX");
	assert_non_null(mkdtemp(dir));
	write_file("k", "kernel");
	write_file("i", "image");
	_cleanup_free_ char *image = path_join(dir, "i");
	return truncate(image, 2 << 20);
}

static int teardown(void **state _unused_)
{
	return path_remove(dir, NULL);
}

static void test_folder_and_file(void **state _unused_)
{
	_cleanup_(definitions_done) struct definitions all = {}, one = {};
	_cleanup_free_ char *path = path_join(dir, "b.json");

	define("b.json", "beta");
	define("a.json", "alpha");
	define(".hidden.json", "alpha");
	write_file("c.json.bak", "no JSON");
	assert_int_equal(definitions_load(dir, &all, NULL), 0);
	assert_int_equal(all.count, 2);
	assert_string_equal(all.items[0]->name, "alpha");
	assert_string_equal(all.items[1]->name, "beta");
	assert_int_equal(definitions_load(path, &one, NULL), 0);
	assert_int_equal(one.count, 1);
	assert_string_equal(one.items[0]->path, path);
}

static void test_clash_and_emptiness(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};
	struct definitions definitions = {};

	assert_int_equal(definitions_load(dir, &definitions, &err), -ENOENT);
	assert_non_null(strstr(error_message(&err), dir));
	define("a.json", "same");
	define("b.json", "same");
	assert_int_equal(definitions_load(dir, &definitions, &err), -EEXIST);
	assert_non_null(strstr(error_message(&err), "/a.json and "));
	assert_non_null(strstr(error_message(&err), "/b.json both define a template \"same\""));
	assert_int_equal(definitions.count, 0);
}

/* The others are of other templates. */
static void test_one_is_found_beside_broken_ones(void **state _unused_)
{
	_cleanup_(template_definition_free_cleanup) struct template_definition *found = NULL;
	_cleanup_(error_done) struct error err = {}, none = {}, two = {};

	write_file("a.json", "{\"name\": \"half wri");
	define("b.json", "beta");
	define("c.json", "same");
	define("d.json", "same");
	assert_int_equal(definitions_find(dir, "beta", &found, NULL), 0);
	assert_string_equal(found->name, "beta");
	/* It may be the one that cannot be read. */
	assert_true(definitions_find(dir, "alpha", NULL, &err) < 0);
	assert_non_null(strstr(error_message(&err), "/a.json"));
	assert_int_equal(definitions_find(dir, "same", NULL, &two), -EEXIST);
	define("a.json", "gamma");
	assert_int_equal(definitions_find(dir, "alpha", NULL, &none), -ENOENT);
	assert_non_null(strstr(error_message(&none), "no definition in /tmp/"));
}

/* As a release's folder that a link names is exchanged. */
static void test_links_are_followed_each_time(void **state _unused_)
{
	_cleanup_(template_definition_free_cleanup) struct template_definition *d = NULL;
	_cleanup_free_ char *link = path_join(dir, "current");
	_cleanup_free_ char *path = path_join(link, "a.json");

	define("a.json", "alpha");
	assert_int_equal(symlink(".", link), 0);
	assert_int_equal(template_definition_load(path, &d, NULL), 0);
	assert_string_equal(d->path, path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_folder_and_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_clash_and_emptiness, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_is_found_beside_broken_ones, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_links_are_followed_each_time, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
