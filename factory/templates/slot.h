/* A configured template and its pool, through the template's life:
 *
 *   state     on disk                   leaves by
 *   ABSENT    nothing of ours yet       slot_make_ready(): BAKING; slot_destroy(): REMOVING
 *   BAKING    a folder, no manifest     the bake's end: READY, BROKEN, or ABSENT when cancelled
 *   READY     a template; pool open     slot_destroy(): REMOVING
 *   BROKEN    nothing                   slot_make_ready(): BAKING; slot_destroy(): REMOVING
 *   REMOVING  being removed             done: ABSENT
 *
 * A READY template can be rebuilt: another is baked beside it while it goes on serving, then
 * the pool takes new machines from the new one and replaces the parked ones of the old as
 * those come (pool_roll), and when no parked one is left the old one's files are removed, which
 * claimed machines do not notice. It is done when asked for (slot_rebuild), and by itself when
 * an input has changed and the definition says on_stale "rebuild".
 */
#pragma once

#include "base/loop.h"
#include "base/state.h"
#include "base/worker.h"
#include "factory/bake/bake.h"
#include "factory/bake/bake_queue.h"
#include "factory/base/config.h"
#include "factory/base/metrics.h"
#include "factory/pool/pool.h"
#include "factory/store/choice.h"

enum slot_state { SLOT_ABSENT, SLOT_BAKING, SLOT_READY, SLOT_BROKEN, SLOT_REMOVING };
DECLARE_STRING_TABLE(slot_state, enum slot_state); /* "absent", "baking", ... */
extern const struct state_machine slot_states;

struct slot;

struct slot_options {
	struct loop *loop;
	struct worker_pool *workers;
	const struct factory_config *config;    /* borrowed */
	const struct template_host *host;       /* borrowed */
	struct bake_queue *bakes;               /* borrowed; shared by all slots */
	struct host_room *room;                 /* borrowed */
	struct jail_settings jail;              /* ditto */
	struct template_definition *definition; /* taken */
};

struct slot *slot_new(const struct slot_options *options);
/* After slot_stop() has called back, or the end of the workers. Who still waits for it is called
 * with -ECANCELED. */
void slot_free(struct slot *slot);

/* Called once, from the loop. */
typedef void (*slot_fn)(int number, const struct error *err, void *userdata);

/* Bakes the template where it is not READY; fn (may be NULL) is called when the pool is full,
 * or with what went wrong. One that is being destroyed is baked after that; -ECANCELED while its
 * bake is being cancelled, and after slot_stop(). */
void slot_make_ready(struct slot *slot, slot_fn fn, void *userdata);

/* Bakes the template anew, also where no input changed; fn (may be NULL) is called when the new
 * one serves and the old one is removed, or with what went wrong. Where it is not READY this is
 * slot_make_ready(). */
void slot_rebuild(struct slot *slot, slot_fn fn, void *userdata);

/* Reads the definition again and takes its pool policy over, without a bake, and for the bake that
 * is under way; whether it differs.
 * A definition that cannot be used is logged and changes nothing. */
bool slot_reload_policy(struct slot *slot);

/* Ends a bake, the pool and the template; claimed machines go on. */
void slot_destroy(struct slot *slot, slot_fn fn, void *userdata);

/* The same without removing the template: for the factory's end. Whose slot_destroy() has not come
 * to the removal yet is called with -ECANCELED. */
void slot_stop(struct slot *slot, slot_fn fn, void *userdata);

/* What it has for a claim. */
void slot_offer(const struct slot *slot, struct template_offer *ret_offer);

/* Whether a claim may be made, which also waits for a template that is being baked. */
_must_check_ int slot_accepts(const struct slot *slot, struct error *err);

/* What was counted and timed for this template. */
struct metrics *slot_metrics(struct slot *slot);

const char *slot_name(const struct slot *slot);
enum slot_state slot_state(const struct slot *slot);
/* Of a bake, of the first as of a rebuild: "queued", "hashing", "booting", ...; else "". */
const char *slot_phase(const struct slot *slot);
const char *slot_error(const struct slot *slot); /* why it is BROKEN or its clones fail, or "" */
/* Why the template is stale: "kernel changed (sha256 … -> …)", as found by the last look; "" */
const char *slot_stale(const struct slot *slot);
const char *slot_rebuild_error(const struct slot *slot); /* of the last rebuild, or "" */
bool slot_rebuilding(const struct slot *slot);           /* until the old template is removed */
/* The inputs as they are now; NULL where they are not known. */
const struct template_inputs *slot_inputs(const struct slot *slot);
const struct template_definition *slot_definition(const struct slot *slot);
/* The guest's console during the bake under way, else the last one; "". The caller frees. */
char *slot_console(const struct slot *slot);
const struct template_manifest *slot_manifest(const struct slot *slot); /* NULL unless READY */
struct pool *slot_pool(struct slot *slot);
