/* Taking templates out of the store. A folder that is to go has another name first, in one step: it
 * is no template then, whatever is still in it if we die or fail half-way, and whoever removes
 * another one later removes the rest of it. */
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/config.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/memory.h"
#include "factory/store/template.h"
#include "factory/store/template_priv.h"

#define REMOVED ".removed" /* after the id */

/* `memory` may be a link to a file of ours on another file system; one to anything else is only
 * removed itself. */
static int remove_memory(const char *dir, const char *id, struct error *err)
{
	_cleanup_free_ char *link = path_join(dir, "memory");
	_cleanup_free_ char *name = xasprintf(MEMORY_ELSEWHERE, id);
	char target[PATH_MAX];

	ssize_t len = readlink(link, target, sizeof(target) - 1);
	if (len <= 0)
		return 0; /* a file, or nothing */
	target[len] = '\0';
	const char *base = strrchr(target, '/');
	return base && str_equal(base + 1, name) ? path_remove(target, err) : 0;
}

/* removed is STORE/templates/ID.removed; there may be none. */
static int remove_rest(const char *removed, const char *id, struct error *err)
{
	int r = FAULT_ERROR("template.removing", err);

	if (r == 0)
		r = remove_memory(removed, id, err);
	return r < 0 ? r : path_remove(removed, err);
}

int template_remove(const char *store, const char *id, struct error *err)
{
	_cleanup_free_ char *dir = NULL;

	int r = template_dir(store, id, &dir, err);
	if (r < 0)
		return r;
	_cleanup_free_ char *removed = xasprintf("%s" REMOVED, dir);
	if (path_exists(removed))
		r = remove_rest(removed, id, err);
	if (r < 0)
		return r;
	if (rename(dir, removed) < 0)
		return errno == ENOENT ? 0 : error_set_errno(err, errno, "cannot remove %s", dir);
	FAULT_POINT("destroy.manifest");
	return remove_rest(removed, id, err);
}

/* ---------------------------------------------------------------- many of them */

/* NULL: it is not the rest of a removed template. The caller frees. */
static char *removed_id(const char *entry)
{
	size_t len = strlen(entry), end = strlen(REMOVED);
	_cleanup_free_ char *id = len > end ? xstrndup(entry, len - end) : NULL;

	return id && str_equal(entry + len - end, REMOVED) && template_id_is_valid(id)
		       ? steal_ptr(id)
		       : NULL;
}

struct wanted {
	const char *store, *name, *keep;
};

/* As its manifest says, whether or not it can be trusted otherwise: what cannot be used any more
 * has to go, too. NULL: it does not say. The caller frees. */
static char *name_of(const char *store, const char *id)
{
	_cleanup_free_ char *path = xasprintf("%s/templates/%s/template.json", store, id);
	json_t *object = NULL;

	if (!template_id_is_valid(id) || config_load_file(path, &object, NULL) < 0)
		return NULL;
	char *name = xstrdup(json_string_value(json_object_get(object, "name")));
	json_decref(object);
	return name;
}

/* A folder that is being baked has no manifest and is left alone. */
static int remove_entry(const struct wanted *wanted, const char *folder, const char *entry,
			struct error *err)
{
	_cleanup_free_ char *id = removed_id(entry);

	if (id) {
		_cleanup_free_ char *removed = path_join(folder, entry);
		return remove_rest(removed, id, err);
	}
	if (!wanted->name || str_equal(entry, wanted->keep))
		return 0;
	_cleanup_free_ char *name = name_of(wanted->store, entry);
	return str_equal(name, wanted->name) ? template_remove(wanted->store, entry, err) : 0;
}

/* What fails does not keep the others; the first failure is told. */
static int remove_entries(const struct wanted *wanted, struct error *err)
{
	_cleanup_free_ char *folder = path_join(wanted->store, "templates");
	DIR *dir = opendir(folder);
	const struct dirent *entry;
	int r = 0;

	if (!dir)
		return error_set_errno(err, errno, "cannot read %s", folder);
	while ((entry = readdir(dir))) {
		int one = remove_entry(wanted, folder, entry->d_name, r == 0 ? err : NULL);
		if (r == 0)
			r = one;
	}
	closedir(dir);
	return r;
}

int template_remove_others(const char *store, const char *name, const char *keep, struct error *err)
{
	return remove_entries(&(struct wanted){ store, name, keep }, err);
}

int template_remove_left(const char *store, struct error *err)
{
	return remove_entries(&(struct wanted){ .store = store }, err);
}
