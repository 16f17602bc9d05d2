#include "factory/store/template_list.h"

#include <dirent.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"

static void list_add(struct template_list *list, struct template_manifest *manifest)
{
	list->items = xrealloc_array(list->items, list->count + 1,
				     sizeof(struct template_manifest *));
	list->items[list->count++] = manifest;
}

int template_list_load(const char *store, const char *name, struct template_list *ret_list,
		       struct error *err)
{
	_cleanup_free_ char *path = path_join(store, "templates");
	struct template_list list = {};
	const struct dirent *entry;
	DIR *dir = opendir(path);

	if (!dir)
		return error_set_errno(err, errno, "cannot read %s", path);
	while ((entry = readdir(dir))) {
		_cleanup_(template_manifest_free_cleanup) struct template_manifest *manifest = NULL;
		_cleanup_(error_done) struct error why = {};
		int r = template_id_is_valid(entry->d_name)
				? template_manifest_load(store, entry->d_name, &manifest, &why)
				: -ENOENT;
		if (r == -EPROTONOSUPPORT)
			log_warning(NULL, "%s", error_message(&why));
		if (r == 0 && (*name == '\0' || str_equal(manifest->name, name)))
			list_add(&list, steal_ptr(manifest));
	}
	closedir(dir);
	*ret_list = list;
	return 0;
}

void template_list_done(struct template_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		template_manifest_free(list->items[i]);
	free(list->items);
	*list = (struct template_list){};
}
