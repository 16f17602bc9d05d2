#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/config.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"

#define WHERE "/etc/kiln/factory.json"

struct settings {
	char *socket, *kernel, *extra;
	uint64_t pool_size;
	bool huge_pages;
	int level;
};

static const struct config_key keys[] = {
	CONFIG_STRING(struct settings, socket, "socket", "/run/kiln/factory.sock", "The socket"),
	CONFIG_STRING_REQUIRED(struct settings, kernel, "kernel", "The kernel"),
	CONFIG_STRING(struct settings, extra, "extra", NULL, "More"),
	CONFIG_UINT(struct settings, pool_size, "pool_size", 3, 0, 512, "Clones kept ready"),
	CONFIG_BOOL(struct settings, huge_pages, "huge_pages", true, "Huge pages"),
	CONFIG_ENUM(struct settings, level, "log_level", "info", log_level_from_string, "Logging"),
};

static int read_text(const char *text, struct settings *settings, struct error *err)
{
	json_t *object = json_loads(text, JSON_DECODE_ANY, NULL);

	assert_non_null(object);

	int r = config_read(keys, ARRAY_SIZE(keys), object, WHERE, settings, err);

	json_decref(object);
	return r;
}

static void test_defaults(void **state _unused_)
{
	struct settings settings = {};

	config_set_defaults(keys, ARRAY_SIZE(keys), &settings);
	assert_string_equal(settings.socket, "/run/kiln/factory.sock");
	assert_null(settings.kernel);
	assert_null(settings.extra);
	assert_int_equal(settings.pool_size, 3);
	assert_true(settings.huge_pages);
	assert_int_equal(settings.level, LOG_LEVEL_INFO);
	config_done(keys, ARRAY_SIZE(keys), &settings);
	assert_null(settings.socket);
}

static void test_read(void **state _unused_)
{
	struct settings settings = {};

	config_set_defaults(keys, ARRAY_SIZE(keys), &settings);
	assert_int_equal(read_text("{\"kernel\": \"k\", \"pool_size\": 512, \"huge_pages\": false,"
				   "\"log_level\": \"error\", \"socket\": \"\"}",
				   &settings, NULL),
			 0);
	assert_string_equal(settings.kernel, "k");
	assert_string_equal(settings.socket, "");
	assert_int_equal(settings.pool_size, 512);
	assert_false(settings.huge_pages);
	assert_int_equal(settings.level, LOG_LEVEL_ERROR);
	/* Read again over what is there, as a reload does. */
	assert_int_equal(read_text("{\"kernel\": \"k2\"}", &settings, NULL), 0);
	assert_string_equal(settings.kernel, "k2");
	assert_int_equal(settings.pool_size, 512);
	config_done(keys, ARRAY_SIZE(keys), &settings);
}

static void test_refusals(void **state _unused_)
{
	static const char *const cases[][2] = {
		{ "{\"kernel\": \"k\", \"pool_size\": 900}",
		  "pool_size is 900: must be 0 to 512, in " WHERE },
		{ "{\"kernel\": \"k\", \"pool_size\": -1}",
		  "pool_size is -1: must be 0 to 512, in " WHERE },
		{ "{\"kernel\": \"k\", \"pool_size\": \"3\"}",
		  "pool_size must be a whole number, in " WHERE },
		{ "{\"kernel\": \"k\", \"pool_size\": 3.0}",
		  "pool_size must be a whole number, in " WHERE },
		{ "{\"kernel\": 7}", "kernel must be a string, in " WHERE },
		{ "{\"kernel\": null}", "kernel must be a string, in " WHERE },
		{ "{\"kernel\": \"k\", \"huge_pages\": 1}",
		  "huge_pages must be true or false, in " WHERE },
		{ "{\"kernel\": \"k\", \"log_level\": \"loud\"}",
		  "log_level is \"loud\", which is none of its values, in " WHERE },
		{ "{\"kernel\": \"k\", \"log_level\": 1}",
		  "log_level must be a name (a string), in " WHERE },
		{ "{\"kernel\": \"k\", \"poolsize\": 1}", "unknown key \"poolsize\" in " WHERE },
		{ "{}", "kernel is missing in " WHERE },
		{ "[]", WHERE " must hold a JSON object" },
		{ "3", WHERE " must hold a JSON object" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(error_done) struct error err = {};
		struct settings settings = {};

		config_set_defaults(keys, ARRAY_SIZE(keys), &settings);
		assert_int_equal(read_text(cases[i][0], &settings, &err), -EINVAL);
		assert_string_equal(error_message(&err), cases[i][1]);
		config_done(keys, ARRAY_SIZE(keys), &settings);
	}
}

static int load_text(const char *text, size_t len, json_t **ret, struct error *err)
{
	char path[] = "/tmp/kiln-test-config.XXXXXX";
	_cleanup_close_ int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, text, len), 0);

	int r = config_load_file(path, ret, err);

	unlink(path);
	return r;
}

