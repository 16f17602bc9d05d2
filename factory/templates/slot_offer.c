/* What a template has for claims, and whether it takes one. */
#include "base/strings.h"
#include "factory/templates/slot_priv.h"

/* A boot takes kernel and initramfs from where the definition has them: not if they are no longer
 * what the root image was baked with. */
static bool slot_is_bootable(const struct slot *slot)
{
	const struct template_inputs *now = input_watch_inputs(slot->watch);

	if (slot->state != SLOT_READY || slot_ending(slot))
		return false;
	return !now ||
	       (str_equal(now->values[INPUT_KERNEL], slot->manifest->inputs.values[INPUT_KERNEL]) &&
		str_equal(now->values[INPUT_INITRD], slot->manifest->inputs.values[INPUT_INITRD]));
}

static void offer_definition(const struct template_definition *definition,
			     struct template_offer *offer)
{
	offer->size = (struct vm_size){ (uint32_t)definition->vcpus,
					(uint32_t)definition->memory_mib };
	offer->max_size = (struct vm_size){
		(uint32_t)(definition->vcpus + definition->spare_vcpus),
		(uint32_t)definition->max_memory_mib,
	};
	offer->annotations = definition->annotations;
	offer->images = &definition->images;
}

static void offer_manifest(const struct template_manifest *manifest, struct template_offer *offer)
{
	offer->size = template_size(manifest);
	offer->max_size = template_max_size(manifest);
	offer->annotations = template_annotations(manifest);
	offer->images = &manifest->inputs.images;
}

/* Its pool is closed already: a claim would wait for nothing. */
static bool slot_is_leaving(const struct slot *slot)
{
	return slot->state == SLOT_READY && slot_ending(slot);
}

void slot_offer(const struct slot *slot, struct template_offer *ret_offer)
{
	static const unsigned readiness[] = {
		[SLOT_READY] = 2,  [SLOT_BAKING] = 1,   [SLOT_ABSENT] = 0,
		[SLOT_BROKEN] = 0, [SLOT_REMOVING] = 0,
	};

	*ret_offer = (struct template_offer){
		.name = slot->name,
		.state = slot_state_to_string(slot->state),
		.readiness = slot_is_leaving(slot) || pool_is_broken(slot->pool)
				     ? 0
				     : readiness[slot->state],
		.bootable = slot_is_bootable(slot),
	};
	if (slot->manifest)
		offer_manifest(slot->manifest, ret_offer);
	else
		offer_definition(slot->definition, ret_offer);
}

int slot_accepts(const struct slot *slot, struct error *err)
{
	if (slot_is_leaving(slot))
		return error_set(err, ENOTCONN, "template %s is being %s", slot->name,
				 slot->stopping ? "stopped" : "destroyed");
	switch (slot->state) {
	case SLOT_READY:
	case SLOT_BAKING:
		return 0;
	case SLOT_BROKEN:
		return error_set(err, ENOTCONN, "template %s is broken: %s", slot->name,
				 error_message(&slot->broken));
	case SLOT_ABSENT:
	case SLOT_REMOVING:
		break;
	}
	return error_set(err, ENOTCONN, "template %s is %s: run `kiln-ctl factory init`",
			 slot->name, slot_state_to_string(slot->state));
}
