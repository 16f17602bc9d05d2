#include "factory/templates/orphans.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "factory/store/template_list.h"
#include "factory/templates/template_removal.h"

struct orphans {
	struct worker_pool *workers;
	struct jailer *jailer;
	struct template_list list;
};

/* Takes those of the list for which `gone` says so out of it. */
static void orphans_forget(struct orphans *orphans, bool (*gone)(const char *name, void *userdata),
			   void *userdata)
{
	struct template_list *list = &orphans->list;
	size_t kept = 0;

	for (size_t i = 0; i < list->count; i++) {
		if (gone(list->items[i]->name, userdata))
			template_manifest_free(list->items[i]);
		else
			list->items[kept++] = list->items[i];
	}
	list->count = kept;
}

int orphans_new(struct worker_pool *workers, struct jailer *jailer, const char *store,
		bool (*is_configured)(const char *name, void *userdata), void *userdata,
		struct orphans **ret_orphans, struct error *err)
{
	struct template_list list = {};

	int r = template_list_load(store, "", &list, err);
	if (r < 0)
		return r;
	struct orphans *orphans = xnew(struct orphans);
	*orphans = (struct orphans){ .workers = workers, .jailer = jailer, .list = list };
	orphans_forget(orphans, is_configured, userdata);
	for (size_t i = 0; i < orphans->list.count; i++)
		log_info(orphans->list.items[i]->name,
			 "template %.12s is in the store and configured no more",
			 orphans->list.items[i]->id);
	*ret_orphans = orphans;
	return 0;
}

void orphans_free(struct orphans *orphans)
{
	if (!orphans)
		return;
	template_list_done(&orphans->list);
	free(orphans);
}

const struct template_manifest *orphans_next(const struct orphans *orphans,
					     const struct template_manifest *after)
{
	size_t i = 0;

	while (after && i < orphans->list.count && orphans->list.items[i++] != after)
		;
	return i < orphans->list.count ? orphans->list.items[i] : NULL;
}

/* ---------------------------------------------------------------- removing */

struct removal {
	struct orphans *orphans;
	slot_fn fn;
	void *userdata;
};

static bool is_of_name(const char *name, void *userdata)
{
	return str_equal(name, userdata);
}

static void on_removed(const struct template_removal *removed, void *userdata)
{
	_cleanup_free_ struct removal *removal = userdata;

	if (removed->number == 0)
		orphans_forget(removal->orphans, is_of_name, (void *)removed->name);
	removal->fn(removed->number, &removed->err, removal->userdata);
}

bool orphans_remove(struct orphans *orphans, const char *name, slot_fn fn, void *userdata)
{
	const struct template_manifest *found = NULL;

	while ((found = orphans_next(orphans, found)) && !str_equal(found->name, name))
		;
	if (!found)
		return false;
	struct removal *removal = xnew(struct removal);
	*removal = (struct removal){ .orphans = orphans, .fn = fn, .userdata = userdata };
	template_removal_start(orphans->workers, orphans->jailer, name, NULL, on_removed, removal);
	return true;
}
