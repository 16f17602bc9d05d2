/* Inside of a machine, shared by vm.c (object, states, claim, end), vm_start.c (from spawning
 * to PARKED), vm_claim.c (handing it over), vm_adopt.c (after a restart of the factory) and
 * vm_lease.c. Nobody else includes it, but for the unit tests. */
#pragma once

#include "factory/vm/clone_files.h"
#include "factory/vm/growth.h"
#include "factory/vm/journal.h"
#include "factory/vm/vm.h"
#include "factory/vm/warm.h"
#include "proto/qmp.h"
#include "proto/ttrpc_client.h"

struct vm {
	struct vm_options options; /* run_dir is `run_dir` below, manifest is NULL after vm_start */
	struct journal_entry entry; /* owned; entry.state is the machine's state */
	char *run_dir;
	char *dir;
	char *share_dir;
	struct carried images; /* its template's; of an adopted one where that is known */
	unsigned block_slots;  /* ditto */
	unsigned dax_windows;  /* ditto */
	unsigned network_cards;
	bool vhost_net;
	uint64_t dax_window_bytes;
	bool own_memory;        /* ditto */
	uint64_t scratch_bytes; /* ditto */
	uint64_t spawned_ns;
	uint64_t state_since_ns;

	int pidfd; /* -EBADF: there is no process (yet, or any more) */
	struct loop_watch *death;
	struct qmp *qmp;            /* NULL for an adopted, claimed one */
	struct ttrpc_client *agent; /* NULL once handed over */
	struct warm *warm;          /* in WARMING only */
	struct growth *growth;      /* during a claim only */
	struct vm_size size, max_size;
	struct vm_size grow_to;  /* of the claim; 0, 0: it is large enough */
	bool booting;            /* not cloned: there is no state to restore */
	bool spare;              /* vm_use_spare() has not been called yet */
	struct launch *launch;   /* factory/vm/launch.h; until the process runs */
	int state_fd;            /* the template's device state, until QEMU has it */
	struct clone_copy *copy; /* while the clone's own files are made */

	struct loop_timer *deadline;
	const char *waiting_for; /* static; what the deadline is for */
	unsigned waiting_ms;
	unsigned patience; /* template_patience(); 1 where the template is not known */

	bool of_template;               /* of an adopted one: its template is there */
	struct loop_timer *adopt_again; /* not NULL: for lack of something it is not yet adopted */

	bool lost;         /* a channel broke: `why` stands until the process' end says more */
	bool dying;        /* its end has begun, with `why` */
	struct error why;  /* owned */
	unsigned removals; /* or kills, that failed: the deadline is for the next one */

	vm_claim_fn claim_fn; /* NULL: no claim under way */
	void *claim_data;

	int claimer_pidfd; /* -EBADF: nobody is watched */
	struct loop_watch *claimer_death;
	struct loop_timer *grace;       /* not NULL: the claimer is dead */
	struct loop_timer *lease_again; /* not NULL: the claimer could not be looked at */
	pid_t claimer_unread;           /* who takes the machine over then; 0: the entry's */

	struct log_pipe
		*log; /* QEMU's words on their way to VM_LOG; NULL: nobody reads them here */

	unsigned deferred; /* calls of ours waiting in the loop */
	bool freed;        /* by the owner, while such a call waits */
};

/* The only place where the state changes: journal, state, owner. The owner may destroy the
 * machine or claim it in its callback, so callers return after it. Where the journal cannot be
 * written the machine is on its way to GONE. */
void vm_set_state(struct vm *vm, enum vm_state now);

/* A machine in `state` with its names and paths; no process, nothing on the host. */
struct vm *vm_new(const struct vm_options *options, const struct journal_entry *entry);

/* Watches the process (pidfd is taken). */
void vm_watch_process(struct vm *vm, int pidfd);

/* Has what QEMU says moved into VM_LOG. */
_must_check_ int vm_read_log(struct vm *vm, struct error *err);

/* The sockets listen before QEMU starts, so these do not wait for it. */
_must_check_ int vm_connect_monitor(struct vm *vm, struct error *err);
_must_check_ int vm_connect_agent(struct vm *vm, struct error *err);

/* Watches the claimer the entry names, if any; a dead one's grace begins now. */
void vm_lease_watch(struct vm *vm);
void vm_lease_end(struct vm *vm);

/* Unless vm_wait_done() comes within ms times its patience, the machine fails with "no ... within
 * N s". */
void vm_wait(struct vm *vm, unsigned ms, const char *waiting_for);
void vm_wait_done(struct vm *vm);

/* Of a machine without a process: lets go of all it holds here, and removes what it has on the
 * host. False where something could not be removed, mostly for lack of descriptors or because it is
 * still busy: that is tried again for some time, and then it is GONE. */
bool vm_clear(struct vm *vm);

/* Failure (err is emptied): the machine goes to GONE by itself. A broken channel is most often
 * the first sign of QEMU's end, so then the process is given a moment to say why it ended. */
void vm_fail(struct vm *vm, struct error *err);

/* Of one that is dying: kills its process, or where it has none buries it. */
void vm_end_process(struct vm *vm);

/* An answer in a sequence: false where the machine is ending or the answer is a failure, which
 * is dealt with. what (may be NULL) is put before err's sentence. */
bool vm_take_answer(struct vm *vm, int number, const struct error *err, const char *what);
/* The same of a warming that is over. */
bool vm_take_warm_answer(struct vm *vm, int number, const struct error *err);

/* vm.c: fn runs from the loop, unless the machine is freed before. */
void vm_defer(struct vm *vm, void (*fn)(struct vm *vm));

/* vm.c: connects to one of the sockets in the machine's folder. */
_must_check_ int vm_connect_in(const char *dir, const char *name, int *ret_fd, struct error *err);

/* vm_start.c: an event of the monitor while the state is being loaded. */
void vm_clone_on_event(struct vm *vm, const char *event, json_t *data);
