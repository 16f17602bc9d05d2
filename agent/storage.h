/* Storages: what the host asks to have mounted in the guest for a sandbox or a container, as
 * Kata's protocol has them. A mount point that is asked for again is shared and counted.
 *
 *   9p         the host's share directory, by its mount tag
 *   virtio-fs  the same by a device that the host plugs in, by its tag; waited for
 *   ephemeral  a tmpfs, also called tmpfs
 *   local      a folder of the guest's own, with the options mode= (octal), uid= and gid= where it
 *              is made by this call; what is there already, other than a link, is left as it is.
 *              What a container has removed is made anew for who asks again
 *   bind       a path of the guest at another place
 *   blk        a file system on a disk of the guest: /dev/disk/by-id/virtio-SERIAL, a device,
 *              or a place on the PCI bus (agent/disk.h); one that is being plugged in is waited for
 *   overlayfs  an overlay; with the driver option io.katacontainers.fs-opt.overlay-rw its upper
 *              and work folder are made on the scratch disk (agent/scratch.h), and go with it;
 *              with kiln.overlay-upper=FOLDER they are FOLDER/upper and FOLDER/work, stay there,
 *              and are made where FOLDER does not have them yet
 *   layers     EROFS images of layers, one after another on a disk or a device of persistent memory
 *              (then with DAX: the driver option kiln.dax), each mounted in a folder of the mount
 *              point (agent/layers.h)
 *   nvdimm     an image on a device of persistent memory, /dev/pmemN, whose pages are the host's
 *              (option "dax=always" of EROFS): the images a template carries
 *
 * A storage whose driver options have "kiln.keep" stays where it is when nobody uses it any more,
 * also beyond the end of the sandbox, until a request for its mount point comes. One for the same
 * file system (driver, source, options but mode, uid and gid) takes it over as it is; any other one
 * has it unmounted first. So the machine that a factory warms hands its mounted share on to its
 * sandbox.
 */
#pragma once

#include "base/error.h"
#include "base/list.h"
#include "proto/agent.pb-c.h"

struct storage;
struct scratch;

struct storage_list {
	TAILQ_HEAD(storage_head, storage) items;
	struct scratch *scratch; /* borrowed */
};

void storage_list_init(struct storage_list *list, struct scratch *scratch);

/* Mounts it, or counts one more user of what is mounted there. -EOPNOTSUPP for a driver this
 * agent does not have. */
_must_check_ int storage_add(struct storage_list *list, const Grpc__Storage *request,
			     struct error *err);

/* Gives a mounted tmpfs the options of the request, such as a larger size. -ENOENT where none is
 * there, -EOPNOTSUPP where it is no tmpfs. */
_must_check_ int storage_update(struct storage_list *list, const Grpc__Storage *request,
				struct error *err);

/* One user less; the last one unmounts. A failure is logged: nobody could act on it. */
void storage_drop(struct storage_list *list, const char *mount_point);

/* Drops all that is left, newest first, but for what is to be kept. */
void storage_drop_all(struct storage_list *list);

/* Drops what is kept, too, and ends the list. */
void storage_list_done(struct storage_list *list);

/* The drivers' names, for GetGuestDetails. */
extern const char *const storage_drivers[];
extern const size_t storage_drivers_count;
