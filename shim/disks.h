/* The disks that a running machine is given and that are taken out of it again: block devices and
 * files of the host (shim/disk_file.h), as virtio-blk devices that the guest knows by their serial
 * number (proto/guest_disks.h). The guest sees their true size, and its kernel alone reads what is
 * on them.
 *
 *   state      what it is                               leaves by
 *   PLUGGING   QEMU was told                            its answer: SEEKING, or CLOSING
 *   SEEKING    the guest's agent looks for it           its answer: ATTACHED, or UNPLUGGING
 *   ATTACHED   with users                               the last disk_release(): LEAVING
 *   LEAVING    the agent says when nothing uses it any  its answer: UNPLUGGING; or ATTACHED,
 *              more and all is written                  where the guest holds on to it
 *   UNPLUGGING QEMU was told, and waits for the guest   the guest lets go: CLOSING. Where it
 *                                                       does not: the machine's end
 *   CLOSING    QEMU closes the host's device            its answer: GONE
 *   GONE       nobody has it
 *
 * A device that is attached already is shared by all that ask for it in the same machine; one that
 * was attached read-only is not given to who wants to write.
 *
 * They are plugged in on the slots of one bridge (DISKS_BRIDGE, factory/guest/disks.h), of which
 * network cards may have some (shim/card_plug.h). Measured with QEMU 7.2 under TCG and load, in a
 * clone that had run two programs, three times, from the first command until the guest knew the
 * disk and its size, and until it was out again; in milliseconds:
 *
 *                                        the first     further     out
 *   virtio-blk on the bridge             193 210 315   32 43       26-228
 *   virtio-blk on a root port each       144 154 317   23 27 28    23-348
 *   scsi-hd on a waiting virtio-scsi     121 179 411   40 41 51    60-222
 *   a virtio-blk that waits, given its   35-44, 97
 *   file by blockdev-reopen and its
 *   size by block_resize
 *
 * A disk that waits is quicker, costs each parked clone 450 KiB whether it is used or not, and can
 * be written to by the guest for ever. The bridge costs 200 to 400 KiB for as many disks as it has
 * slots, and a claim takes no longer with it. A root port holds one disk. SCSI needs a mebibyte of
 * modules in the guest. What makes the first one slow is the code that QEMU has to translate: KVM
 * does not have that.
 *
 * QEMU's cache is the host's page cache, and a flush of the guest's is an fdatasync(2): so what a
 * container synced, and all that was written when its disk is out, is on the host's device.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/state.h"
#include "base/strings.h"
#include "shim/agent_link.h"
#include "shim/slots.h"

enum disk_state {
	DISK_PLUGGING,
	DISK_SEEKING,
	DISK_ATTACHED,
	DISK_LEAVING,
	DISK_UNPLUGGING,
	DISK_CLOSING,
	DISK_GONE,
};
DECLARE_STRING_TABLE(disk_state, enum disk_state);
extern const struct state_machine disk_states;

struct disks;
struct disk;

/* Of a machine; all borrowed for as long as the disks: slots has its monitor, whose events are
 * taken. */
struct disks *disks_new(struct loop *loop, struct slots *slots, struct agent_link *agent,
			const char *sandbox_id);
/* The machine is being released: those who wait are told -ECANCELED, or that it is out. Before
 * slots_close(). NULL does nothing. */
void disks_close(struct disks *disks);

/* Once, from the loop. disk: NULL where number is negative, else one user's reference, to be given
 * back with disk_release(). */
typedef void (*disk_fn)(int number, struct disk *disk, const struct error *err, void *userdata);

/* path is copied. Errors do not name it. -EBUSY: in use elsewhere, or here in another way; -EINVAL,
 * -ENOENT, -ENOTBLK: it is no disk; -EAGAIN: the bridge has no slot left; -EIO,
 * -ETIMEDOUT: QEMU or the guest did not take it. */
void disks_attach(struct disks *disks, const char *path, bool writable, disk_fn fn, void *userdata);

/* One user less. fn (may be NULL) is called once, from the loop, when the host's device is closed,
 * or where it will not be soon: others use it, or the guest holds on to it (then that is logged).
 * Also after disks_close(). */
void disk_release(struct disk *disk, void (*fn)(void *userdata), void *userdata);

/* Has the guest see how large the host's device is by now; size: of a file, which becomes that
 * large itself. fn is called once, from the loop. -EINVAL: a device is smaller than size, a file
 * larger. */
typedef void (*disk_resize_fn)(int number, const struct error *err, void *userdata);
void disk_resize(struct disk *disk, uint64_t size, disk_resize_fn fn, void *userdata);

/* A slot of the bridge for something that is no disk, until the machine's end: its number; 0: none
 * is free. */
unsigned disks_lend_place(struct disks *disks);

const char *disk_serial(const struct disk *disk);
bool disk_is_writable(const struct disk *disk);
bool disk_is_shared(const struct disk *disk); /* it has more users than one */
