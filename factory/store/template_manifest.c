#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/config.h"
#include "base/file.h"
#include "base/format.h"
#include "base/memory.h"
#include "factory/guest/dax_window.h"
#include "factory/guest/disks.h"
#include "factory/guest/network_cards.h"
#include "factory/store/device_files.h"
#include "factory/store/template.h"
#include "factory/store/template_priv.h"

#define MANIFEST_FILE "template.json"
#define MIB           ((uint64_t)1024 * 1024)
#define STATE_MAX     (1024 * MIB)
#define MEMORY_MAX    (1024 * 1024 * MIB)
#define ARGV_MAX      1024
#define ARGUMENT_MAX  (64 * 1024) /* bytes of one argument */

/* The scalars of template.json as they stand there; argv, inputs and digest are taken out
 * before. */
struct manifest_file {
	uint64_t generation;
	char *id;
	char *name;
	char *agent_version;
	char *qemu_binary;
	int accelerator;
	uint64_t boot_room_kib;
	uint64_t vcpus;
	uint64_t spare_vcpus;
	uint64_t max_memory_mib;
	uint64_t block_slots;
	uint64_t dax_windows;
	uint64_t dax_window_bytes;
	uint64_t network_cards;
	uint64_t scratch_bytes;
	char *scratch_digest;
	uint64_t memory_bytes;
	uint64_t memory_before_trim_bytes;
	uint64_t memory_allocated_bytes;
	uint64_t state_bytes;
	uint64_t image_bytes;
	char *memory_digest;
	char *state_digest;
	char *image_digest;
	uint64_t baked_at;
	uint64_t boot_ms;
	uint64_t bake_ms;
};

#define STRING(field, help) CONFIG_STRING_REQUIRED(struct manifest_file, field, #field, help)
#define UINT(field, min_, max_, help_)                                                             \
	{                                                                                          \
		.name = #field, .type = CONFIG_TYPE_UINT,                                          \
		.offset = offsetof(struct manifest_file, field), .min = (min_), .max = (max_),     \
		.required = true, .help = (help_)                                                  \
	}

static const struct config_key manifest_keys[] = {
	STRING(id, "digest over the name, all inputs and the generation"),
	UINT(generation, 0, 1, "0 or 1"),
	STRING(name, "of the definition it was baked from"),
	STRING(agent_version, "as the agent told it"),
	STRING(qemu_binary, "absolute path"),
	CONFIG_ENUM(struct manifest_file, accelerator, "accelerator", "tcg",
		    accelerator_from_string, "tcg or kvm"),
	UINT(boot_room_kib, 0, MEMORY_MAX / 1024, "for memory devices of a booted machine"),
	UINT(vcpus, 1, 1024, "virtual CPUs"),
	UINT(spare_vcpus, 0, 1024, "further ones, offline"),
	UINT(max_memory_mib, 1, MEMORY_MAX / MIB, "guest RAM it can grow to"),
	UINT(block_slots, 0, DISKS_SLOTS_MAX, "waiting disks"),
	UINT(dax_windows, 0, DAX_WINDOWS_MAX, "waiting memory devices"),
	UINT(dax_window_bytes, 0, DAX_WINDOW_MAX_MIB *MIB, "size of each"),
	UINT(network_cards, 0, NETWORK_CARDS_MAX, "waiting network cards"),
	UINT(scratch_bytes, 0, DISKS_SCRATCH_MAX_MIB *MIB, "size of `scratch`; 0: there is none"),
	CONFIG_STRING(struct manifest_file, scratch_digest, "scratch_digest", "",
		      "of `scratch` (digest_sparse_file)"),
	UINT(memory_bytes, MIB, MEMORY_MAX, "guest RAM: size of `memory`"),
	UINT(memory_before_trim_bytes, 0, MEMORY_MAX, "what `memory` took before it was trimmed"),
	UINT(memory_allocated_bytes, 0, MEMORY_MAX, "of it, what is not a hole"),
	UINT(state_bytes, 1, STATE_MAX, "size of `state`"),
	UINT(image_bytes, 1, MEMORY_MAX, "size of `image`"),
	STRING(memory_digest, "SHA-256 of `memory`"),
	STRING(state_digest, "SHA-256 of `state`"),
	STRING(image_digest, "SHA-256 of `image`"),
	UINT(baked_at, 0, INT64_MAX, "seconds since the epoch"),
	UINT(boot_ms, 0, INT64_MAX, "VMM start to the agent's first answer"),
	UINT(bake_ms, 0, INT64_MAX, "all of the bake"),
};

