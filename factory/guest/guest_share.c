#include "factory/guest/guest_share.h"

#include "base/cleanup.h"

/* Nothing is cached: what a container writes is on the host when write(2) returns, with the host's
 * errors, and what the host writes is there at the next read. access=user has Linux 6.1 pass ACLs
 * on in both ways; by default it sets them and shows none, and with posixacl a look-up of a file
 * that is going fails with EIO. */
void guest_share_add(struct storages *list, const char *tag)
{
	static const char *const options[] = { "trans=virtio", "version=9p2000.L", "msize=262144",
					       "cache=none", "access=user" };
	Grpc__Storage *storage = storages_add(list, "9p", "9p", tag, GUEST_SHARE);

	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		storage_option(storage, options[i]);
	storage_keep(storage);
}
