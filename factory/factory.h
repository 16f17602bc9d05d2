/* kiln-factory as a whole: what it owns, its start and its end.
 *
 * Start: take the run folder (one factory a folder, by flock), clean up what a killed bake
 * left, adopt the machines in the journal, serve the socket, bake. End: stop listening, end
 * bakes, destroy what is not claimed, leave claimed sandboxes running.
 */
#pragma once

#include "base/loop.h"
#include "factory/config.h"
#include "factory/counters.h"
#include "factory/slot.h"

struct factory;

/* Blocks: probes QEMU, cleans up, binds the socket. config is taken, also on failure. */
_must_check_ int factory_new(struct loop *loop, struct factory_config *config,
			     struct factory **ret_factory, struct error *err);

/* Begins the end; the loop is stopped when nothing is left to end, or after 20 s. */
void factory_stop(struct factory *factory);

void factory_free(struct factory *factory);
DEFINE_CLEANUP(struct factory *, factory_free)

/* For the handlers (service.c). */
const struct factory_config *factory_config(const struct factory *factory);
const struct template_host *factory_host(const struct factory *factory);
struct counters *factory_counters(struct factory *factory);
uint64_t factory_uptime_s(const struct factory *factory);
/* All templates; NULL ends it. */
struct slot *factory_next_slot(struct factory *factory, const struct slot *after);
/* By name, "" or NULL for the default; NULL where there is none. */
struct slot *factory_find_slot(struct factory *factory, const char *name);
