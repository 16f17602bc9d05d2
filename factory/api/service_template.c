#include "factory/api/service_template.h"

#include <stdlib.h>

#include "base/memory.h"
#include "factory/api/report.h"
#include "factory/api/service.h"
#include "factory/guest/carried_device.h"
#include "proto/factory.pb-c.h"

/* ---------------------------------------------------------------- Inspect */

static Kiln__Factory__V1__TemplateInput *input_report(enum template_input input,
						      const struct template_definition *definition,
						      const struct template_inputs *baked,
						      const struct template_inputs *now)
{
	Kiln__Factory__V1__TemplateInput *report = xnew(Kiln__Factory__V1__TemplateInput);

	kiln__factory__v1__template_input__init(report);
	report->name = xstrdup(template_input_to_string(input));
	report->path = xstrdup(template_input_path(definition, input) ?: "");
	report->baked = xstrdup(baked ? baked->values[input] : "");
	report->now = xstrdup(now ? now->values[input] : "");
	return report;
}

/* An image that is carried since the bake, or no more, is known on one side only. */
static Kiln__Factory__V1__TemplateInput *image_report(const char *name, const char *path,
						      const struct carried *baked,
						      const struct carried *now)
{
	Kiln__Factory__V1__TemplateInput *report = xnew(Kiln__Factory__V1__TemplateInput);
	const struct carried_image *was = baked ? carried_find(baked, name) : NULL;
	const struct carried_image *is = now ? carried_find(now, name) : NULL;

	kiln__factory__v1__template_input__init(report);
	report->name = xasprintf("image %s", name);
	report->path = xstrdup(path);
	report->baked = xstrdup(was ? was->digest : "");
	report->now = xstrdup(is ? is->digest : "");
	return report;
}

static void inspect_images(const struct slot *slot, Kiln__Factory__V1__InspectResponse *response)
{
	const struct template_manifest *manifest = slot_manifest(slot);
	const struct template_inputs *inputs = slot_inputs(slot);
	const struct carried *defined = &slot_definition(slot)->images;

	for (size_t i = 0; i < defined->count; i++)
		response->inputs[response->n_inputs++] = image_report(
			defined->items[i].name, defined->items[i].file,
			manifest ? &manifest->inputs.images : NULL,
			inputs ? &inputs->images : NULL);
}

static void inspect_inputs(const struct slot *slot, Kiln__Factory__V1__InspectResponse *response)
{
	const struct template_manifest *manifest = slot_manifest(slot);

	response->inputs = xnew_array(Kiln__Factory__V1__TemplateInput *,
				      TEMPLATE_INPUTS + CARRIED_MAX);
	for (int i = 0; i < TEMPLATE_INPUTS; i++)
		response->inputs[response->n_inputs++] = input_report(
			(enum template_input)i, slot_definition(slot),
			manifest ? &manifest->inputs : NULL, slot_inputs(slot));
	inspect_images(slot, response);
}

static void inspect_manifest(const struct template_manifest *manifest,
			     Kiln__Factory__V1__InspectResponse *response)
{
	response->dir = xstrdup(manifest->dir);
	response->agent_version = xstrdup(manifest->agent_version);
	response->qemu_binary = xstrdup(manifest->qemu_binary);
	response->accelerator = xstrdup(accelerator_to_string(manifest->accelerator));
	response->memory_before_trim_bytes = manifest->memory_before_trim_bytes;
	response->state_bytes = manifest->state_bytes;
	response->image_bytes = manifest->image_bytes;
	response->memory_digest = xstrdup(manifest->memory_digest);
	response->state_digest = xstrdup(manifest->state_digest);
	response->image_digest = xstrdup(manifest->image_digest);
	response->argv = xnew_array(char *, manifest->argv.count);
	for (size_t i = 0; i < manifest->argv.count; i++)
		response->argv[response->n_argv++] = xstrdup(manifest->argv.items[i]);
}

void rpc_on_inspect(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Kiln__Factory__V1__InspectRequest *request = (const void *)message;
	struct factory *factory = userdata;
	struct slot *slot = service_find_slot(call, factory, request->template_);

	if (!slot)
		return;
	const struct template_definition *definition = slot_definition(slot);
	Kiln__Factory__V1__InspectResponse *response = xnew(Kiln__Factory__V1__InspectResponse);
	kiln__factory__v1__inspect_response__init(response);
	response->status = report_template(slot, factory_footprint(factory));
	response->definition = xstrdup(definition->path);
	response->vcpus = (uint32_t)definition->vcpus;
	response->memory_mib = (uint32_t)definition->memory_mib;
	response->max_vcpus = (uint32_t)(definition->vcpus + definition->spare_vcpus);
	response->max_memory_mib = (uint32_t)definition->max_memory_mib;
	response->annotations = xstrdup(definition->annotations);
	response->boot_timeout_s = (uint32_t)definition->boot_timeout_s;
	response->on_stale = xstrdup(on_stale_to_string((enum on_stale)definition->on_stale));
	inspect_inputs(slot, response);
	if (slot_manifest(slot))
		inspect_manifest(slot_manifest(slot), response);
	ttrpc_call_reply(call, &response->base);
	protobuf_c_message_free_unpacked(&response->base, NULL);
}

/* ---------------------------------------------------------------- Rebuild */

struct rebuilding {
	struct ttrpc_call *call;
	struct slot *slot;
	char *old_id;
};

