/* The claimer's side of a hand-over, for the shim, kiln-ctl and kiln-bench.
 *
 *   claim_start() -> factory's Claim -> descriptors -> SetGuestDateTime on the agent channel,
 *   without waiting -> on_done -> the claimer makes its sandbox -> claim_confirm()
 *
 * so the guest's clock is right before the first call the claimer makes is handled (the agent
 * handles calls in order of arrival). Until it is confirmed the factory takes the machine back
 * when the claimer dies, and leaves the processor to it. From then on the machine is leased to
 * the claiming process: it lives as long as that does, and a grace time longer (vm_lease() in
 * factory/vm/vm.h says how and why).
 *
 * Where no factory answers (nobody listens, the connection is lost, or the factory does not even
 * say hello within some seconds), the claimer clones the machine by itself from the store the last
 * factory left (factory/client/claim_clone.h): with a warning, origin "cloned", and the reason. The
 * next factory takes it up from the journal; all else is as if it had come from a factory. The
 * claim's connection is closed then, so that a factory that lives after all takes back what it
 * has for it: a sandbox never gets two machines.
 *
 * A factory whose queue of connections is full is there: the claim waits for room in it, within its
 * time, and then fails with -EAGAIN. So does one that a bound of the factory refuses. Else a crowd
 * at the factory's door would have each claimer clone for itself, past every limit of the host.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/loop.h"
#include "base/strv.h"
#include "base/trace_context.h"
#include "proto/claim_priority.h"
#include "proto/ttrpc_client.h"

struct claim_options {
	const char *factory_address; /* NULL: unix:///run/kiln/factory.sock */
	const char *sandbox_id;
	const char *template_name; /* NULL or "": the one that fits best */
	uint32_t vcpus;            /* at least; 0: the template's */
	uint32_t memory_mib;       /* at least; 0: the template's */
	const char *annotations;   /* that the template must carry, with commas; NULL: none */
	uint64_t timeout_ms;       /* 0: 60 s */
	const struct strv *images; /* names of images its template must carry; NULL: none */
	enum claim_priority priority;
	bool no_fallback; /* never without a factory */
};

/* An image the machine's template carries, and where it is in the guest ("/dev/pmem1"). */
struct claim_image {
	char *name, *device;
};

/* All owned by the claim and freed with it, but for what is stolen. */
struct claim {
	char *vm_id;
	char *vm_dir;
	char *share_dir;
	char *share_tag;
	char *template_id;
	char *image_cache;  /* folder of the cache of images (image_cache.h); NULL: there is none */
	char *scratch_dir;  /* folder of its scratch disk's file; NULL: it has no such disk */
	char *reason;       /* why it is not from the pool; "" where it is */
	const char *origin; /* "pooled", "cloned", "booted"; static */
	struct claim_image *images;
	size_t nimages;
	pid_t vmm_pid;
	int vmm_pidfd; /* readable once the VMM is dead */
	int qmp_fd;    /* monitor of our own, greeting unread */
	uint64_t claim_us;
	uint32_t vcpus, memory_mib; /* of the machine */
	uint32_t guest_cid;         /* of it: factory/vm/guest_cid.h; 0: none */
	uint32_t block_slots;       /* of it: factory/guest/disks.h */
	uint32_t dax_windows;       /* factory/guest/dax_window.h */
	uint64_t dax_window_bytes;
	uint32_t network_cards;     /* factory/guest/network_cards.h */
	bool vhost_net;             /* they have; what is plugged in, too: factory/jail/tap.h */
	uint64_t ttl_s, idle_s;     /* what its template says of its sandbox's life; 0: nothing */
	char *factory_version;      /* NULL: no factory gave it, or one that does not say */
	bool own_memory;            /* its template is not shared: factory/guest/guest_volumes.h */
	uint64_t scratch_bytes;     /* factory/guest/disks.h */
	struct ttrpc_client *agent; /* connected to the guest's agent */
	struct claim_link *link;    /* private: the factory's side, until Confirm is answered */

	struct trace_context traced; /* of who called claim_start() */
};

/* Once; number 0: *claim is the callee's, to be ended with claim_free(). */
typedef void (*claim_fn)(int number, struct claim *claim, const struct error *err, void *userdata);

/* Errors before the first byte is sent (no factory, and no template to do without one:
 * -ECONNREFUSED or -ENOENT, with what to do) are returned, and fn is not called then. */
_must_check_ int claim_start(struct loop *loop, const struct claim_options *options, claim_fn fn,
			     void *userdata, struct error *err);

/* The sandbox is there; tells the factory, without waiting. */
void claim_confirm(struct claim *claim);

/* The sandbox is over: closes the channels and tells the factory to destroy the machine; where
 * the factory cannot be reached the machine is reaped here (reap_machine). fn (may be NULL) is
 * called once when that is done. Frees the claim. True: the factory has been told. */
bool claim_release(struct loop *loop, struct claim *claim, const char *factory_address,
		   void (*fn)(int number, const struct error *err, void *userdata), void *userdata);

/* The guest's device of a carried image; NULL: the machine has none of this name. */
const char *claim_image_device(const struct claim *claim, const char *name);

void claim_free(struct claim *claim); /* channels only; the machine is not touched */
DEFINE_CLEANUP(struct claim *, claim_free)
