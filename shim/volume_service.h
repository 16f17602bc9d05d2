/* kiln.shim.v1.Volumes (proto/volumes.proto), for kiln-ctl direct-volume stats and resize: what the
 * guest says of a direct volume, and its disk and file system made larger. NOT_FOUND: no container
 * of this sandbox has the volume. */
#pragma once

struct ttrpc_server;

/* The server's userdata is the struct shim. */
void volume_service_add(struct ttrpc_server *server);
