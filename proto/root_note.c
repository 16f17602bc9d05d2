#include "proto/root_note.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

#define FOLDER "roots"

enum { WORD_MAX = 32 };

static const char *const root_kind_names[] = {
	[ROOT_OVERLAY_DAX] = "overlay-dax",
	[ROOT_OVERLAY_IMAGE] = "overlay-image",
	[ROOT_OVERLAY_SHARE] = "overlay-share",
	[ROOT_OVERLAY_DAX_BLOCK] = "overlay-dax-block",
	[ROOT_OVERLAY_IMAGE_BLOCK] = "overlay-image-block",
	[ROOT_BLOCK] = "block",
	[ROOT_SHARE] = "share",
};
DEFINE_STRING_TABLE(root_kind, enum root_kind, root_kind_names)

int root_note_write(const char *vm_dir, const char *container_id, enum root_kind kind,
		    char **ret_path, struct error *err)
{
	_cleanup_free_ char *dir = path_join(vm_dir, FOLDER);
	_cleanup_free_ char *path = path_join(dir, container_id);
	const char *word = root_kind_to_string(kind);
	int r = dir_make(dir, 0755, err); /* VM_DIR lets the factory in, and nobody else */

	if (r == 0)
		r = file_write_volatile(path, word, strlen(word), 0644, err);
	if (r == 0)
		*ret_path = steal_ptr(path);
	return r;
}

void root_note_remove(char *path)
{
	if (path)
		(void)unlink(path);
	free(path);
}

static void add(struct root_notes *notes, const char *dir, const char *container_id)
{
	_cleanup_free_ char *path = path_join(dir, container_id);
	_cleanup_free_ char *word = NULL;

	if (!id_is_valid(container_id) || file_read(path, WORD_MAX, &word, NULL, NULL) < 0)
		return;

	int kind = root_kind_from_string(word);

	if (kind < 0)
		return;
	notes->items = xrealloc_array(notes->items, notes->count + 1, sizeof(*notes->items));
	notes->items[notes->count++] = (struct root_note){ .container_id = xstrdup(container_id),
							   .kind = (enum root_kind)kind };
}

static int by_container(const void *a, const void *b)
{
	return strcmp(((const struct root_note *)a)->container_id,
		      ((const struct root_note *)b)->container_id);
}

void root_notes_load(const char *vm_dir, struct root_notes *ret)
{
	_cleanup_free_ char *dir = path_join(vm_dir, FOLDER);
	struct root_notes notes = {};
	const struct dirent *entry;
	DIR *entries = opendir(dir);

	while (entries && notes.count < ROOT_NOTES_MAX && (entry = readdir(entries)))
		add(&notes, dir, entry->d_name);
	if (entries)
		closedir(entries);
	if (notes.count > 1)
		qsort(notes.items, notes.count, sizeof(*notes.items), by_container);
	*ret = notes;
}

void root_notes_done(struct root_notes *notes)
{
	for (size_t i = 0; i < notes->count; i++)
		free(notes->items[i].container_id);
	free(notes->items);
	*notes = (struct root_notes){};
}
