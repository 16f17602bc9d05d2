/* A file system that the guest has mounted from a disk: how full it is, and making it as large as
 * the disk has become. path is its mount point in the guest, which only the host asks for. */
#pragma once

#include "base/error.h"
#include "proto/agent.pb-c.h"

/* response's usages are set: bytes first, then inodes. -ENOENT. */
_must_check_ int volume_stats(const char *path, Grpc__VolumeUsage *ret_bytes,
			      Grpc__VolumeUsage *ret_inodes, struct error *err);

/* -EAGAIN: the disk has not size bytes (yet). -EOPNOTSUPP: no ext4. */
_must_check_ int volume_grow(const char *path, uint64_t size, struct error *err);