static void manifest_file_done(struct manifest_file *file)
{
	config_done(manifest_keys, ARRAY_SIZE(manifest_keys), file);
}

DEFINE_CLEANUP(json_t *, json_decref)

bool template_id_is_valid(const char *id)
{
	return digest_is_valid(id);
}

/* Sorted and compact, so that the digest is over the content and not its layout. */
static void manifest_digest(json_t *object, char ret_hex[static DIGEST_HEX_SIZE])
{
	_cleanup_free_ char *text = json_dumps(object, JSON_SORT_KEYS | JSON_COMPACT);
	_cleanup_(digest_free_cleanup) struct digest *d = digest_new();

	digest_add_string(d, text ?: "");
	digest_finish(d, ret_hex);
}

void template_manifest_seal(json_t *object)
{
	char hex[DIGEST_HEX_SIZE];

	(void)json_object_del(object, "digest");
	manifest_digest(object, hex);
	json_object_set_new(object, "digest", json_string(hex));
}

/* Takes the key "digest" out and compares it with what is left. */
static int manifest_unseal(json_t *object, struct error *err)
{
	char hex[DIGEST_HEX_SIZE];
	const char *stored = json_string_value(json_object_get(object, "digest"));
	_cleanup_free_ char *claimed = xstrdup(stored);

	if (!claimed)
		return error_set(err, EBADMSG, MANIFEST_FILE " has no digest");
	(void)json_object_del(object, "digest");
	manifest_digest(object, hex);
	if (strcmp(claimed, hex) != 0)
		return error_set(err, EBADMSG,
				 MANIFEST_FILE " was edited: its digest is %s, not the %.64s it "
					       "names",
				 hex, claimed);
	return 0;
}

/* Takes the key out: "argv" or "boot_argv". */
static int manifest_take_argv(json_t *object, const char *key, struct strv *argv, struct error *err)
{
	const json_t *array = json_object_get(object, key);
	const json_t *item;
	size_t i;

	if (!json_is_array(array) || !json_array_size(array) || json_array_size(array) > ARGV_MAX)
		return error_set(err, EBADMSG,
				 MANIFEST_FILE ": %s is not an array of 1 to %d strings", key,
				 ARGV_MAX);
	json_array_foreach (array, i, item) {
		if (!json_is_string(item) || json_string_length(item) > ARGUMENT_MAX)
			return error_set(err, EBADMSG,
					 MANIFEST_FILE ": %s[%zu] is not a string of at most %d "
						       "bytes",
					 key, i, ARGUMENT_MAX);
		strv_add(argv, json_string_value(item));
	}
	(void)json_object_del(object, key);
	return 0;
}

/* Takes the keys "inputs", an object with a string for each, and "images" out. */
static int manifest_take_inputs(json_t *object, struct template_inputs *inputs, struct error *err)
{
	const json_t *values = json_object_get(object, "inputs");

	if (!json_is_object(values) || json_object_size(values) != TEMPLATE_INPUTS)
		return error_set(err, EBADMSG, MANIFEST_FILE ": inputs is not an object of %d keys",
				 TEMPLATE_INPUTS);
	for (int i = 0; i < TEMPLATE_INPUTS; i++) {
		const char *name = template_input_to_string((enum template_input)i);
		const json_t *value = json_object_get(values, name);
		if (!json_is_string(value) || json_string_length(value) > ARGUMENT_MAX)
			return error_set(err, EBADMSG, MANIFEST_FILE ": inputs has no text %s",
					 name);
		inputs->values[i] = xstrdup(json_string_value(value));
		if (template_input_is_file((enum template_input)i) &&
		    !digest_is_valid(inputs->values[i]))
			return error_set(err, EBADMSG, MANIFEST_FILE ": inputs: %s is no SHA-256",
					 name);
	}
	(void)json_object_del(object, "inputs");
	int r = carried_from_json(json_object_get(object, "images"), &inputs->images, err);
	(void)json_object_del(object, "images");
	return r < 0 ? error_wrap(err, MANIFEST_FILE) : 0;
}

