#include "shim/storages.h"

#include <stdlib.h>

#include "base/memory.h"

Grpc__Storage *storages_add(struct storages *storages, const char *driver, const char *fstype,
			    const char *source, const char *mount_point)
{
	Grpc__Storage *storage = xnew(Grpc__Storage);

	grpc__storage__init(storage);
	storage->driver = xstrdup(driver);
	storage->fstype = xstrdup(fstype);
	storage->source = xstrdup(source);
	storage->mount_point = xstrdup(mount_point);
	storages->items = xrealloc_array(storages->items, storages->count + 1,
					 sizeof(Grpc__Storage *));
	storages->items[storages->count++] = storage;
	return storage;
}

static void append(char ***texts, size_t *count, char *text)
{
	*texts = xrealloc_array(*texts, *count + 1, sizeof(char *));
	(*texts)[(*count)++] = text;
}

void storage_take_option(Grpc__Storage *storage, char *option)
{
	append(&storage->options, &storage->n_options, option);
}

void storage_keep(Grpc__Storage *storage)
{
	append(&storage->driver_options, &storage->n_driver_options, xstrdup("kiln.keep"));
}

void storages_done(struct storages *storages)
{
	for (size_t i = 0; i < storages->count; i++)
		grpc__storage__free_unpacked(storages->items[i], NULL);
	free(storages->items);
	*storages = (struct storages){};
}
