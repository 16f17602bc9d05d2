/* ctr(1) on the containerd of the options: command lines begun, the rest is the caller's to add. */
#pragma once

#include "base/strv.h"
#include "bench/bench.h"

#define CTR_KILN "io.containerd.kiln.v2"
#define CTR_RUNC "io.containerd.runc.v2"

/* ctr WORD */
void ctr_begin(const struct bench *bench, const char *word, struct strv *argv);

/* ctr run HOW --runtime=RUNTIME; config is a file for the shim, NULL: none. Options, image, id and
 * command are to follow. */
void ctr_run_begin(const struct bench *bench, const char *runtime, const char *config,
		   const char *how, struct strv *argv);

/* A file for the shim: it is to claim from this factory, wherever containerd's environment sends
 * it. */
_must_check_ int ctr_write_config(const char *factory, const char *path, struct error *err);

/* Kills a container of `ctr run -d` and removes it. */
_must_check_ int ctr_delete(const struct bench *bench, const char *id, struct error *err);

/* The factory's cache has the image of its layers when this returns (kiln-ctl image prepare). */
_must_check_ int image_prepare(const char *factory, const char *containerd, const char *namespace_,
			       const char *image, struct error *err);
/* The same, of the options' containerd and namespace. */
_must_check_ int ctr_prepare_image(const struct bench *bench, const char *factory,
				   const char *image, struct error *err);
