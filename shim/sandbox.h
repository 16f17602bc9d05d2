/* The machine behind a pod: claimed with the first container, released with the last.
 *
 *   state      what it is                                       leaves by
 *   NONE       no machine                                       sandbox_acquire(), _prepare()
 *   CLAIMING   the factory was asked, and what network the pod
 *              has is read                                      both done
 *   UNWANTED   the same, and its machine is to be released       its answer: RELEASING
 *   RUNNING    the agent takes calls; CreateSandbox was sent    sandbox_release(), loss
 *   RELEASING  the factory destroys the machine                 its answer: NONE
 *
 * CreateSandbox is not waited for: the agent handles calls in order, so the first container's
 * CreateContainer follows at once; what the guest is told of the pod's network goes before. Where
 * any of it failed, or virtio-fs, sandbox_error() says why.
 *
 * The factory knows the sandbox by its id. Where it has a sandbox of this name already, which is
 * one of another namespace of containerd's, it is ID.NAMESPACE.
 *
 * Loss (the VMM died, the agent's channel ended, the guest does not answer or does not end what it
 * was told to): on_lost is called once, from the loop; the owner ends its tasks and calls
 * sandbox_release(), which also ends a silent VMM and cleans up after a dead one.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/state.h"
#include "base/strings.h"
#include "shim/agent_link.h"
#include "shim/dax_windows.h"
#include "shim/disks.h"
#include "shim/large_ids.h"
#include "shim/lower_folders.h"
#include "shim/settings.h"
#include "shim/slots.h"
#include "shim/virtiofs.h"

enum sandbox_state {
	SANDBOX_NONE,
	SANDBOX_CLAIMING,
	SANDBOX_UNWANTED,
	SANDBOX_RUNNING,
	SANDBOX_RELEASING,
};
DECLARE_STRING_TABLE(sandbox_state, enum sandbox_state);
extern const struct state_machine sandbox_states;

struct claim;
struct sandbox;

struct sandbox_options {
	struct loop *loop;
	const char *id; /* copied */
	const char *ns; /* copied; containerd's namespace */
	guest_lost_fn on_lost;
	/* In a release: the factory has been told, the machine's end is its work from now on. */
	void (*on_given_up)(void *userdata);
	/* A container in it has run out of memory (shim/oom_events.h). */
	void (*on_oom)(const char *container_id, void *userdata);
	/* When its clients last used it, and that its time is over (shim/lifetime.h). */
	uint64_t (*used_ms)(void *userdata);
	void (*on_over)(const char *why, void *userdata);
	void *userdata;
};

struct sandbox *sandbox_new(const struct sandbox_options *options);
/* Calls in flight are answered CANCELLED; the machine is not touched (that is sandbox_release()).
 * Not in CLAIMING. */
void sandbox_free(struct sandbox *sandbox);
DEFINE_CLEANUP(struct sandbox *, sandbox_free)

/* Calls fn once, from the loop: 0 when the agent takes calls. The first caller's settings and
 * hostname make the sandbox; strings are copied. */
typedef void (*sandbox_fn)(int number, const struct error *err, void *userdata);
void sandbox_acquire(struct sandbox *sandbox, const struct settings *settings, const char *hostname,
		     sandbox_fn fn, void *userdata);

/* Claims before anybody asks, for whoever will ask with the same settings and hostname: containerd
 * needs a while from the shim's start to the first Create. Asked with others, the machine is
 * given back and another one claimed. A failure is forgotten: the next to acquire hears of it. */
void sandbox_prepare(struct sandbox *sandbox, const struct settings *settings,
		     const char *hostname);

/* fn (may be NULL) is called once, from the loop, in NONE. Those who wait in acquire get
 * -ECANCELED. */
void sandbox_release(struct sandbox *sandbox, void (*fn)(void *userdata), void *userdata);

/* The pod's network is being joined still: sandbox_await_network() calls fn once, from the loop,
 * when that is over, well or not (then sandbox_error() says why). Only while it is. */
bool sandbox_is_joining(const struct sandbox *sandbox);
/* Of that: the machine gets cards first, and its guest was told nothing yet. */
bool sandbox_is_plugging(const struct sandbox *sandbox);
void sandbox_await_network(struct sandbox *sandbox, sandbox_fn fn, void *userdata);

/* Before a start: the pod's network namespace is new, and somebody has filled it for the first one.
 * sandbox_settle_network() calls fn once, from the loop, when the guest is told of what is there.
 * Only where it must be. */
bool sandbox_must_settle_network(struct sandbox *sandbox);
void sandbox_settle_network(struct sandbox *sandbox, sandbox_fn fn, void *userdata);

const char *sandbox_id(const struct sandbox *sandbox);
enum sandbox_state sandbox_state(const struct sandbox *sandbox);
struct agent_link *sandbox_agent(const struct sandbox *sandbox); /* always; may be down */
const struct error *sandbox_error(const struct sandbox *sandbox);
/* What its containers' users have of the machine's ids; to be changed by large_ids_take(). */
struct large_ids *sandbox_large_ids(struct sandbox *sandbox);
const struct claim *sandbox_claim(const struct sandbox *sandbox); /* NULL: not in RUNNING */
uint64_t sandbox_claimed_ns(const struct sandbox *sandbox);       /* since the epoch; 0: never */

/* In RUNNING: */
const char *sandbox_vm_id(const struct sandbox *sandbox);
const char *sandbox_vm_dir(const struct sandbox *sandbox);
const char *sandbox_share_dir(const struct sandbox *sandbox);
struct lower_folders *sandbox_lower_folders(const struct sandbox *sandbox);
/* Its windows and slots for images, and the cache that these come from; NULL: none. */
struct dax_windows *sandbox_dax_windows(const struct sandbox *sandbox);
struct slots *sandbox_slots(const struct sandbox *sandbox);
struct disks *sandbox_disks(const struct sandbox *sandbox);
const char *sandbox_image_cache(const struct sandbox *sandbox);
/* Has its share served by virtio-fs as well (shim/virtiofs.h), if it is not yet. -EINVAL: the
 * machine is of a template that shares its memory, or has other locks already. The daemon's end is
 * a loss of the sandbox. */
_must_check_ int sandbox_serve_volumes(struct sandbox *sandbox, enum virtiofs_locks locks,
				       struct error *err);
/* The guest's device of an image its template carries; NULL: there is none of this name. */
const char *sandbox_image_device(const struct sandbox *sandbox, const char *name);

/* Path of the pod's network namespace; NULL: the pod has none. */
const char *sandbox_netns(const struct sandbox *sandbox);

/* The number of that namespace, where it is new; 0: it is not. */
pid_t sandbox_netns_pid(const struct sandbox *sandbox);

int sandbox_vmm_pidfd(const struct sandbox *sandbox); /* borrowed */
pid_t sandbox_vmm_pid(const struct sandbox *sandbox); /* the last one's; 0: there was none */
