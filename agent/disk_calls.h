/* The host's calls about disks that it plugs in and pulls out of the running machine.
 *
 *   FindDisk      answered when the disk is there (agent/finders.h)
 *   LeaveDisk     answered when nothing is mounted from it any more and its cache was flushed
 *   ResizeVolume  (of Kata's protocol) answered when the file system has become larger, for which
 *                 the kernel must have heard of the disk's new size
 *
 * A container's mount namespace ends some time after its last process. Nothing announces that, nor
 * a disk's new size: so LeaveDisk and ResizeVolume look every few milliseconds while a call waits.
 *
 * A call waits until its deadline, which is the caller's. A disk that is not there (any more) can
 * be pulled out. */
#pragma once

#include "base/loop.h"
#include "proto/agent.pb-c.h"
#include "proto/guest.pb-c.h"
#include "proto/ttrpc_server.h"

struct disk_calls;

struct disk_calls *disk_calls_new(struct loop *loop);
/* Those that wait get no answer. NULL does nothing. */
void disk_calls_free(struct disk_calls *calls);

void disk_calls_find(struct disk_calls *calls, struct ttrpc_call *call,
		     const Kiln__Guest__V1__FindDiskRequest *request);
void disk_calls_leave(struct disk_calls *calls, struct ttrpc_call *call,
		      const Kiln__Guest__V1__LeaveDiskRequest *request);
void disk_calls_resize(struct disk_calls *calls, struct ttrpc_call *call,
		       const Grpc__ResizeVolumeRequest *request);
