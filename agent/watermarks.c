#include "agent/watermarks.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

#define ZONEINFO "/proc/zoneinfo"

enum { ZONEINFO_MAX = 1 << 20 }; /* 10 KiB, and some lines for each vCPU and zone */

/* What the lines of a zone have said so far, in pages. */
struct zone {
	uint64_t free, high;
	bool has_free, has_high;
};

/* "(0, 944, 944)": what the zone keeps from allocations that are content with it, by the zone they
 * would rather have. A process's would rather have the highest, from which most is kept. */
static uint64_t largest_of(const char *list)
{
	uint64_t largest = 0;

	while (*(list += strcspn(list, "0123456789")) != '\0') {
		char *end;
		uint64_t value = strtoull(list, &end, 10);

		largest = value > largest ? value : largest;
		list = end;
	}
	return largest;
}

/* The number after a word and blanks. The vCPUs' own lists have a "high:", which is none. */
static bool number_after(const char *line, const char *word, uint64_t *ret_value)
{
	const char *rest = str_after(line, word);

	return rest && *rest == ' ' &&
	       str_to_u64(rest + strspn(rest, " "), 0, UINT64_MAX, ret_value) == 0;
}

/* A zone's lines come in this order: "pages free", "high", "protection:". */
static int read_line(const char *line, struct zone *zone, uint64_t *spare, struct error *err)
{
	const char *list = str_after(line, "protection:");

	if (number_after(line, "pages free", &zone->free))
		zone->has_free = true;
	else if (number_after(line, "high", &zone->high))
		zone->has_high = true;
	if (!list)
		return 0;
	if (!zone->has_free || !zone->has_high)
		return error_set(err, EPROTO,
				 ZONEINFO " has a zone without its free pages or its "
					  "high watermark");

	uint64_t reserve = largest_of(list);

	if (zone->free > zone->high && zone->free - zone->high > reserve)
		*spare += zone->free - zone->high - reserve;
	*zone = (struct zone){};
	return 1;
}

int watermarks_parse(const char *zoneinfo, uint64_t *ret_pages, struct error *err)
{
	_cleanup_free_ char *text = xstrdup(zoneinfo);
	struct zone zone = {};
	uint64_t spare = 0;
	int zones = 0;
	char *rest = NULL;

	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		int r = read_line(line + strspn(line, " "), &zone, &spare, err);

		if (r < 0)
			return r;
		zones += r;
	}
	if (zones == 0)
		return error_set(err, EPROTO, ZONEINFO " describes no zone");
	*ret_pages = spare;
	return 0;
}

int watermarks_spare(uint64_t *ret_bytes, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	uint64_t pages = 0;
	int r = file_read(ZONEINFO, ZONEINFO_MAX, &text, NULL, err);

	if (r == 0)
		r = watermarks_parse(text, &pages, err);
	if (r < 0)
		return r;
	*ret_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
	return 0;
}
