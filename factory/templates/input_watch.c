#include "factory/templates/input_watch.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"

/* A look, owned by the worker until it is done. */
struct look {
	char *path, *name, *qemu, *accelerator, *channel, *vhost_net;
	struct template_host host;     /* in: as known; out: as it is */
	unsigned round;                /* in: the watch's */
	char *store;                   /* in: NULL where its digests are known */
	struct known_digests known;    /* in and out: the watch's */
	struct template_inputs inputs; /* out */
	struct template_definition *definition;
	struct error err;
};

struct input_watch {
	struct input_watch_options options;
	struct loop_timer *timer;
	bool watching;
	bool looking; /* a worker is */
	bool freed;
	unsigned round; /* start() begins another; looks of an earlier one are dropped */
	struct template_inputs baked;  /* while watching */
	struct template_inputs inputs; /* of the last look, else empty */
	struct known_digests known;    /* while no look has them */
	bool loaded;                   /* from the store */
	bool ask_qemu;                 /* though its program is the same: a bake found another */
	struct template_definition *definition;
	struct template_host host;
	bool valid; /* inputs and definition are the present ones */
	bool settled;
	char *stale; /* owned */
};

/* ---------------------------------------------------------------- on a worker */

static int look_at_all(struct look *look, struct error *err)
{
	const struct template_host_choice choice = { look->accelerator, look->channel,
						     look->vhost_net };
	int r = template_host_refresh(&look->host, look->qemu, &choice, err);
	if (look->store)
		known_digests_load(look->store, &look->known);
	if (r == 0)
		r = template_definition_load(look->path, &look->definition, err);
	if (r == 0 && !str_equal(look->definition->name, look->name))
		r = error_set(err, ESTALE, "%s defines the template \"%s\" now", look->path,
			      look->definition->name);
	if (r == 0)
		r = template_inputs_read(look->definition, &look->host, &look->known, &look->inputs,
					 err);
	return r;
}

static void look_run(void *data)
{
	struct look *look = data;

	(void)look_at_all(look, &look->err);
}

/* ---------------------------------------------------------------- on the loop */

static void look_free(struct look *look)
{
	free(look->path);
	free(look->name);
	free(look->qemu);
	free(look->accelerator);
	free(look->channel);
	free(look->vhost_net);
	free(look->store);
	template_host_done(&look->host);
	known_digests_done(&look->known);
	template_inputs_done(&look->inputs);
	template_definition_free(look->definition);
	error_done(&look->err);
	free(look);
}

static void watch_forget(struct input_watch *watch)
{
	template_inputs_done(&watch->inputs);
	template_definition_free(steal_ptr(watch->definition));
	watch->valid = watch->settled = false;
}

static void watch_destroy(struct input_watch *watch)
{
	watch_forget(watch);
	template_inputs_done(&watch->baked);
	known_digests_done(&watch->known);
	template_host_done(&watch->host);
	loop_timer_free(watch->timer);
	free(watch->stale);
	free(watch);
}

static void watch_say(struct input_watch *watch, char *text)
{
	if (text && !str_equal(text, watch->stale))
		log_warning(watch->options.name, "stale: %s", text);
	else if (!text && watch->stale)
		log_info(watch->options.name, "no longer stale");
	free(watch->stale);
	watch->stale = text;
}

/* Takes what the look found. */
static void watch_take(struct input_watch *watch, struct look *look)
{
	bool same = watch->valid && template_inputs_equal(&watch->inputs, &look->inputs);

	watch_forget(watch);
	template_host_done(&watch->host);
	watch->host = look->host;
	look->host = (struct template_host){};
	if (look->err.number) {
		watch_say(watch,
			  xasprintf("its inputs cannot be read: %s", error_message(&look->err)));
		return;
	}
	watch->inputs = look->inputs;
	look->inputs = (struct template_inputs){};
	watch->definition = steal_ptr(look->definition);
	watch->valid = true;
	watch->settled = same;
	watch_say(watch, template_inputs_difference(&watch->baked, &watch->inputs));
}

