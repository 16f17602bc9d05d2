/* One virtual machine made from a template, from its spawning to its end.
 *
 *   state     what it is                                     leaves by
 *   SPAWNED   QEMU starts and loads the template's state     state loaded
 *             (a booted one: WARMING at once)
 *   RESTORED  the template's state is loaded, vCPUs stopped  cont, agent connected
 *   WARMING   pinged, path rehearsed, reseeded, clock set    all answered: stop
 *             (a spare: no container rehearsed yet)
 *   SPARE     vCPUs stopped, half-way warm                   vm_use_spare(): RESTORED again
 *   PARKED    vCPUs stopped, costs no CPU                    vm_claim()
 *   CLAIMED   running, handed over                           its sandbox's end
 *   GONE      process dead, folder and journal removed       freed by its owner
 *   any state -> GONE on failure, with its reason
 *
 * One function changes the state (vm_set_state in vm.c), checks the edge against the table,
 * writes the journal and tells the owner. A machine serves one sandbox and is never reused.
 *
 * On the host a machine owns RUN_DIR/vms/ID/ (sockets agent.sock, qmp.sock, shim.sock and the
 * folder share/ that the guest reaches as virtio-9p), a range of user ids, a control group and
 * the journal entry RUN_DIR/vms/ID.json, which is written before anything of it exists.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/loop.h"
#include "base/state.h"
#include "factory/jail/jail.h"
#include "factory/store/template.h"

enum vm_state { VM_SPAWNED, VM_RESTORED, VM_WARMING, VM_SPARE, VM_PARKED, VM_CLAIMED, VM_GONE };
DECLARE_STRING_TABLE(vm_state, enum vm_state); /* "spawned", "restored", ... */
extern const struct state_machine vm_states;

struct vm;

struct vm_options {
	struct loop *loop;
	const struct template_manifest *manifest; /* copied as far as needed */
	const char *run_dir;
	uint64_t lease_grace_ms; /* see vm_lease(); 0: 30 s */
	bool merge_pages;        /* KSM may merge its pages with others' */
	const char *scratch_dir; /* folder for its scratch disk; used while this is called only */
	struct jail_settings jail;
	/* NULL in a factory. Else the sandbox this very process makes the machine for: the journal
	 * says whose it is from the first, and a factory that starts meanwhile leaves it alone. */
	const char *sandbox_id;
	/* NULL: a clone. Else a machine of this size (both numbers) is booted, with the template's
	 * kernel, initramfs and root image, and is warmed, parked and claimed like a clone. */
	const struct vm_size *boot;
	bool spare; /* a clone that rests as SPARE until vm_use_spare(); not with boot */
	/* Every change of state. In GONE, `why` says why (never NULL, "destroyed" for the wanted
	 * end) and everything of the machine is removed from the host; the owner then calls
	 * vm_free() from loop_defer(), not from here. */
	void (*on_state)(struct vm *vm, enum vm_state old, enum vm_state now,
			 const struct error *why, void *userdata);
	void *userdata;
};

/* Starts a machine. It reports SPAWNED .. PARKED or GONE by itself; each step has a deadline, but
 * for SPARE, which has none. (SPAWNED is what it is when this returns; on_state is first called
 * for what follows.) Where it fails nothing is left; if that takes a while, this succeeds and
 * GONE follows. */
_must_check_ int vm_start(const struct vm_options *options, struct vm **ret_vm, struct error *err);

/* Has a spare go on to PARKED, once; also one that has not come to SPARE yet, which then does
 * not. Its time begins anew (vm_spawned_ns). on_state is called from within. */
void vm_use_spare(struct vm *vm);

/* Takes up a machine from its journal entry after a restart of the factory: a parked one is
 * checked (process, monitor, agent) and reported PARKED or GONE; a claimed one is CLAIMED at
 * once and only its end and its lease are watched, and so is one that a claimer still makes for
 * itself (-EBUSY, no machine here, where it has no process yet). Anything else is reaped: GONE.
 * What cannot be looked at, for lack of descriptors say, is not taken for gone: vm_adopt.c.
 * manifest is NULL where the template is no more. Two-step: journal_scan() finds the entries
 * (factory/vm/journal.h). */
