#include "shim/lower_folders.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "factory/guest/guest_share.h"
#include "shim/mount.h"

struct lower_folders {
	char *dir;                  /* owned; on the host */
	struct lower_folder *items; /* owned */
	size_t count;
	unsigned next; /* no name comes twice in a machine's life */
};

struct lower_folders *lower_folders_new(const char *share_dir)
{
	struct lower_folders *folders = xnew(struct lower_folders);

	folders->dir = path_join(share_dir, GUEST_LOWER_DIR);
	return folders;
}

static void remove_folder(struct lower_folder *lower)
{
	if (lower->folder.fd >= 0)
		mount_remove_at(lower->folder.fd, LOWER_ROOT);
	share_folder_remove(&lower->folder);
	free(lower->identity);
	free(lower->name);
}

void lower_folders_free(struct lower_folders *folders)
{
	if (!folders)
		return;
	for (size_t i = 0; i < folders->count; i++)
		remove_folder(&folders->items[i]);
	free(folders->items);
	free(folders->dir);
	free(folders);
}

const struct lower_folder *lower_folders_find(const struct lower_folders *folders,
					      const char *identity)
{
	for (size_t i = 0; i < folders->count; i++)
		if (str_equal(folders->items[i].identity, identity))
			return &folders->items[i];
	return NULL;
}

int lower_folders_add(struct lower_folders *folders, const char *identity,
		      const struct lower_folder **ret, struct error *err)
{
	struct lower_folder lower = {
		.name = xasprintf("%u", folders->next++),
		.folder = SHARE_FOLDER_NONE,
	};
	int r = share_folder_make(folders->dir, lower.name, &lower.folder, err);

	if (r < 0) {
		free(lower.name);
		return r;
	}
	lower.identity = xstrdup(identity);
	folders->items = xrealloc_array(folders->items, folders->count + 1, sizeof(lower));
	folders->items[folders->count] = lower;
	*ret = &folders->items[folders->count++];
	return 0;
}

void lower_folders_undo(struct lower_folders *folders)
{
	remove_folder(&folders->items[--folders->count]);
}
