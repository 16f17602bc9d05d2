#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "agent/watermarks.h"
#include "base/strings.h"

/* As a guest of 1 GiB has it, less the lines of statistics. */
static const char one_gib[] = "Node 0, zone      DMA\n"
			      "  per-node stats\n"
			      "      nr_inactive_anon 0\n"
			      "  pages free     3808\n"
			      "        boost    0\n"
			      "        min      176\n"
			      "        low      220\n"
			      "        high     264\n"
			      "        managed  3840\n"
			      "        protection: (0, 944, 944, 944, 944)\n"
			      "      nr_free_pages 3808\n"
			      "  pagesets\n"
			      "    cpu: 0\n"
			      "              count: 0\n"
			      "              high:  13858\n"
			      "Node 0, zone    DMA32\n"
			      "  pages free     235999\n"
			      "        min      11087\n"
			      "        low      13858\n"
			      "        high     16629\n"
			      "        protection: (0, 0, 0, 0, 0)\n"
			      "    cpu: 0\n"
			      "              high:  13858\n"
			      "Node 0, zone  Movable\n"
			      "  pages free     0\n"
			      "        high     32\n"
			      "        protection: (0, 0, 0, 0, 0)\n";

static uint64_t spare_of(const char *text)
{
	_cleanup_(error_done) struct error err = {};
	uint64_t pages = 0;

	if (watermarks_parse(text, &pages, &err) < 0)
		fail_msg("%s", error_message(&err));
	return pages;
}

static void test_what_is_above_watermark_and_reserve(void **state _unused_)
{
	assert_int_equal(spare_of(one_gib), (3808 - 264 - 944) + (235999 - 16629));
}

/* A zone that is below its watermark takes nothing from what the others can spare. */
static void test_zones_do_not_lend_to_each_other(void **state _unused_)
{
	assert_int_equal(spare_of("pages free 10\nhigh 11\nprotection: (0, 0)\n"
				  "pages free 10\nhigh 5\nprotection: (0, 7)\n"
				  "pages free 12\nhigh 5\nprotection: (0, 3, 6)\n"),
			 1);
	assert_int_equal(spare_of("pages free 10\nhigh 5\n"
				  "protection: (0, 99999999999999999999999999)\n"),
			 0);
	assert_int_equal(spare_of("pages free 10\nhigh 18446744073709551615\nprotection: ()\n"), 0);
}

static void test_what_is_no_zoneinfo_is_refused(void **state _unused_)
{
	static const char *const texts[] = {
		"",
		"Node 0, zone DMA\n",
		"protection: (0)\n",
		"pages free 5\nprotection: (0)\n",
		"high 5\nprotection: (0)\n",
		/* A number of another zone does not stand in. */
		"pages free 5\nhigh 1\nprotection: (0)\nhigh 1\nprotection: (0)\n",
		"pages free x\nhigh 1\nprotection: (0)\n",
		"pages free 5\nhigh: 1\nprotection: (0)\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		_cleanup_(error_done) struct error err = {};
		uint64_t pages = 77;

		assert_int_equal(watermarks_parse(texts[i], &pages, &err), -EPROTO);
		assert_int_equal(pages, 77);
		assert_non_null(strstr(error_message(&err), "/proc/zoneinfo"));
	}
}

static void test_the_running_kernel_is_understood(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};
	uint64_t bytes = 0;

	if (access("/proc/zoneinfo", R_OK) < 0)
		skip();
	assert_int_equal(watermarks_spare(&bytes, &err), 0);
	assert_int_equal(bytes % 4096, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_above_watermark_and_reserve),
		cmocka_unit_test(test_zones_do_not_lend_to_each_other),
		cmocka_unit_test(test_what_is_no_zoneinfo_is_refused),
		cmocka_unit_test(test_the_running_kernel_is_understood),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
