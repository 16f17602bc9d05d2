/* Bytes as a table of mounts, the rest as a path that is looked up in it: what is found is of the
 * table, and lies above the path. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "shim/mountinfo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_entry(const struct mountinfo_entry *entry)
{
	if (!entry->root || !entry->point || !entry->type || !entry->source || !entry->attributes ||
	    !entry->options)
		abort();
}

static void look_up(const struct mountinfo *info, const char *path)
{
	const struct mountinfo_entry *found = mountinfo_find(info, path);
	_cleanup_free_ char *place _unused_ = mountinfo_place(info, path);

	(void)mountinfo_has_below(info, path);
	if (!found)
		return;
	if (found < info->entries || found >= info->entries + info->count)
		abort();
	if (strncmp(path, found->point, strlen(found->point)) != 0)
		abort();
}

/* The path is what follows the first zero byte. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = xstrndup((const char *)data, size);
	_cleanup_free_ char *path = NULL;
	struct mountinfo info = {};
	size_t used = strnlen((const char *)data, size);

	path = used < size
		       ? xasprintf("/%.*s", (int)(size - used - 1), (const char *)data + used + 1)
		       : xstrdup("/a/b");
	mountinfo_parse(text, &info);
	for (size_t i = 0; i < info.count; i++)
		check_entry(&info.entries[i]);
	look_up(&info, path);
	mountinfo_done(&info);
	return 0;
}
