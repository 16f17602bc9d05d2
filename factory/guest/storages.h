/* What a sandbox or a container needs mounted in its guest before it is made: the storages of
 * CreateSandbox and CreateContainer (agent/storage.h has the drivers). Every module that shows
 * something of the guest's to a container appends to the same list. `struct storages s = {};` is an
 * empty one. */
#pragma once

#include "base/cleanup.h"
#include "proto/agent.pb-c.h"

struct storages {
	Grpc__Storage **items; /* owned, with what is in them */
	size_t count;
};

/* Appends one; the texts are copied. Borrowed: it lives as long as the list. */
Grpc__Storage *storages_add(struct storages *storages, const char *driver, const char *fstype,
			    const char *source, const char *mount_point);

/* An option of the mount, and one of the driver. */
void storage_option(Grpc__Storage *storage, const char *option);
void storage_driver_option(Grpc__Storage *storage, const char *option);
void storage_take_option(Grpc__Storage *storage, char *option); /* takes ownership */

/* It stays for as long as the machine, also while no container uses it. */
void storage_keep(Grpc__Storage *storage);

void storages_done(struct storages *storages);