static void on_rebuilt(int number, const struct error *err, void *userdata)
{
	Kiln__Factory__V1__RebuildResponse response = KILN__FACTORY__V1__REBUILD_RESPONSE__INIT;
	struct rebuilding *rebuilding = userdata;
	const struct template_manifest *manifest = slot_manifest(rebuilding->slot);

	if (number < 0) {
		ttrpc_call_fail(rebuilding->call, err);
	} else {
		response.old_id = rebuilding->old_id;
		response.id = manifest ? (char *)manifest->id : (char *)"";
		ttrpc_call_reply(rebuilding->call, &response.base);
	}
	free(rebuilding->old_id);
	free(rebuilding);
}

void rpc_on_rebuild(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Kiln__Factory__V1__RebuildRequest *request = (const void *)message;
	service_audit(call, "rebuild", request->template_, 0);
	struct slot *slot = service_find_slot(call, userdata, request->template_);

	if (!slot)
		return;
	const struct template_manifest *manifest = slot_manifest(slot);
	struct rebuilding *rebuilding = xnew(struct rebuilding);
	*rebuilding = (struct rebuilding){ .call = call,
					   .slot = slot,
					   .old_id = xstrdup(manifest ? manifest->id : "") };
	slot_rebuild(slot, on_rebuilt, rebuilding);
}

/* ---------------------------------------------------------------- Verify */

/* What a worker needs of a manifest, which may be replaced meanwhile. */
struct verifying {
	struct ttrpc_call *call;
	struct template_manifest baked;
	struct template_check checks[TEMPLATE_CHECKS_MAX];
	size_t count;
};

static void verifying_free(struct verifying *verifying)
{
	carried_done(&verifying->baked.inputs.images);
	free(verifying->baked.memory);
	free(verifying->baked.dir);
	free(verifying);
}

static void verify_run(void *data)
{
	struct verifying *verifying = data;

	verifying->count = template_verify(&verifying->baked, verifying->checks);
}

static void verify_done(void *data, void *owner _unused_)
{
	Kiln__Factory__V1__VerifyResponse response = KILN__FACTORY__V1__VERIFY_RESPONSE__INIT;
	Kiln__Factory__V1__VerifiedFile files[TEMPLATE_CHECKS_MAX];
	Kiln__Factory__V1__VerifiedFile *pointers[TEMPLATE_CHECKS_MAX];
	struct verifying *verifying = data;

	response.id = verifying->baked.id;
	response.intact = true;
	response.files = pointers;
	response.n_files = verifying->count;
	for (size_t i = 0; i < verifying->count; i++) {
		struct template_check *check = &verifying->checks[i];
		kiln__factory__v1__verified_file__init(&files[i]);
		files[i].name = (char *)check->file;
		files[i].bytes = check->bytes;
		files[i].baked = check->expected;
		files[i].found = check->found;
		if (check->problem)
			files[i].problem = check->problem;
		response.intact = response.intact && !check->problem;
		pointers[i] = &files[i];
	}
	ttrpc_call_reply(verifying->call, &response.base);
	template_checks_done(verifying->checks, verifying->count);
	verifying_free(verifying);
}

static struct verifying *verifying_new(struct ttrpc_call *call,
				       const struct template_manifest *manifest)
{
	struct verifying *verifying = xnew(struct verifying);
	struct template_manifest *baked = &verifying->baked;

	verifying->call = call;
	baked->dir = xstrdup(manifest->dir);
	baked->memory = xstrdup(manifest->memory);
	carried_copy(&manifest->inputs.images, &baked->inputs.images);
	baked->memory_bytes = manifest->memory_bytes;
	baked->state_bytes = manifest->state_bytes;
	baked->image_bytes = manifest->image_bytes;
	memcpy(baked->id, manifest->id, sizeof(baked->id));
	memcpy(baked->memory_digest, manifest->memory_digest, sizeof(baked->memory_digest));
	memcpy(baked->state_digest, manifest->state_digest, sizeof(baked->state_digest));
	memcpy(baked->image_digest, manifest->image_digest, sizeof(baked->image_digest));
	return verifying;
}

void rpc_on_verify(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Kiln__Factory__V1__VerifyRequest *request = (const void *)message;
	struct slot *slot = service_find_slot(call, userdata, request->template_);

	if (!slot)
		return;
	if (!slot_manifest(slot)) {
		ttrpc_call_fail_code(call, TTRPC_FAILED_PRECONDITION,
				     "template %s is %s: there is nothing to verify",
				     slot_name(slot), slot_state_to_string(slot_state(slot)));
		return;
	}
	struct verifying *verifying = verifying_new(call, slot_manifest(slot));
	const struct worker_job job = { .run = verify_run, .done = verify_done, .data = verifying };
	if (worker_submit(factory_workers(userdata), &job) < 0) {
		ttrpc_call_fail_code(call, TTRPC_UNAVAILABLE, "too much is under way, try again");
		verifying_free(verifying);
	}
}

/* ---------------------------------------------------------------- Console */

void rpc_on_console(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Kiln__Factory__V1__ConsoleRequest *request = (const void *)message;
	Kiln__Factory__V1__ConsoleResponse response = KILN__FACTORY__V1__CONSOLE_RESPONSE__INIT;
	struct slot *slot = service_find_slot(call, userdata, request->template_);

	if (!slot)
		return;
	_cleanup_free_ char *text = slot_console(slot);
	response.text = text;
	response.phase = (char *)slot_phase(slot);
	ttrpc_call_reply(call, &response.base);
}
