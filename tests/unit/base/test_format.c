/* The versions of what programs say to each other: which are taken, and that docs/UPGRADE.md has
 * them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/file.h"
#include "base/format.h"
#include "base/memory.h"

enum { DOCUMENT_MAX = 1 << 20 };

static void test_a_later_or_an_earlier_one_is_refused(void **state _unused_)
{
	for (size_t i = 0; i < FORMATS; i++) {
		const struct format_version *known = &format_versions[i];
		_cleanup_(error_done) struct error err = {};

		assert_true(known->oldest >= 1 && known->oldest <= known->version);
		for (uint32_t v = known->oldest; v <= known->version; v++)
			assert_int_equal(format_check((enum format)i, v, &err), 0);
		assert_int_equal(format_check((enum format)i, (uint64_t)known->version + 1, &err),
				 -EPROTONOSUPPORT);
		assert_non_null(strstr(error_message(&err), "it is of a later Kiln"));
		assert_non_null(strstr(error_message(&err), known->name));
		assert_int_equal(format_check((enum format)i, known->oldest - 1, &err),
				 -EPROTONOSUPPORT);
		assert_non_null(strstr(error_message(&err), "it is of an earlier Kiln"));
	}
}

static int check(const char *text, bool optional)
{
	json_t *object = json_loads(text, 0, NULL);
	int r = format_check_object(FORMAT_NOTE, object, "version", optional, NULL);

	json_decref(object);
	return r;
}

static void test_of_an_object(void **state _unused_)
{
	assert_int_equal(check("{\"version\": 1}", false), 0);
	assert_int_equal(check("{}", true), 0);
	assert_int_equal(check("{}", false), -EBADMSG);
	assert_int_equal(check("{\"version\": \"1\"}", true), -EBADMSG);
	assert_int_equal(check("{\"version\": 1.0}", true), -EBADMSG);
	assert_int_equal(check("{\"version\": -1}", true), -EBADMSG);
	assert_int_equal(check("{\"version\": 9007199254740993}", true), -EPROTONOSUPPORT);
}

static void test_the_document_has_them(void **state _unused_)
{
	_cleanup_free_ char *text = NULL;

	assert_int_equal(file_read("docs/UPGRADE.md", DOCUMENT_MAX, &text, NULL, NULL), 0);
	for (size_t i = 0; i < FORMATS; i++) {
		const struct format_version *known = &format_versions[i];
		_cleanup_free_ char *row = xasprintf("\n| `%s` | %u | %u | ", known->name,
						     known->version, known->oldest);
		if (!strstr(text, row))
			fail_msg("docs/UPGRADE.md has not: %s", row);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_later_or_an_earlier_one_is_refused),
		cmocka_unit_test(test_of_an_object),
		cmocka_unit_test(test_the_document_has_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
