#include "factory/store/template_inputs.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/strbuf.h"
#include "factory/store/template.h"

#define ID_FORMAT      "kiln-template-8"
#define AGENT_PROTOCOL "grpc.AgentService 0.0.1"
#define CONSOLE_PARAM  "agent.debug_console" /* agent/console.h; Kata's word */
#define SHORT_DIGEST   8
#define LONG_VALUE     60 /* characters; of longer ones only the words that differ are told */

static const char *const template_input_names[] = {
	[INPUT_KERNEL] = "kernel",
	[INPUT_INITRD] = "initrd",
	[INPUT_IMAGE] = "image",
	[INPUT_MACHINE] = "machine",
	[INPUT_KERNEL_PARAMS] = "kernel_params",
	[INPUT_VCPUS] = "vcpus",
	[INPUT_MEMORY_MIB] = "memory_mib",
	[INPUT_SPARE_VCPUS] = "spare_vcpus",
	[INPUT_MAX_MEMORY_MIB] = "max_memory_mib",
	[INPUT_SCRATCH_MIB] = "scratch_mib",
	[INPUT_BLOCK_SLOTS] = "block_slots",
	[INPUT_DAX_WINDOWS] = "dax_windows",
	[INPUT_DAX_WINDOW_MIB] = "dax_window_mib",
	[INPUT_NETWORK_CARDS] = "network_cards",
	[INPUT_FREE_PAGE_REPORTING] = "free_page_reporting",
	[INPUT_ANNOTATIONS] = "annotations",
	[INPUT_SHARE] = "share",
	[INPUT_MEMORY_DIR] = "memory_dir",
	[INPUT_QEMU] = "qemu",
	[INPUT_ACCELERATOR] = "accelerator",
	[INPUT_CHANNEL] = "channel",
	[INPUT_VHOST_NET] = "vhost_net",
	[INPUT_CPU_MODEL] = "cpu_model",
	[INPUT_HOST_KERNEL] = "host_kernel",
	[INPUT_AGENT_PROTOCOL] = "agent_protocol",
};
DEFINE_STRING_TABLE(template_input, enum template_input, template_input_names)

static const char *const template_share_names[] = {
	[SHARE_ALWAYS] = "always",
	[SHARE_NEVER] = "never",
};
DEFINE_STRING_TABLE(template_share, enum template_share, template_share_names)

const char *template_input_path(const struct template_definition *d, enum template_input input)
{
	const char *paths[TEMPLATE_INPUT_FILES] = { d->kernel, d->initrd, d->image, d->machine };

	return template_input_is_file(input) ? paths[input] : NULL;
}

/* ---------------------------------------------------------------- reading */

/* The machine is a page of text, and of it there is no copy by which a digest that is wrongly known
 * would be found. */
static int read_file_input(const struct template_definition *d, enum template_input input,
			   struct known_digests *known, struct template_inputs *inputs,
			   struct error *err)
{
	const char *path = template_input_path(d, input);
	char hex[DIGEST_HEX_SIZE];
	uint64_t bytes;

	int r = input == INPUT_MACHINE ? digest_file(path, hex, err)
				       : known_digests_file(known, path, hex, &bytes, err);
	if (r == 0)
		inputs->values[input] = xstrdup(hex);
	return r;
}

char *template_kernel_params(const struct template_definition *definition)
{
	return definition->debug_console ? xasprintf("%s " CONSOLE_PARAM, definition->kernel_params)
					 : xstrdup(definition->kernel_params);
}

int template_inputs_read(const struct template_definition *d, const struct template_host *host,
			 struct known_digests *known, struct template_inputs *ret_inputs,
			 struct error *err)
{
	_cleanup_(template_inputs_done) struct template_inputs inputs = {};

