#include "shim/volume_overlay.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "proto/message_text.h"

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

/* ---------------------------------------------------------------- one that is mounted */

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

/* ---------------------------------------------------------------- one that is asked for */

static const char *find_option(const Grpc__Mount *mount, const char *name)
{
	for (size_t i = 0; i < mount->n_options; i++) {
		const char *value = str_after(mount->options[i], name);
		if (value)
			return value;
	}
	return NULL;
}

/* Keeps what holds for any mount, and not what is an overlay's. */
static void make_bind(Grpc__Mount *mount, bool readonly)
{
	size_t kept = 0;

	for (size_t i = 0; i < mount->n_options; i++) {
		char *option = mount->options[i];
		if (strchr(option, '=') || str_equal(option, "volatile") ||
		    str_equal(option, "userxattr"))
			free(option);
		else
			mount->options[kept++] = option;
	}
	mount->options = xrealloc_array(mount->options, kept + 2, sizeof(*mount->options));
	mount->options[kept++] = xstrdup("bind");
	if (readonly)
		mount->options[kept++] = xstrdup("ro");
	mount->n_options = kept;
	message_text_set(&mount->type, xstrdup("bind"));
}

/* The folder of "/a:/a", which the caller frees; NULL: there are several. */
static char *only_folder(const char *lower)
{
	size_t len = strcspn(lower, ":");
	const char *at = lower + len;

	while (*at == ':' && strncmp(at + 1, lower, len) == 0)
		at += 1 + len;
	return *at ? NULL : xstrndup(lower, len);
}

bool volume_overlay_is_asked(Grpc__Mount *mount)
{
	const char *lower = str_equal(mount->type, "overlay") ? find_option(mount, LOWER) : NULL;

	if (!lower || *lower != '/')
		return false;
	char *only = find_option(mount, UPPER) ? NULL : only_folder(lower);
	if (!only)
		return true;
	make_bind(mount, true);
	message_text_set(&mount->source, only);
	return false;
}

int volume_overlay_make(const struct mount_place *place, Grpc__Mount *mount, struct error *err)
{
	const struct mount_spec spec = { "overlay", "overlay", mount->options, mount->n_options };
	bool is_readonly = !find_option(mount, UPPER);
	int r = mount_at(place, &spec, err);

	if (r == 0)
		make_bind(mount, is_readonly);
	return r;
}