static int manifest_check(const struct manifest_file *file, const struct template_inputs *inputs,
			  const char *id, struct error *err)
{
	const char *memory_dir = inputs->values[INPUT_MEMORY_DIR];

	if (!str_empty(memory_dir) && *memory_dir != '/')
		return error_set(err, EBADMSG, MANIFEST_FILE ": memory_dir is not absolute");
	if (!str_equal(file->id, id))
		return error_set(err, EBADMSG, MANIFEST_FILE " is of template %.64s", file->id);
	if (!digest_is_valid(file->memory_digest))
		return error_set(err, EBADMSG, MANIFEST_FILE ": memory_digest is not a SHA-256");
	if (!digest_is_valid(file->state_digest))
		return error_set(err, EBADMSG, MANIFEST_FILE ": state_digest is not a SHA-256");
	if (!digest_is_valid(file->image_digest))
		return error_set(err, EBADMSG, MANIFEST_FILE ": image_digest is not a SHA-256");
	if (file->scratch_bytes > 0 && !digest_is_valid(file->scratch_digest))
		return error_set(err, EBADMSG, MANIFEST_FILE ": scratch_digest is not a SHA-256");
	if (!id_is_valid(file->name))
		return error_set(err, EBADMSG, MANIFEST_FILE ": name is not a valid one");
	if (file->qemu_binary[0] != '/')
		return error_set(err, EBADMSG, MANIFEST_FILE ": qemu_binary is not absolute");
	if (file->memory_allocated_bytes > file->memory_bytes)
		return error_set(err, EBADMSG,
				 MANIFEST_FILE ": memory_allocated_bytes exceeds memory_bytes");
	if (file->max_memory_mib < file->memory_bytes / MIB)
		return error_set(err, EBADMSG,
				 MANIFEST_FILE ": max_memory_mib is less than memory_bytes");
	return 0;
}

static struct template_manifest *manifest_new(struct manifest_file *file, struct strv *argv,
					      struct strv *boot_argv,
					      struct template_inputs *inputs, char *dir)
{
	struct template_manifest *m = xnew(struct template_manifest);

	memcpy(m->id, file->id, sizeof(m->id));
	memcpy(m->memory_digest, file->memory_digest, sizeof(m->memory_digest));
	memcpy(m->state_digest, file->state_digest, sizeof(m->state_digest));
	memcpy(m->image_digest, file->image_digest, sizeof(m->image_digest));
	if (file->scratch_bytes > 0)
		memcpy(m->scratch_digest, file->scratch_digest, sizeof(m->scratch_digest));
	m->scratch_bytes = file->scratch_bytes;
	m->block_slots = file->block_slots;
	m->network_cards = file->network_cards;
	m->dax_windows = file->dax_windows;
	m->dax_window_bytes = file->dax_window_bytes;
	m->generation = (unsigned)file->generation;
	m->inputs = *inputs;
	*inputs = (struct template_inputs){};
	m->name = steal_ptr(file->name);
	m->dir = dir;
	m->memory = template_memory_path(dir, m->inputs.values[INPUT_MEMORY_DIR], m->id);
	m->agent_version = steal_ptr(file->agent_version);
	m->qemu_binary = steal_ptr(file->qemu_binary);
	m->accelerator = (enum accelerator)file->accelerator;
	m->argv = *argv;
	*argv = (struct strv){};
	m->boot_argv = *boot_argv;
	*boot_argv = (struct strv){};
	m->boot_room_kib = file->boot_room_kib;
	m->vcpus = file->vcpus;
	m->spare_vcpus = file->spare_vcpus;
	m->max_memory_mib = file->max_memory_mib;
	m->memory_bytes = file->memory_bytes;
	m->memory_before_trim_bytes = file->memory_before_trim_bytes;
	m->memory_allocated_bytes = file->memory_allocated_bytes;
	m->state_bytes = file->state_bytes;
	m->image_bytes = file->image_bytes;
	m->baked_at = file->baked_at;
	m->boot_ms = file->boot_ms;
	m->bake_ms = file->bake_ms;
	return m;
}

