/* Inside of a sandbox, shared by sandbox.c (the object, its states, its loss), sandbox_claim.c
 * (from the claim until the guest has it) and sandbox_release.c. */
#pragma once

#include "base/trace.h"
#include "base/waiters.h"
#include "factory/client/claim.h"
#include "shim/health_watch.h"
#include "shim/lifetime.h"
#include "shim/oom_events.h"
#include "shim/pod_link.h"
#include "shim/sandbox.h"
#include "shim/scratch_watch.h"

/* A machine on its way back; the sandbox may be freed before that has ended. */
struct release {
	struct sandbox *sandbox; /* NULL: freed */
	char *vm_id;             /* owned */
	char *cgroup;            /* owned; of its pod, NULL: it is in none */
};

struct sandbox {
	struct loop *loop;
	char *id;
	char *ns;
	char *other_name; /* ID.NAMESPACE, for the factory; NULL: the id is free */
	guest_lost_fn on_lost;
	void (*on_given_up)(void *userdata);
	void (*on_oom)(const char *container_id, void *userdata);
	uint64_t (*used_ms)(void *userdata);
	void (*on_over)(const char *why, void *userdata);
	void *userdata;
	enum sandbox_state state;
	struct settings settings; /* of the machine; empty in NONE */
	char *hostname;
	struct claim *claim;          /* RUNNING */
	struct slots *slots;          /* RUNNING */
	struct dax_windows *windows;  /* RUNNING */
	struct disks *disks;          /* RUNNING */
	struct lower_folders *lowers; /* RUNNING */
	struct large_ids large_ids;   /* given out so far */
	struct virtiofs *virtiofs;    /* RUNNING: where a container asked for it */
	struct pod_link *network;     /* from CLAIMING on; NULL: its pod has none */
	struct waiters joiners;       /* for the network to be joined */
	enum virtiofs_locks virtiofs_locks;
	struct agent_link *agent;
	struct scratch_watch *scratch; /* RUNNING, once it was created; NULL: none to watch */
	struct health_watch *health;   /* ditto; NULL: it is not to be asked */
	struct oom_events *oom;        /* ditto */
	struct lifetime *lifetime;     /* ditto; NULL: it has no limits */
	struct loop_watch *death;      /* RUNNING: on the VMM's pidfd */
	pid_t vmm_pid;
	uint64_t claimed_ns;        /* of the last machine, since the epoch */
	struct error error;         /* why CreateSandbox failed, or the network, or virtio-fs */
	struct trace_span creation; /* CreateSandbox */
	struct release *release;    /* RELEASING, once it is under way */
	struct trace_span giving_back;
	bool lost; /* it has ended by itself */
	struct waiters acquirers;
	struct error acquire_error; /* what they are told */
	bool is_early;              /* prepared, and nobody has acquired it yet */
	bool claim_again;           /* once released: what was prepared does not fit */
	struct settings wanted;     /* of claim_again */
	char *wanted_hostname;
	void (*on_released)(void *userdata);
	void *released_userdata;
};

/* The factory's answer is awaited. */
static inline bool sandbox_is_claiming(const struct sandbox *sandbox)
{
	return sandbox->state == SANDBOX_CLAIMING || sandbox->state == SANDBOX_UNWANTED;
}

void sandbox_set_state(struct sandbox *sandbox, enum sandbox_state state);
/* Of a struct sandbox: answers those who wait in acquire. */
void sandbox_tell_acquirers(void *userdata);
void sandbox_report_lost(struct sandbox *sandbox, enum guest_loss loss, const char *why);

/* In NONE. */
void sandbox_start_claim(struct sandbox *sandbox, const struct settings *settings,
			 const char *hostname);

void sandbox_begin_release(struct sandbox *sandbox);
/* It is over: NONE, and what follows. */
void sandbox_released(struct sandbox *sandbox, int number, const struct error *err);
void sandbox_drop_network(struct sandbox *sandbox);
