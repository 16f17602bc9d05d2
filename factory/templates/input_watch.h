/* Whether the inputs of a baked template are still what it was baked from.
 *
 * Every INPUT_WATCH_MS a worker reads the definition again and looks at its files; one that is
 * not known (factory/store/known_digests.h) is hashed, a QEMU that changed is asked for its
 * version, and whether KVM, vsock and vhost-net can be used is tried. What it found is kept here,
 * so that asking costs nothing and changes nothing.
 */
#pragma once

#include "base/loop.h"
#include "base/worker.h"
#include "factory/store/template.h"

#define INPUT_WATCH_MS 2000

struct input_watch;

struct input_watch_options {
	struct loop *loop;
	struct worker_pool *workers;      /* ends before the watch is freed, or the loop goes on */
	const char *name;                 /* of the template, borrowed */
	const char *path;                 /* of its definition, borrowed */
	const char *store;                /* with the digests that are known, borrowed */
	const char *qemu;                 /* as configured, borrowed */
	const char *accelerator;          /* ditto */
	const char *channel;              /* ditto */
	const char *vhost_net;            /* ditto */
	const struct template_host *host; /* as it was at the start, borrowed */
	/* After each look; the watch may be stopped in it. */
	void (*on_look)(struct input_watch *watch, void *userdata);
	void *userdata;
};

struct input_watch *input_watch_new(const struct input_watch_options *options);
void input_watch_free(struct input_watch *watch);

/* From now on compares with what this manifest names (copied), the first time at once. */
void input_watch_start(struct input_watch *watch, const struct template_manifest *manifest);
void input_watch_stop(struct input_watch *watch);

/* "kernel changed (sha256 … -> …)", or why the inputs cannot be read; "" where nothing did. */
const char *input_watch_stale(const struct input_watch *watch);
/* The inputs as they are now; NULL before the first look and while they cannot be read. */
const struct template_inputs *input_watch_inputs(const struct input_watch *watch);
/* Two looks in a row found the same: nobody is in the middle of writing them. */
bool input_watch_settled(const struct input_watch *watch);
/* The definition as it is now; NULL as with the inputs. */
const struct template_definition *input_watch_definition(const struct input_watch *watch);
/* The host with the QEMU and the accelerator it has now. */
const struct template_host *input_watch_host(const struct input_watch *watch);
