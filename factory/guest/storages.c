#include "factory/guest/storages.h"

#include <stdlib.h>

#include "base/memory.h"

/* Messages are freed by protobuf-c, with free(3). */
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
					 sizeof(*storages->items));
	storages->items[storages->count++] = storage;
	return storage;
}

/* text is taken. */
static void append(char ***list, size_t *count, char *text)
{
	*list = xrealloc_array(*list, *count + 1, sizeof(**list));
	(*list)[(*count)++] = text;
}

void storage_take_option(Grpc__Storage *storage, char *option)
{
	append(&storage->options, &storage->n_options, option);
}

void storage_option(Grpc__Storage *storage, const char *option)
{
	storage_take_option(storage, xstrdup(option));
}

void storage_driver_option(Grpc__Storage *storage, const char *option)
{
	append(&storage->driver_options, &storage->n_driver_options, xstrdup(option));
}

void storage_keep(Grpc__Storage *storage)
{
	storage_driver_option(storage, "kiln.keep");
}

void storages_done(struct storages *storages)
{
	for (size_t i = 0; i < storages->count; i++)
		grpc__storage__free_unpacked(storages->items[i], NULL);
	free(storages->items);
	*storages = (struct storages){};
}
