/* A bake, as the factory sees it: kiln-jailer has a process of its own do it, as root
 * (factory/jailer/bake_job.c, by factory/bake/bake.h), and that tells of it. */
#pragma once

#include "factory/bake/bake.h"
#include "factory/jail/jailer.h"

struct bake_link;

/* All borrowed, and as long as the bake. */
struct bake_link_options {
	struct loop *loop;
	struct jailer *jailer;
	const char *name;  /* of the template: kiln-jailer reads its definition */
	const char *store; /* where it will be */
	bool anew;         /* bake although there is a valid template, beside it */
	void (*on_phase)(struct bake_link *bake, enum bake_phase phase, void *userdata);
	/* Once. number 0: the manifest is the callee's (an existing valid one is not baked anew).
	 * Else err says what failed, with the console's last lines where the guest did not
	 * answer. bake_link_free() comes from loop_defer(). */
	void (*on_done)(struct bake_link *bake, int number, struct template_manifest *manifest,
			const struct error *err, void *userdata);
	void *userdata;
};

struct bake_link *bake_link_start(const struct bake_link_options *options);
/* Stops a running bake and has removed what it made; on_done follows with -ECANCELED. */
void bake_link_cancel(struct bake_link *bake);
void bake_link_free(struct bake_link *bake);
/* At the factory's end, for a bake that has not ended: waits until what it made is removed, and
 * nobody is told. NULL does nothing. */
void bake_link_abandon(struct bake_link *bake);

/* The end of the guest's console log, while the bake runs and after it failed; "" while there
 * is none. The caller frees. */
char *bake_link_console(const struct bake_link *bake);
