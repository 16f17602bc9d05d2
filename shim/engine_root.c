#include "shim/engine_root.h"

#include <libgen.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "base/strv.h"

/* Two folders above the mount; the caller frees. */
static char *home_of(const char *path)
{
	_cleanup_free_ char *copy = xstrdup(path);

	return xstrdup(dirname(dirname(copy)));
}

/* Without links: Docker names layers by short ones, and a folder that has an image is known by its
 * own name. One that is not there stays as it is, and mounting it says so. */
static void add_folder(struct strbuf *to, const char *home, const char *path)
{
	_cleanup_free_ char *whole = path[0] == '/' ? xstrdup(path)
						    : xasprintf("%s/%s", home, path);
	_cleanup_free_ char *real = realpath(whole, NULL);

	strbuf_adds(to, real ? real : whole);
}

/* "lowerdir=A:B" or "upperdir=A", with whole paths. */
static void add_option(struct strv *options, const char *name, const char *folders,
		       const char *home)
{
	_cleanup_(strbuf_done) struct strbuf option = {};
	_cleanup_free_ char *copy = xstrdup(folders);
	char *rest = copy;

	strbuf_adds(&option, name);
	for (const char *path; (path = strsep(&rest, ":"));) {
		add_folder(&option, home, path);
		if (rest)
			strbuf_adds(&option, ":");
	}
	strv_add(options, strbuf_text(&option));
}

static void read_options(const struct mountinfo_entry *entry, struct strv *options)
{
	static const char *const names[] = { "lowerdir=", "upperdir=" };
	_cleanup_free_ char *home = home_of(entry->point);
	_cleanup_free_ char *copy = xstrdup(entry->options);
	char *rest = copy;

	for (const char *option; (option = strsep(&rest, ","));) {
		for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
			const char *value = str_after(option, names[i]);
			if (value)
				add_option(options, names[i], value, home);
		}
	}
}

void engine_root_find(const struct mountinfo *info, const char *path,
		      Containerd__Types__Mount **ret)
{
	const struct mountinfo_entry *entry = mountinfo_find(info, path);
	struct strv options = {};

	*ret = NULL;
	if (!entry || !str_equal(entry->point, path) || !str_equal(entry->root, "/") ||
	    !str_equal(entry->type, "overlay"))
		return;
	read_options(entry, &options);
	Containerd__Types__Mount *mount = xnew(Containerd__Types__Mount);
	containerd__types__mount__init(mount);
	mount->type = xstrdup("overlay");
	mount->source = xstrdup("overlay");
	mount->options = options.items;
	mount->n_options = options.count;
	*ret = mount;
}

int engine_root_read(const char *rootfs, Containerd__Types__Mount **ret, struct error *err)
{
	_cleanup_(mountinfo_done) struct mountinfo info = {};
	_cleanup_free_ char *path = realpath(rootfs, NULL);
	int r;

	*ret = NULL;
	if (!path)
		return 0; /* who mounts it says why */
	r = mountinfo_read(0, &info, err);
	if (r == 0)
		engine_root_find(&info, path, ret);
	return r;
}

void engine_root_free(Containerd__Types__Mount *mount)
{
	if (mount)
		containerd__types__mount__free_unpacked(mount, NULL);
}