static int manifest_read(const char *dir, const char *id, struct template_manifest **ret,
			 struct error *err)
{
	_cleanup_(manifest_file_done) struct manifest_file file = {};
	_cleanup_(json_decref_cleanup) json_t *object = NULL;
	_cleanup_(strv_done) struct strv argv = {}, boot_argv = {};
	_cleanup_(template_inputs_done) struct template_inputs inputs = {};
	_cleanup_free_ char *path = path_join(dir, MANIFEST_FILE);
	int r;

	config_set_defaults(manifest_keys, ARRAY_SIZE(manifest_keys), &file);
	r = config_load_file(path, &object, err);
	if (r == 0)
		r = format_check_object(FORMAT_TEMPLATE, object, "format", false, err);
	if (r == 0)
		r = manifest_unseal(object, err);
	if (r < 0)
		return r;
	(void)json_object_del(object, "format");
	r = manifest_take_argv(object, "argv", &argv, err);
	if (r == 0)
		r = manifest_take_argv(object, "boot_argv", &boot_argv, err);
	if (r < 0)
		return r;
	r = manifest_take_inputs(object, &inputs, err);
	if (r < 0)
		return r;
	r = config_read(manifest_keys, ARRAY_SIZE(manifest_keys), object, MANIFEST_FILE, &file,
			err);
	if (r < 0)
		return r;
	r = manifest_check(&file, &inputs, id, err);
	if (r < 0)
		return r;
	*ret = manifest_new(&file, &argv, &boot_argv, &inputs, xstrdup(dir));
	return 0;
}

bool template_is_copied(const struct template_manifest *manifest)
{
	return str_equal(manifest->inputs.values[INPUT_SHARE],
			 template_share_to_string(SHARE_NEVER));
}

char *template_memory_path(const char *dir, const char *memory_dir, const char *id)
{
	return str_empty(memory_dir) ? path_join(dir, "memory")
				     : xasprintf("%s/" MEMORY_ELSEWHERE, memory_dir, id);
}