	for (int i = 0; i < TEMPLATE_INPUT_FILES; i++) {
		if (read_file_input(d, (enum template_input)i, known, &inputs, err) < 0)
			return error_wrap(err, "template %s: %s", d->name, template_input_names[i]);
	}
	if (carried_digest(&d->images, known, &inputs.images, err) < 0)
		return error_wrap(err, "template %s", d->name);
	inputs.values[INPUT_KERNEL_PARAMS] = template_kernel_params(d);
	inputs.values[INPUT_VCPUS] = xasprintf("%" PRIu64, d->vcpus);
	inputs.values[INPUT_MEMORY_MIB] = xasprintf("%" PRIu64, d->memory_mib);
	inputs.values[INPUT_SPARE_VCPUS] = xasprintf("%" PRIu64, d->spare_vcpus);
	inputs.values[INPUT_MAX_MEMORY_MIB] = xasprintf("%" PRIu64, d->max_memory_mib);
	inputs.values[INPUT_SCRATCH_MIB] = xasprintf("%" PRIu64, d->scratch_mib);
	inputs.values[INPUT_BLOCK_SLOTS] = xasprintf("%" PRIu64, d->block_slots);
	inputs.values[INPUT_DAX_WINDOWS] = xasprintf("%" PRIu64, d->dax_windows);
	inputs.values[INPUT_DAX_WINDOW_MIB] = xasprintf("%" PRIu64, d->dax_window_mib);
	inputs.values[INPUT_NETWORK_CARDS] = xasprintf("%" PRIu64, d->network_cards);
	inputs.values[INPUT_FREE_PAGE_REPORTING] = xstrdup(d->free_page_reporting ? "true"
										  : "false");
	inputs.values[INPUT_ANNOTATIONS] = xstrdup(d->annotations);
	inputs.values[INPUT_SHARE] = xstrdup(
		template_share_to_string((enum template_share)d->share));
	inputs.values[INPUT_MEMORY_DIR] = xstrdup(d->memory_dir);
	inputs.values[INPUT_QEMU] = xstrdup(host->qemu_version);
	inputs.values[INPUT_ACCELERATOR] = xstrdup(accelerator_to_string(host->accelerator));
	inputs.values[INPUT_CHANNEL] = xstrdup(channel_to_string(host->channel));
	inputs.values[INPUT_VHOST_NET] = xstrdup(host->vhost_net ? "yes" : "no");
	inputs.values[INPUT_CPU_MODEL] = xstrdup(host->cpu_model);
	inputs.values[INPUT_HOST_KERNEL] = xstrdup(host->kernel_release);
	inputs.values[INPUT_AGENT_PROTOCOL] = xstrdup(AGENT_PROTOCOL);
	*ret_inputs = inputs;
	inputs = (struct template_inputs){};
	return 0;
}

void template_inputs_done(struct template_inputs *inputs)
{
	for (int i = 0; i < TEMPLATE_INPUTS; i++)
		free(inputs->values[i]);
	carried_done(&inputs->images);
	*inputs = (struct template_inputs){};
}

void template_inputs_copy(const struct template_inputs *inputs, struct template_inputs *ret_copy)
{
	*ret_copy = *inputs;
	for (int i = 0; i < TEMPLATE_INPUTS; i++)
		ret_copy->values[i] = xstrdup(inputs->values[i]);
	carried_copy(&inputs->images, &ret_copy->images);
}

bool template_inputs_equal(const struct template_inputs *a, const struct template_inputs *b)
{
	for (int i = 0; i < TEMPLATE_INPUTS; i++) {
		if (!str_equal(a->values[i], b->values[i]))
			return false;
	}
	return carried_equal(&a->images, &b->images);
}

