/* A claim without a factory: the claimer clones a template of the store by itself, with the code
 * the factory uses. Whoever serves sandboxes goes on serving them while the factory is down;
 * what it costs is the clone's time.
 *
 * The machine stands in the journal as its claimer's from the first, so that the next factory
 * takes it up as claimed and confirmed, even while it is being made.
 */
#pragma once

#include "base/loop.h"
#include "factory/client/claim.h"
#include "factory/store/store_note.h"
#include "factory/vm/vm.h"

/* Once, from the loop. number 0: the machine is claimed and confirmed. vm and the note (of
 * the factory that is not there) are valid inside the callback only; the descriptors of the
 * hand-over are the callee's, and so is the VMM, a child of this process (spawn_reap). */
typedef void (*claim_clone_fn)(int number, const struct vm *vm, const struct vm_handover *handover,
			       const struct store_note *note, const struct error *err,
			       void *userdata);

/* Blocks for some milliseconds (the manifests, the VMM's start). -ENOENT: what the factory at
 * this address has left (factory/store/store_note.h) leads to no template that would do. */
_must_check_ int claim_clone_start(struct loop *loop, const struct claim_options *options,
				   claim_clone_fn fn, void *userdata, struct error *err);
