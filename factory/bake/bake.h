/* Baking a template: libvirt boots the machine, the agent answers, a container is rehearsed, the
 * guest trims itself and rehearses once more, the machine is stopped, zero pages are punched out
 * of its memory file, its state is saved, and the manifest is written last.
 *
 *   hashing -> booting -> answering -> rehearsing -> trimming -> freezing -> storing -> done
 *
 * libvirt's calls block, so they run on the worker queue; the agent is talked to on the loop.
 * Killed at any point, a bake leaves nothing that looks like a template: the folder has no
 * template.json, and the next bake or start removes it together with the domain.
 */
#pragma once

#include "base/loop.h"
#include "base/state.h"
#include "base/worker.h"
#include "factory/store/template.h"

enum bake_phase {
	BAKE_HASHING,
	BAKE_BOOTING,
	BAKE_ANSWERING,
	BAKE_REHEARSING,
	BAKE_TRIMMING,
	BAKE_FREEZING,
	BAKE_STORING,
	BAKE_DONE,
};
DECLARE_STRING_TABLE(bake_phase, enum bake_phase);
extern const struct state_machine bake_phases, bake_states;

struct bake;

struct bake_options {
	struct loop *loop;
	struct worker_pool *workers;
	const struct template_definition *definition; /* must outlive the bake */
	const struct template_host *host;             /* ditto */
	const char *store;
	const char *run_dir;
	const char *libvirt_uri; /* NULL: the embedded driver below run_dir */
	uint32_t first_uid;      /* of the machines' user ids; 0: they are root */
	bool anew;               /* bake although there is a valid template, beside it */
	void (*on_phase)(struct bake *bake, enum bake_phase phase, void *userdata);
	/* Once. number 0: the manifest is the callee's (an existing valid one is not baked anew).
	 * Else err says what failed, with the console's last lines where the guest did not
	 * answer. The bake is freed by bake_free() from loop_defer(). */
	void (*on_done)(struct bake *bake, int number, struct template_manifest *manifest,
			const struct error *err, void *userdata);
	void *userdata;
};

struct bake *bake_start(const struct bake_options *options);
/* Stops a running bake and removes what it made; on_done follows with -ECANCELED. */
void bake_cancel(struct bake *bake);
void bake_free(struct bake *bake);
const char *bake_id(const struct bake *bake); /* of the template to be; "" at first */
/* At the factory's end, for a bake that has not ended: its workers are no more, so what it made
 * is removed here, and nobody is told. Blocks. */
void bake_abandon(struct bake *bake);

/* File in a template's folder: the end of the console's log while it was baked. */
#define TEMPLATE_CONSOLE "console"

/* The end of the guest's console log, while the bake runs and after it failed; "" while there
 * is none. The caller frees. */
char *bake_console(const struct bake *bake);
/* The same of a finished template. */
char *bake_console_of(const struct template_manifest *manifest);

/* Removes what an earlier, killed bake left: domains of ours and folders without manifest.
 * Blocks. */
struct bake_domain_options;
_must_check_ int bake_clean(const struct bake_domain_options *where, struct error *err);
/* Of it, the machines of the embedded driver, which must not be in use. Blocks. */
_must_check_ int bake_clean_embedded(const struct bake_domain_options *where, struct error *err);