void template_inputs_id(const char *name, const struct template_inputs *inputs, unsigned generation,
			char ret_id[static DIGEST_HEX_SIZE])
{
	_cleanup_(digest_free_cleanup) struct digest *d = digest_new();

	digest_add_string(d, ID_FORMAT);
	digest_add_string(d, name);
	digest_add_string(d, generation == 0 ? "0" : "1");
	for (int i = 0; i < TEMPLATE_INPUTS; i++)
		digest_add_string(d, inputs->values[i]);
	for (size_t i = 0; i < inputs->images.count; i++) {
		digest_add_string(d, inputs->images.items[i].name);
		digest_add_string(d, inputs->images.items[i].digest);
	}
	digest_finish(d, ret_id);
}

/* ---------------------------------------------------------------- what changed */

static bool has_word(const char *text, const char *word, size_t len)
{
	for (const char *at = text; *at;) {
		size_t n = strcspn(at, " ");
		if (n == len && strncmp(at, word, n) == 0)
			return true;
		at += n + strspn(at + n, " ");
	}
	return false;
}

/* The words of `text` that are not in `other`, each with `sign` before it. */
static void add_words(struct strbuf *out, char sign, const char *text, const char *other)
{
	for (const char *at = text + strspn(text, " "); *at;) {
		size_t n = strcspn(at, " ");
		if (!has_word(other, at, n))
			strbuf_addf(out, "%s%c%.*s", str_empty(out->text) ? "" : " ", sign, (int)n,
				    at);
		at += n + strspn(at + n, " ");
	}
}

static char *describe_words(const char *was, const char *now)
{
	_cleanup_(strbuf_done) struct strbuf out = {};

	add_words(&out, '-', was, now);
	add_words(&out, '+', now, was);
	return out.len > 0 ? strbuf_steal(&out) : xstrdup("other order");
}

static void add_separator(struct strbuf *out)
{
	if (out->len > 0)
		strbuf_adds(out, ", ");
}

static void add_change(struct strbuf *out, enum template_input input, const char *was,
		       const char *now)
{
	add_separator(out);
	strbuf_addf(out, "%s changed (", template_input_names[input]);
	if (template_input_is_file(input)) {
		strbuf_addf(out, "sha256 %.*s… -> %.*s…)", SHORT_DIGEST, was, SHORT_DIGEST, now);
	} else if (strlen(was) > LONG_VALUE || strlen(now) > LONG_VALUE) {
		_cleanup_free_ char *words = describe_words(was, now);
		strbuf_addf(out, "%s)", words);
	} else {
		strbuf_addf(out, "%s -> %s)", was, now);
	}
}

static void add_image(struct strbuf *out, const char *name, const char *what)
{
	add_separator(out);
	strbuf_addf(out, "image %s %s", name, what);
}

static void add_image_changes(struct strbuf *out, const struct carried *was,
			      const struct carried *now)
{
	size_t before = out->len;

	for (size_t i = 0; i < was->count; i++) {
		const struct carried_image *image = &was->items[i];
		const struct carried_image *other = carried_find(now, image->name);
		if (!other) {
			add_image(out, image->name, "removed");
		} else if (!str_equal(image->digest, other->digest)) {
			add_image(out, image->name, "changed");
			strbuf_addf(out, " (sha256 %.*s… -> %.*s…)", SHORT_DIGEST, image->digest,
				    SHORT_DIGEST, other->digest);
		}
	}
	for (size_t i = 0; i < now->count; i++)
		if (!carried_find(was, now->items[i].name))
			add_image(out, now->items[i].name, "added");
	if (out->len == before && !carried_equal(was, now)) {
		add_separator(out);
		strbuf_adds(out, "images changed (other order)");
	}
}

char *template_inputs_difference(const struct template_inputs *was,
				 const struct template_inputs *now)
{
	_cleanup_(strbuf_done) struct strbuf out = {};

	for (int i = 0; i < TEMPLATE_INPUTS; i++) {
		if (!str_equal(was->values[i], now->values[i]))
			add_change(&out, (enum template_input)i, was->values[i] ?: "",
				   now->values[i] ?: "");
	}
	add_image_changes(&out, &was->images, &now->images);
	return out.len > 0 ? strbuf_steal(&out) : NULL;
}
