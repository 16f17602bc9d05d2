/* The slots of a machine (factory/guest/disks.h): which image is on which, and who uses it. Several
 * files that are given together are one disk, one after another: QEMU joins them by a VMDK
 * descriptor.
 *
 *   state      what is on the slot                         leaves by
 *   EMPTY      nothing of ours                             slots_attach()
 *   ATTACHING  QEMU has been told                          its answer: HOLDING, or EMPTY
 *   HOLDING    the image `key`; taken while it has users   another image's slots_attach(), when
 *                                                          it has none
 *
 * A container that asks for an image that is on a slot already shares it. An image stays on its
 * slot when nobody uses it any more, until another one needs the place.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/loop.h"
#include "base/state.h"
#include "base/strings.h"
#include "proto/qmp.h"

enum slot_state { SLOT_EMPTY, SLOT_ATTACHING, SLOT_HOLDING };
DECLARE_STRING_TABLE(slot_state, enum slot_state);
extern const struct state_machine slot_states;

struct slots;

/* bytes: a multiple of 512. */
struct slot_file {
	int fd;
	uint64_t bytes;
};

/* Takes qmp_fd, a monitor of the machine's with its greeting unread. sandbox_id is copied. */
struct slots *slots_new(struct loop *loop, int qmp_fd, size_t count, const char *sandbox_id);
/* The machine is being released: who waits is told -ECANCELED, and nothing can be attached any
 * more. Drops the owner's reference. NULL does nothing. */
void slots_close(struct slots *slots);

/* The monitor, for what else is plugged into the machine; NULL once it is lost. */
struct qmp *slots_monitor(const struct slots *slots);

/* Sets who is told of the monitor's events; slots themselves need none of them. */
void slots_on_event(struct slots *slots,
		    void (*fn)(const char *event, json_t *data, void *userdata), void *userdata);

/* Whoever has something on a slot holds a reference, for the machine may be released before. */
struct slots *slots_ref(struct slots *slots);
void slots_unref(struct slots *slots); /* NULL does nothing */

/* Once, from the loop: the number of the slot, or a negative errno. */
typedef void (*slots_fn)(int number, const struct error *err, void *userdata);

/* Has the files (at least one; their descriptors are taken and -EBADF then) on a slot as the image
 * `key`, with one user more. -EBUSY: all slots are taken; -EIO, -ETIMEDOUT: QEMU refused, with its
 * sentence. */
void slots_attach(struct slots *slots, const char *key, struct slot_file *files, size_t count,
		  slots_fn fn, void *userdata);

/* One user less, when the guest has unmounted it. */
void slots_release(struct slots *slots, size_t slot);