/* A file of the template: there, regular, of the size the manifest names. */
static int check_size(const char *path, uint64_t size, struct error *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return error_set(err, EBADMSG, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return error_set(err, EBADMSG, "%s is not a regular file", path);
	if ((uint64_t)st.st_size != size)
		return error_set(err, EBADMSG, "%s is %jd bytes, not %" PRIu64, path,
				 (intmax_t)st.st_size, size);
	return 0;
}

static int manifest_check_size(const struct template_manifest *m, const char *name, uint64_t size,
			       struct error *err)
{
	_cleanup_free_ char *path = path_join(m->dir, name);

	return check_size(path, size, err);
}

static int manifest_check_images(const struct template_manifest *m, struct error *err)
{
	int r = manifest_check_size(m, "image", m->image_bytes, err);

	for (size_t i = 0; r == 0 && i < m->inputs.images.count; i++) {
		_cleanup_free_ char *path = carried_path(m->dir, i);
		r = check_size(path, m->inputs.images.items[i].bytes, err);
	}
	for (size_t i = 0; r == 0 && i < m->dax_windows; i++) {
		_cleanup_free_ char *path = device_file_window(m->dir, i);
		r = check_size(path, m->dax_window_bytes, err);
	}
	return r;
}

/* What is frozen with the memory must be what the memory remembers of it. */
static int check_digest(const char *path, const char *expected,
			int (*digest)(const char *, char *, struct error *), struct error *err)
{
	char hex[DIGEST_HEX_SIZE];
	int r = digest(path, hex, err);

	if (r < 0 || str_equal(hex, expected))
		return r;
	return error_set(err, EBADMSG,
			 "%s has changed since it was baked (its digest is %s, not %s)", path, hex,
			 expected);
}

static int manifest_check_disks(const struct template_manifest *m, struct error *err)
{
	_cleanup_free_ char *scratch = path_join(m->dir, DISKS_SCRATCH);
	int r = m->block_slots > 0 ? manifest_check_size(m, DISKS_SLOT, DISKS_SLOT_BYTES, err) : 0;

	if (r < 0 || m->scratch_bytes == 0)
		return r;
	r = check_size(scratch, m->scratch_bytes, err);
	return r < 0 ? r : check_digest(scratch, m->scratch_digest, digest_sparse_file, err);
}

static int manifest_check_files(const struct template_manifest *m, struct error *err)
{
	_cleanup_free_ char *state = path_join(m->dir, "state");
	int r;

	r = check_size(m->memory, m->memory_bytes, err);
	if (r < 0)
		return r;
	r = manifest_check_size(m, "state", m->state_bytes, err);
	if (r < 0)
		return r;
	r = manifest_check_images(m, err);
	if (r == 0)
		r = manifest_check_disks(m, err);
	return r < 0 ? r : check_digest(state, m->state_digest, digest_file, err);
}

int template_dir(const char *store, const char *id, char **ret_dir, struct error *err)
{
	if (!digest_is_valid(id))
		return error_set(err, EINVAL, "\"%.128s\" is not a template id", id);
	*ret_dir = xasprintf("%s/templates/%s", store, id);
	return 0;
}

int template_manifest_load(const char *store, const char *id, struct template_manifest **ret,
			   struct error *err)
{
	_cleanup_(template_manifest_free_cleanup) struct template_manifest *m = NULL;
	_cleanup_(error_done) struct error why = {};
	_cleanup_free_ char *dir = NULL;

	int r = template_dir(store, id, &dir, err);
	if (r < 0)
		return r;
	_cleanup_free_ char *path = path_join(dir, MANIFEST_FILE);
	if (!path_exists(path))
		return error_set(err, ENOENT, "no template %s in %s", id, store);

	r = manifest_read(dir, id, &m, &why);
	if (r == -EPROTONOSUPPORT)
		return error_set(err, EPROTONOSUPPORT, "template %s cannot be used: %s", id,
				 error_message(&why));
	if (r < 0 || manifest_check_files(m, &why) < 0)
		return error_set(err, EBADMSG, "template %s cannot be trusted: %s", id,
				 error_message(&why));
	*ret = steal_ptr(m);
	return 0;
}

static json_t *argv_to_json(const struct strv *argv)
{
	_cleanup_(json_decref_cleanup) json_t *array = json_array();

	for (size_t i = 0; i < argv->count; i++) {
		if (json_array_append_new(array, json_string(argv->items[i])) < 0)
			return NULL;
	}
	return steal_ptr(array);
}

static json_t *inputs_to_json(const struct template_inputs *inputs)
{
	_cleanup_(json_decref_cleanup) json_t *object = json_object();

	for (int i = 0; i < TEMPLATE_INPUTS; i++) {
		const char *name = template_input_to_string((enum template_input)i);
		if (json_object_set_new(object, name, json_string(inputs->values[i])) < 0)
			return NULL;
	}
	return steal_ptr(object);
}

/* NULL where a string is not UTF-8. */
static json_t *manifest_to_json(const struct template_manifest *m)
{
	_cleanup_(json_decref_cleanup) json_t *argv = argv_to_json(&m->argv);
	_cleanup_(json_decref_cleanup) json_t *boot_argv = argv_to_json(&m->boot_argv);
	_cleanup_(json_decref_cleanup) json_t *inputs = inputs_to_json(&m->inputs);
	_cleanup_(json_decref_cleanup) json_t *images = carried_to_json(&m->inputs.images);

	if (!argv || !boot_argv || !inputs || !images)
		return NULL;
	return json_pack(
		"{sI sI sI sO sO sO sI sI sI sI sI sI sI ss ss ss sI ss sI ss ss ss ss sO sI sI sI sI ss sI sI sI}",
		"format", (json_int_t)format_versions[FORMAT_TEMPLATE].version, "generation",
		(json_int_t)m->generation, "network_cards", (json_int_t)m->network_cards, "inputs",
		inputs, "images", images, "boot_argv", boot_argv, "boot_room_kib",
		(json_int_t)m->boot_room_kib, "spare_vcpus", (json_int_t)m->spare_vcpus,
		"max_memory_mib", (json_int_t)m->max_memory_mib, "block_slots",
		(json_int_t)m->block_slots, "dax_windows", (json_int_t)m->dax_windows,
		"dax_window_bytes", (json_int_t)m->dax_window_bytes, "scratch_bytes",
		(json_int_t)m->scratch_bytes, "scratch_digest", m->scratch_digest, "memory_digest",
		m->memory_digest, "image_digest", m->image_digest, "image_bytes",
		(json_int_t)m->image_bytes, "id", m->id, "memory_before_trim_bytes",
		(json_int_t)m->memory_before_trim_bytes, "name", m->name, "agent_version",
		m->agent_version, "qemu_binary", m->qemu_binary, "accelerator",
		accelerator_to_string(m->accelerator), "argv", argv, "vcpus", (json_int_t)m->vcpus,
		"memory_bytes", (json_int_t)m->memory_bytes, "memory_allocated_bytes",
		(json_int_t)m->memory_allocated_bytes, "state_bytes", (json_int_t)m->state_bytes,
		"state_digest", m->state_digest, "baked_at", (json_int_t)m->baked_at, "boot_ms",
		(json_int_t)m->boot_ms, "bake_ms", (json_int_t)m->bake_ms);
}

int template_manifest_store(const struct template_manifest *manifest, struct error *err)
{
	_cleanup_(json_decref_cleanup) json_t *object = manifest_to_json(manifest);
	_cleanup_free_ char *path = path_join(manifest->dir, MANIFEST_FILE);

	if (!object)
		return error_set(err, EINVAL, "template %s: its manifest is not UTF-8 text",
				 manifest->id);
	template_manifest_seal(object);
	_cleanup_free_ char *text = json_dumps(object, JSON_INDENT(2));
	return file_write_atomic(path, text, strlen(text), 0600, err);
}

void template_manifest_free(struct template_manifest *manifest)
{
	if (!manifest)
		return;
	free(manifest->name);
	free(manifest->dir);
	free(manifest->memory);
	free(manifest->agent_version);
	free(manifest->qemu_binary);
	strv_done(&manifest->argv);
	strv_done(&manifest->boot_argv);
	template_inputs_done(&manifest->inputs);
	free(manifest);
}

struct vm_size template_size(const struct template_manifest *manifest)
{
	return (struct vm_size){
		.vcpus = (uint32_t)manifest->vcpus,
		.memory_mib = (uint32_t)(manifest->memory_bytes / MIB),
	};
}

struct vm_size template_max_size(const struct template_manifest *manifest)
{
	return (struct vm_size){
		.vcpus = (uint32_t)(manifest->vcpus + manifest->spare_vcpus),
		.memory_mib = (uint32_t)manifest->max_memory_mib,
	};
}

const char *template_annotations(const struct template_manifest *manifest)
{
	return manifest->inputs.values[INPUT_ANNOTATIONS];
}

unsigned template_patience(const struct template_manifest *manifest)
{
	uint64_t times = (manifest->boot_ms + TEMPLATE_USUAL_BOOT_MS - 1) / TEMPLATE_USUAL_BOOT_MS;

	if (times > TEMPLATE_PATIENCE_MAX)
		return TEMPLATE_PATIENCE_MAX;
	return times > 1 ? (unsigned)times : 1;
}
