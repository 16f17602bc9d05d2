#include "shim/volume_overlay.h"

#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

#define LOWER "lowerdir="
#define UPPER "upperdir="

/* "lowerdir=..." of the mount, where all of it is absolute, and nothing has been written; NULL: it
 * is another kind of overlay. The caller frees. */
static char *layers_of(const char *options)
{
	_cleanup_free_ char *copy = xstrdup(options);
	char *save = NULL, *lower = NULL;

	for (char *word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		const char *upper = str_after(word, UPPER);
		if ((upper && !dir_is_empty(upper)) || str_after(word, "lowerdir+") ||
		    str_after(word, "datadir"))
			return NULL;
		if (str_after(word, LOWER))
			lower = word;
	}
	if (!lower || lower[strlen(LOWER)] != '/' || strstr(lower, "::") || strchr(lower, '\\'))
		return NULL;
	for (const char *p = lower; (p = strchr(p, ':')); p++)
		if (p[1] != '/')
			return NULL;
	return xstrdup(lower);
}

int volume_overlay_mount(const struct mount_place *place, const struct mountinfo_entry *entry,
			 const char *path, struct error *err)
{
	_cleanup_free_ char *layers = str_equal(entry->type, "overlay") ? layers_of(entry->options)
									: NULL;
	const char *sub = path + strlen(entry->point);
	char *options[] = { layers, (char *)"ro" };
	const struct mount_spec spec = { "overlay", "overlay", options, ARRAY_SIZE(options) };

	if (!layers || !str_equal(entry->root, "/"))
		return error_set(err, EOPNOTSUPP, "%s is no overlay of read-only layers",
				 entry->point);
	/* Of one layer there is no overlay that is read-only. */
	const char *only = strchr(layers, ':') ? NULL : layers + strlen(LOWER);
	int r = only ? mount_bind_at(place, only, BIND_READONLY, err) : mount_at(place, &spec, err);

	return r == 0 && *sub == '/' && sub[1] ? mount_narrow_at(place, sub + 1, err) : r;
}