struct journal_entry;
_must_check_ int vm_adopt(const struct vm_options *options, const struct journal_entry *entry,
			  struct vm **ret_vm, struct error *err);

/* What the claimer gets; descriptors are owned by it. */
struct vm_handover {
	int agent_fd;
	int qmp_fd; /* second monitor, greeting unread */
	int pidfd;
	uint32_t next_stream; /* first stream id to use on agent_fd */
};

static inline void vm_handover_close(const struct vm_handover *handover)
{
	close_fd(handover->agent_fd);
	close_fd(handover->qmp_fd);
	close_fd(handover->pidfd);
}

/* PARKED -> CLAIMED: resumes the vCPUs, has the guest grow where `size` (NULL: any) is more than
 * the machine has (factory/vm/growth.h), then calls back with the hand-over, or with an error
 * after which the machine is on its way to GONE. The size must be within what the template can grow
 * to. The journal has the lease before that. Only a PARKED machine may be claimed (else abort);
 * on_state is called from within, fn never. */
typedef void (*vm_claim_fn)(struct vm *vm, int number, const struct vm_handover *handover,
			    const struct error *err, void *userdata);
void vm_claim(struct vm *vm, const char *sandbox_id, const struct vm_size *size, vm_claim_fn fn,
	      void *userdata);

/* The claimer has confirmed (journal); before that the machine goes with its connection. */
void vm_confirm(struct vm *vm);
bool vm_confirmed(const struct vm *vm);

/* Leases a claimed machine to a process, or renews the lease for another one. A lease has no
 * date: it lasts as long as the process (known by pid and start time, in the journal), which is
 * watched by a pidfd. So a claimer has nothing to send and no timer to run, a busy one does not
 * lose its machine, and a restarted factory goes on watching. When the process dies, whoever
 * takes the machine over has lease_grace_ms to call this (rpc Renew); then it is destroyed.
 * A process in a pid namespace that is not ours (pid 0) cannot be watched: no lease then. */
void vm_lease(struct vm *vm, pid_t claimer);

/* Kills the process, unmounts what is below share/, removes folder and journal, reports GONE
 * with `reason`. Any state; twice is once. */
void vm_destroy(struct vm *vm, const char *reason);

/* Forgets the machine without touching it on the host (clean shutdown with claimed sandboxes);
 * in GONE: frees it. No callback follows, not even of a claim under way. */
void vm_free(struct vm *vm);

const char *vm_id(const struct vm *vm);
const char *vm_dir(const struct vm *vm);
const char *vm_share_dir(const struct vm *vm);
unsigned vm_block_slots(const struct vm *vm);   /* factory/guest/disks.h */
unsigned vm_network_cards(const struct vm *vm); /* factory/guest/network_cards.h */
bool vm_has_vhost_net(const struct vm *vm);     /* they have: factory/jail/tap.h */
unsigned vm_dax_windows(const struct vm *vm);   /* factory/guest/dax_window.h */
uint64_t vm_dax_window_bytes(const struct vm *vm);
bool vm_has_own_memory(const struct vm *vm);    /* of a template with "share": "never" */
uint64_t vm_scratch_bytes(const struct vm *vm); /* factory/guest/disks.h; 0: it has no such disk */
const struct carried *vm_images(const struct vm *vm); /* as its template was baked */
const char *vm_template_id(const struct vm *vm);
const char *vm_sandbox_id(const struct vm *vm); /* of a claimed one, else "" */
enum vm_state vm_state(const struct vm *vm);
pid_t vm_pid(const struct vm *vm);
uint32_t vm_guest_cid(const struct vm *vm);  /* factory/vm/guest_cid.h; 0: none */
struct vm_size vm_size(const struct vm *vm); /* as it is now; 0, 0 where the template is no more */
struct vm_size vm_max_size(const struct vm *vm); /* that it can grow to; ditto */
uint64_t vm_spawned_ns(const struct vm *vm);     /* CLOCK_MONOTONIC; or since vm_use_spare() */