/* Of a file that a later version wrote what is known is read, and only that is not refused. */
static void test_read_known(void **state _unused_)
{
	struct settings settings = {};
	json_t *object = json_loads("{\"kernel\": \"k\", \"later\": {\"a\": 1}}", 0, NULL);

	config_set_defaults(keys, ARRAY_SIZE(keys), &settings);
	assert_int_equal(config_read_known(keys, ARRAY_SIZE(keys), object, WHERE, &settings, NULL),
			 0);
	assert_string_equal(settings.kernel, "k");
	json_object_set_new(object, "pool_size", json_string("3"));
	assert_int_equal(config_read_known(keys, ARRAY_SIZE(keys), object, WHERE, &settings, NULL),
			 -EINVAL);
	json_object_clear(object);
	assert_int_equal(config_read_known(keys, ARRAY_SIZE(keys), object, WHERE, &settings, NULL),
			 -EINVAL);
	json_decref(object);
	config_done(keys, ARRAY_SIZE(keys), &settings);
}

static void test_load_file(void **state _unused_)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{ "{\"a\": 1, \"a\": 2}", "duplicate" },
		{ "{\n\"a\": }", "line 2" },
		{ "", "is not JSON" },
		{ "{} x", "is not JSON" },
		{ "[1]", "must hold a JSON object" },
		{ "{\"a\": \"\\u0000\"}", "is not JSON" },
	};
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *large = xcalloc(1, 1024 * 1024 + 2);
	json_t *object = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(load_text(cases[i].text, strlen(cases[i].text), &object, &err),
				 -EINVAL);
		assert_non_null(strstr(error_message(&err), cases[i].message));
		assert_non_null(strstr(error_message(&err), "/tmp/kiln-test-config"));
	}
	memset(large, ' ', 1024 * 1024 + 1);
	assert_int_equal(load_text(large, 1024 * 1024 + 1, &object, &err), -EFBIG);
	assert_int_equal(config_load_file("/nonexistent", &object, &err), -ENOENT);
	assert_null(object);
	assert_int_equal(load_text("{\"a\": 1}", 8, &object, &err), 0);
	assert_int_equal(json_integer_value(json_object_get(object, "a")), 1);
	json_decref(object);
}

static void test_print(void **state _unused_)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	config_print(keys, ARRAY_SIZE(keys), out);
	fclose(out);
	assert_string_equal(text,
			    "| Key | Type | Default | Meaning |\n|---|---|---|---|\n"
			    "| `socket` | a string | `\"/run/kiln/factory.sock\"` | The socket |\n"
			    "| `kernel` | a string | required | The kernel |\n"
			    "| `extra` | a string | none | More |\n"
			    "| `pool_size` | a whole number, 0 to 512 | `3` | Clones kept ready |\n"
			    "| `huge_pages` | true or false | `true` | Huge pages |\n"
			    "| `log_level` | a name (a string) | `\"info\"` | Logging |\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),  cmocka_unit_test(test_read),
		cmocka_unit_test(test_refusals),  cmocka_unit_test(test_read_known),
		cmocka_unit_test(test_load_file), cmocka_unit_test(test_print),
	};

	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
