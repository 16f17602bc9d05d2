#include "factory/vm/guest_share.h"

#include "base/cleanup.h"

void guest_share_storage(Grpc__Storage *storage, const char *tag)
{
	static char *options[] = { (char *)"trans=virtio", (char *)"version=9p2000.L",
				   (char *)"msize=262144", (char *)"cache=none" };

	grpc__storage__init(storage);
	storage->driver = (char *)"9p";
	storage->fstype = (char *)"9p";
	storage->source = (char *)tag;
	storage->mount_point = (char *)GUEST_SHARE;
	storage->options = options;
	storage->n_options = ARRAY_SIZE(options);
}

void guest_share_keep(Grpc__Storage *storage)
{
	static char *options[] = { (char *)"kiln.keep" };

	storage->driver_options = options;
	storage->n_driver_options = ARRAY_SIZE(options);
}
