#include "factory/client/claim_clone.h"

#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "factory/store/choice.h"
#include "factory/store/store_note.h"
#include "factory/store/template_list.h"

enum { DEADLINE_DEFAULT_MS = 60 * 1000 };

/* From vm_start() to the hand-over, or to the machine's end. */
struct making {
	struct loop *loop;
	struct vm *vm;
	struct vm_size size; /* that is wanted */
	struct loop_timer *deadline;
	char *sandbox_id;
	struct store_note note; /* owned */
	claim_clone_fn fn;      /* NULL once called */
	void *userdata;
};

static void making_free(void *userdata)
{
	struct making *making = userdata;

	vm_free(making->vm);
	loop_timer_free(making->deadline);
	free(making->sandbox_id);
	store_note_done(&making->note);
	free(making);
}

static void making_end(struct making *making, int number, const struct vm_handover *handover,
		       const struct error *err)
{
	claim_clone_fn fn = steal_ptr(making->fn);

	fn(number, making->vm, handover, &making->note, err, making->userdata);
	loop_defer(making->loop, making_free, making);
}

/* Where it failed, the machine's end follows and says why. */
static void on_claimed(struct vm *vm, int number, const struct vm_handover *handover,
		       const struct error *err _unused_, void *userdata)
{
	if (number < 0)
		return;
	vm_confirm(vm);
	making_end(userdata, 0, handover, NULL);
}

static void on_state(struct vm *vm, enum vm_state old _unused_, enum vm_state now,
		     const struct error *why, void *userdata)
{
	struct making *making = userdata;

	if (now == VM_PARKED)
		vm_claim(vm, making->sandbox_id, &making->size, on_claimed, making);
	else if (now == VM_GONE && making->fn)
		making_end(making, -why->number, NULL, why);
}

static void on_deadline(void *userdata)
{
	struct making *making = userdata;

	if (making->fn)
		vm_destroy(making->vm, "the claim's time is over");
}

/* ---- the template */

/* The newest of each name. */
struct found {
	struct template_manifest **manifests; /* owned */
	size_t count;
};

static void found_done(struct found *found)
{
	for (size_t i = 0; i < found->count; i++)
		template_manifest_free(found->manifests[i]);
	free(found->manifests);
}

static void found_add(struct found *found, struct template_manifest *manifest)
{
	for (size_t i = 0; i < found->count; i++) {
		struct template_manifest *other = found->manifests[i];
		if (!str_equal(other->name, manifest->name))
			continue;
		bool newer = manifest->baked_at > other->baked_at;
		template_manifest_free(newer ? other : manifest);
		found->manifests[i] = newer ? manifest : other;
		return;
	}
	found->manifests = xrealloc_array(found->manifests, found->count + 1,
					  sizeof(*found->manifests));
	found->manifests[found->count++] = manifest;
}

/* name "": of any name. */
static int find_templates(const char *store, const char *name, struct found *found,
			  struct error *err)
{
	_cleanup_(template_list_done) struct template_list list = {};
	int r = template_list_load(store, name, &list, err);

	for (size_t i = 0; i < list.count; i++)
		found_add(found, steal_ptr(list.items[i]));
	return r;
}

/* As the factory would choose where all are equally ready. */
static int choose(const struct found *found, const struct claim_options *options, struct error *err)
{
	_cleanup_free_ struct template_offer *offers = xnew_array(struct template_offer,
								  found->count);

	for (size_t i = 0; i < found->count; i++)
		offers[i] = (struct template_offer){
			.name = found->manifests[i]->name,
			.state = "in the store",
			.size = template_size(found->manifests[i]),
			.max_size = template_max_size(found->manifests[i]),
			.annotations = template_annotations(found->manifests[i]),
			.images = &found->manifests[i]->inputs.images,
			.readiness = 1,
		};
	const struct template_wish wish = {
		.size = { options->vcpus, options->memory_mib },
		.annotations = options->annotations,
		.images = options->images ? *options->images : (struct strv){},
	};
	return template_choose(offers, found->count, &wish, err);
}

static int choose_template(const struct store_note *note, const struct claim_options *options,
			   struct template_manifest **ret, struct error *err)
{
	const char *name = options->template_name ? options->template_name : "";
	_cleanup_(found_done) struct found found = {};
	int r = find_templates(note->store, name, &found, err);

	if (r < 0)
		return r;
	if (!found.manifests)
		return error_set(err, ENOENT, "no template%s%s is in %s", *name ? " " : "", name,
				 note->store);
	r = choose(&found, options, err);
	if (r < 0)
		return r;
	*ret = steal_ptr(found.manifests[r]);
	return 0;
}

/* ---- start */

static int making_start(struct making *making, const struct template_manifest *manifest,
			uint64_t timeout_ms, struct error *err)
{
	const struct store_note *note = &making->note;
	const struct vm_options options = {
		.loop = making->loop,
		.manifest = manifest,
		.run_dir = note->run_dir,
		.scratch_dir = note->scratch_dir,
		.jail = { .first_uid = (uint32_t)note->uid_first, .cgroup = note->cgroup },
		.sandbox_id = making->sandbox_id,
		.on_state = on_state,
		.userdata = making,
	};
	int r = vm_start(&options, &making->vm, err);

	if (r < 0)
		return r;
	making->deadline = loop_timer_new(making->loop, on_deadline, making);
	loop_timer_start(making->deadline,
			 timeout_ms ? timeout_ms
				    : DEADLINE_DEFAULT_MS * template_patience(manifest));
	return 0;
}

int claim_clone_start(struct loop *loop, const struct claim_options *options, claim_clone_fn fn,
		      void *userdata, struct error *err)
{
	_cleanup_(store_note_done) struct store_note note = {};
	_cleanup_(template_manifest_free_cleanup) struct template_manifest *manifest = NULL;
	int r = store_note_read(options->factory_address, &note, err);

	if (r == 0)
		r = choose_template(&note, options, &manifest, err);
	if (r < 0)
		return r;
	struct making *making = xnew(struct making);
	*making = (struct making){ .loop = loop,
				   .sandbox_id = xstrdup(options->sandbox_id),
				   .note = note,
				   .size = { options->vcpus, options->memory_mib },
				   .fn = fn,
				   .userdata = userdata };
	note = (struct store_note){};
	r = making_start(making, manifest, options->timeout_ms, err);
	if (r < 0)
		making_free(making);
	return r;
}
