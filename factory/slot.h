/* A configured template and its pool, through the template's life:
 *
 *   state     on disk                   leaves by
 *   ABSENT    nothing                   slot_init(): BAKING
 *   BAKING    a folder, no manifest     the bake's end: READY, BROKEN, or ABSENT when cancelled
 *   READY     a template; pool open     slot_destroy(): REMOVING
 *   BROKEN    nothing                   slot_init(): BAKING; slot_destroy(): ABSENT
 *   REMOVING  being removed             done: ABSENT
 */
#pragma once

#include "base/loop.h"
#include "base/worker.h"
#include "factory/bake.h"
#include "factory/config.h"
#include "factory/counters.h"
#include "factory/pool.h"

enum slot_state { SLOT_ABSENT, SLOT_BAKING, SLOT_READY, SLOT_BROKEN, SLOT_REMOVING };
DECLARE_STRING_TABLE(slot_state, enum slot_state); /* "absent", "baking", ... */

struct slot;

struct slot_options {
	struct loop *loop;
	struct worker_pool *workers;
	const struct factory_config *config;    /* borrowed */
	const struct template_host *host;       /* borrowed */
	struct template_definition *definition; /* taken */
	struct counters *counters;
};

struct slot *slot_new(const struct slot_options *options);
void slot_free(struct slot *slot); /* after slot_stop() has called back */

/* Called once, from the loop. */
typedef void (*slot_fn)(int number, const struct error *err, void *userdata);

/* Bakes the template where it is not READY; fn (may be NULL) is called when the pool is full,
 * or with what went wrong. */
void slot_init(struct slot *slot, slot_fn fn, void *userdata);

/* Ends a bake, the pool and the template; claimed machines go on. */
void slot_destroy(struct slot *slot, slot_fn fn, void *userdata);

/* The same without removing the template: for the factory's end. */
void slot_stop(struct slot *slot, slot_fn fn, void *userdata);

/* Whether a claim may be made, which also waits for a template that is being baked. */
_must_check_ int slot_accepts(const struct slot *slot, uint32_t vcpus, uint32_t memory_mib,
			      struct error *err);

const char *slot_name(const struct slot *slot);
enum slot_state slot_state(const struct slot *slot);
const char *slot_phase(const struct slot *slot); /* of a bake, else "" */
const char *slot_error(const struct slot *slot); /* why it is BROKEN or its clones fail, or "" */
const struct template_manifest *slot_manifest(const struct slot *slot); /* NULL unless READY */
struct pool *slot_pool(struct slot *slot);
