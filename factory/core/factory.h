/* kiln-factory as a whole: what it owns, its start and its end.
 *
 * Start: kiln-jailer has taken the run folder and the store (one factory each, by flock) and
 * cleaned up what a killed bake left; the machines in the journal are adopted. End: end bakes,
 * destroy what is not claimed, leave claimed sandboxes running.
 */
#pragma once

#include "base/loop.h"
#include "factory/base/access.h"
#include "factory/base/config.h"
#include "factory/base/footprint.h"
#include "factory/base/metrics.h"
#include "factory/core/reload.h"
#include "factory/images/images.h"
#include "factory/jail/jailer.h"
#include "factory/templates/orphans.h"
#include "factory/templates/slot.h"

struct factory;

/* What kiln-jailer has made for a factory that starts (JAILER_BEGIN). */
struct factory_means {
	struct jailer *jailer;    /* borrowed, as long as the factory */
	int run_lock, store_lock; /* taken by factory_new() */
	int http_fd, socket_fd;   /* listening; the server's (factory/daemon/server.h) */
	bool activated; /* its socket is the service manager's, whose access is not ours to set */
	bool cgroups;   /* machines have control groups */
};

/* Blocks: probes QEMU, adopts machines. config is taken, also on failure. */
_must_check_ int factory_new(struct loop *loop, struct factory_config *config,
			     struct factory_means *means, struct factory **ret_factory,
			     struct error *err);

/* Takes over from fresh what may change live; the report's strings are its own. On failure
 * nothing has changed. */
_must_check_ int factory_reconfigure(struct factory *factory, struct factory_config *fresh,
				     struct reload_report *ret_report, struct error *err);

/* Begins the end: waiting claims and new ones are UNAVAILABLE; the loop is stopped when nothing
 * is left to end, or after 20 s. */
void factory_stop(struct factory *factory);
bool factory_stopping(const struct factory *factory);

/* The end itself: who still waits is answered, and there are no templates any more. What is said of
 * the factory after that, that a connection ended say, finds nothing. */
void factory_end(struct factory *factory);
/* factory_end() where that has not been, and the memory. NULL does nothing in both. */
void factory_free(struct factory *factory);
DEFINE_CLEANUP(struct factory *, factory_free)

/* For the handlers (factory/api/). */
const struct factory_config *factory_config(const struct factory *factory);
struct access *factory_access(struct factory *factory);
/* Tries which accelerator the next bake would choose; the answer is the factory's, until the next
 * look. */
const struct template_host *factory_look_at_host(struct factory *factory);
struct worker_pool *factory_workers(struct factory *factory);
struct metrics *factory_metrics(struct factory *factory);
struct orphans *factory_orphans(struct factory *factory);
struct footprint *factory_footprint(struct factory *factory);
struct images *factory_images(struct factory *factory); /* NULL: there is no cache of images */
uint64_t factory_uptime_s(const struct factory *factory);
/* All templates; NULL ends it. */
struct slot *factory_next_slot(struct factory *factory, const struct slot *after);
/* NULL where there is none of this name. */
struct slot *factory_find_slot(struct factory *factory, const char *name);
/* For a claim: the template of that name, or ("" or NULL) the one that fits best, see
 * template_choose(). Where none fits, the one a machine is to be booted from; ret_boot is its
 * size, else 0, 0. -ENOENT, or slot_accepts()' and template_choose()'s errors. */
_must_check_ int factory_choose_slot(struct factory *factory, const char *name,
				     const struct template_wish *wish, struct slot **ret_slot,
				     struct vm_size *ret_boot, struct error *err);
/* slot_make_ready() and slot_destroy() for all; fn (may be NULL) is called once, with the first
 * failure. */
void factory_init_all(struct factory *factory, slot_fn fn, void *userdata);
void factory_destroy_all(struct factory *factory, slot_fn fn, void *userdata);