static void give_known(struct look *look, struct input_watch *watch)
{
	watch->known = look->known;
	look->known = (struct known_digests){};
}

static void look_done(void *data, void *owner)
{
	struct input_watch *watch = owner;
	struct look *look = data;
	bool current = watch->watching && look->round == watch->round;

	watch->looking = false;
	if (look->round == watch->round) {
		watch->loaded = true;
		give_known(look, watch);
	}
	if (watch->freed) {
		watch_destroy(watch);
	} else {
		if (current)
			watch_take(watch, look);
		if (watch->watching)
			loop_timer_start(watch->timer, INPUT_WATCH_MS);
		if (current)
			watch->options.on_look(watch, watch->options.userdata);
	}
	look_free(look);
}

static void watch_look(void *userdata)
{
	struct input_watch *watch = userdata;
	struct look *look = xnew(struct look);
	struct worker_job job = {
		.run = look_run, .done = look_done, .data = look, .owner = watch
	};

	look->path = xstrdup(watch->options.path);
	look->name = xstrdup(watch->options.name);
	look->qemu = xstrdup(watch->options.qemu);
	look->accelerator = xstrdup(watch->options.accelerator);
	look->channel = xstrdup(watch->options.channel);
	look->vhost_net = xstrdup(watch->options.vhost_net);
	template_host_copy(input_watch_host(watch), &look->host);
	if (watch->ask_qemu)
		look->host.qemu_stamp = (struct input_stamp){};
	look->store = watch->loaded ? NULL : xstrdup(watch->options.store);
	look->known = watch->known;
	watch->known = (struct known_digests){};
	look->round = watch->round;
	watch->looking = worker_submit(watch->options.workers, &job) == 0;
	watch->ask_qemu &= !watch->looking;
	if (!watch->looking) {
		give_known(look, watch);
		look_free(look);
		loop_timer_start(watch->timer, INPUT_WATCH_MS);
	}
}

struct input_watch *input_watch_new(const struct input_watch_options *options)
{
	struct input_watch *watch = xnew(struct input_watch);

	watch->options = *options;
	watch->timer = loop_timer_new(options->loop, watch_look, watch);
	return watch;
}

void input_watch_free(struct input_watch *watch)
{
	if (!watch)
		return;
	watch->freed = true;
	watch->watching = false;
	if (!watch->looking)
		watch_destroy(watch);
}

void input_watch_start(struct input_watch *watch, const struct template_manifest *manifest)
{
	watch->round++;
	watch->watching = true;
	watch->settled = false;
	replace_string(&watch->stale, NULL);
	template_inputs_done(&watch->baked);
	template_inputs_copy(&manifest->inputs, &watch->baked);
	/* The bake may have found that they are wrong. */
	known_digests_done(&watch->known);
	watch->loaded = false;
	watch->ask_qemu = !str_equal(watch->baked.values[INPUT_QEMU],
				     input_watch_host(watch)->qemu_version);
	if (!watch->looking)
		watch_look(watch);
}

void input_watch_stop(struct input_watch *watch)
{
	watch->watching = false;
	watch_forget(watch);
	replace_string(&watch->stale, NULL);
	loop_timer_stop(watch->timer);
}

const char *input_watch_stale(const struct input_watch *watch)
{
	return watch->stale ? watch->stale : "";
}

const struct template_inputs *input_watch_inputs(const struct input_watch *watch)
{
	return watch->valid ? &watch->inputs : NULL;
}

bool input_watch_settled(const struct input_watch *watch)
{
	return watch->settled;
}

const struct template_definition *input_watch_definition(const struct input_watch *watch)
{
	return watch->definition;
}

const struct template_host *input_watch_host(const struct input_watch *watch)
{
	return watch->host.qemu_binary ? &watch->host : watch->options.host;
}
