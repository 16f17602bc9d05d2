#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/id.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "base/strv.h"

static void test_tables_walk(void **state _unused_)
{
	static const char *const levels[] = { "debug", "info", "warning", "error", "audit" };
	static const char *const formats[] = { "text", "json" };

	for (int i = 0; i < (int)ARRAY_SIZE(levels); i++) {
		assert_string_equal(log_level_to_string((enum log_level)i), levels[i]);
		assert_int_equal(log_level_from_string(levels[i]), i);
	}
	for (int i = 0; i < (int)ARRAY_SIZE(formats); i++) {
		assert_string_equal(log_format_to_string((enum log_format)i), formats[i]);
		assert_int_equal(log_format_from_string(formats[i]), i);
	}
	assert_string_equal(log_level_to_string((enum log_level)99), "invalid");
	assert_int_equal(log_level_from_string("loud"), -EINVAL);
	assert_int_equal(log_level_from_string(NULL), -EINVAL);
	assert_int_equal(log_level_from_string(""), -EINVAL);
}

static void test_table_with_gap(void **state _unused_)
{
	static const char *const names[] = { [0] = "zero", [2] = "two" };

	assert_string_equal(string_table_name(names, ARRAY_SIZE(names), 1), "invalid");
	assert_string_equal(string_table_name(names, ARRAY_SIZE(names), -1), "invalid");
	assert_int_equal(string_table_value(names, ARRAY_SIZE(names), "two"), 2);
}

static void test_str_after(void **state _unused_)
{
	assert_string_equal(str_after("unix:///run/x", "unix://"), "/run/x");
	assert_string_equal(str_after("abc", ""), "abc");
	assert_string_equal(str_after("abc", "abc"), "");
	assert_null(str_after("ab", "abc"));
	assert_null(str_after("vsock://3:1", "unix://"));
}

static void test_numbers(void **state _unused_)
{
	static const char *const wrong[] = { "", "-1", "+1", " 1", "1 ", "0x10", "1.0", "1e3" };
	uint64_t value = 77;

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(str_to_u64(wrong[i], 0, UINT64_MAX, &value), -EINVAL);
	assert_int_equal(str_to_u64(NULL, 0, UINT64_MAX, &value), -EINVAL);
	assert_int_equal(str_to_u64("18446744073709551616", 0, UINT64_MAX, &value), -ERANGE);
	assert_int_equal(str_to_u64("99999999999999999999999x", 0, UINT64_MAX, &value), -EINVAL);
	assert_int_equal(str_to_u64("4", 5, 9, &value), -ERANGE);
	assert_int_equal(str_to_u64("10", 5, 9, &value), -ERANGE);
	assert_int_equal(value, 77);
	assert_int_equal(str_to_u64("18446744073709551615", 0, UINT64_MAX, &value), 0);
	assert_true(value == UINT64_MAX);
	assert_int_equal(str_to_u64("007", 0, 9, &value), 0);
	assert_int_equal(value, 7);
}

static void test_id_is_valid(void **state _unused_)
{
	static const char *const good[] = { "a", "0", "A9", "k8s.io_pod-1", "a..b" };
	static const char *const bad[] = { "",    ".",   "..",  "-a",       "_a",  ".hidden",
					   "a/b", "a b", "a\n", "\xc3\xa4", "a:b", "../x" };
	char longest[130];

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(id_is_valid(good[i]));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(id_is_valid(bad[i]));
	assert_false(id_is_valid(NULL));
	memset(longest, 'x', sizeof(longest));
	longest[128] = '\0';
	assert_true(id_is_valid(longest));
	longest[128] = 'x';
	longest[129] = '\0';
	assert_false(id_is_valid(longest));
}

static void test_random_id(void **state _unused_)
{
	char a[ID_HEX_SIZE], b[ID_HEX_SIZE];

	id_random_hex(a);
	id_random_hex(b);
	assert_int_equal(strlen(a), 32);
	assert_int_equal(strspn(a, "0123456789abcdef"), 32);
	assert_string_not_equal(a, b);
}

static void test_strbuf(void **state _unused_)
{
	_cleanup_(strbuf_done) struct strbuf b = {};

	assert_string_equal(strbuf_text(&b), "");
	for (int i = 0; i < 1000; i++)
		strbuf_addf(&b, "%03d,", i);
	strbuf_add(&b, "a\0b", 3);
	assert_int_equal(b.len, 4003);
	assert_memory_equal(b.text + 3996, "999,a\0b", 8);

	_cleanup_free_ char *text = strbuf_steal(&b);

	assert_non_null(text);
	assert_int_equal(b.len, 0);
	strbuf_add(&b, NULL, 0);
	assert_string_equal(strbuf_text(&b), "");

	_cleanup_free_ char *empty = strbuf_steal(&b);

	assert_string_equal(empty, "");
}

static void test_strv(void **state _unused_)
{
	_cleanup_(strv_done) struct strv v = {};
	_cleanup_free_ char *none = strv_join(&v, ",");

	assert_string_equal(none, "");
	assert_false(strv_contains(&v, "0"));
	for (size_t i = 0; i < 100; i++) {
		strv_addf(&v, "%zu", i);
		assert_int_equal(v.count, i + 1);
		assert_null(v.items[v.count]);
	}
	strv_add(&v, "last");
	strv_take(&v, xstrdup("taken"));
	assert_true(strv_contains(&v, "99"));
	assert_false(strv_contains(&v, "100"));
	strv_done(&v);
	strv_add(&v, "a");
	strv_add(&v, "b");

	_cleanup_free_ char *joined = strv_join(&v, ", ");

	assert_string_equal(joined, "a, b");
}

static void test_memory(void **state _unused_)
{
	_cleanup_free_ char *slot = NULL;
	_cleanup_free_ char *cut = xstrndup("abcdef", 3), *whole = xstrndup("ab", 30);

	replace_string(&slot, "one");
	replace_string(&slot, slot);
	assert_string_equal(slot, "one");
	replace_string(&slot, NULL);
	assert_null(slot);
	assert_null(xstrdup(NULL));
	assert_string_equal(cut, "abc");
	assert_string_equal(whole, "ab");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tables_walk), cmocka_unit_test(test_table_with_gap),
		cmocka_unit_test(test_str_after),   cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_id_is_valid), cmocka_unit_test(test_random_id),
		cmocka_unit_test(test_strbuf),      cmocka_unit_test(test_strv),
		cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests_name("strings", tests, NULL, NULL);
}
