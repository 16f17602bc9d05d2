#include "ctl/factory_template.h"

#include <inttypes.h>
#include <stdint.h>
#include <time.h>

#include "base/memory.h"
#include "base/strings.h"
#include "ctl/ctl.h"
#include "ctl/factory_show.h"

#define ANSWER_TIMEOUT_S  10
#define VERIFY_TIMEOUT_S  120
#define REBUILD_TIMEOUT_S 600

#define MIB (1024 * 1024)

static char *name_of(const struct template_args *args)
{
	return (char *)(uintptr_t)args->name;
}

/* ---------------------------------------------------------------- inspect */

static void print_field(FILE *out, const char *name, const char *text)
{
	if (!str_empty(text))
		ctl_print(out, "%-15s %s\n", name, text);
}

static void print_time(FILE *out, const char *name, uint64_t seconds)
{
	time_t at = (time_t)seconds;
	char text[32] = "";
	struct tm tm;

	if (seconds > 0 && gmtime_r(&at, &tm))
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &tm);
	print_field(out, name, text);
}

static void print_duration(FILE *out, const char *name, uint64_t ms)
{
	_cleanup_free_ char *text = duration_text(ms);

	print_field(out, name, text);
}

static void print_input(const Kiln__Factory__V1__TemplateInput *input, FILE *out)
{
	bool is_file = !str_empty(input->path);
	bool changed = !str_empty(input->baked) && !str_empty(input->now) &&
		       !str_equal(input->baked, input->now);
	const char *value = str_empty(input->baked) ? input->now : input->baked;

	ctl_print(out, "  %-14s %s%s%s%s\n", input->name, is_file ? input->path : "",
		  is_file && !str_empty(value) ? "\n                 sha256 " : "", value,
		  changed ? " (changed)" : "");
	if (changed)
		ctl_print(out, "                 now %s\n", input->now);
}

static void print_baked(const Kiln__Factory__V1__InspectResponse *template, FILE *out)
{
	const Kiln__Factory__V1__TemplateStatus *status = template->status;

	print_field(out, "id", status->id);
	print_field(out, "folder", template->dir);
	print_time(out, "baked", status->baked_at);
	print_duration(out, "bake took", status->bake_ms);
	print_duration(out, "boot took", status->boot_ms);
	ctl_print(out,
		  "%-15s %" PRIu64 " MiB, %" PRIu64 " MiB before trimming, %" PRIu64 " MiB after\n",
		  "memory", status->memory_bytes / MIB, template->memory_before_trim_bytes / MIB,
		  status->memory_allocated_bytes / MIB);
	print_field(out, "", template->memory_digest);
	ctl_print(out, "%-15s %" PRIu64 " KiB\n", "state", template->state_bytes / 1024);
	print_field(out, "", template->state_digest);
	ctl_print(out, "%-15s %" PRIu64 " MiB\n", "image", template->image_bytes / MIB);
	print_field(out, "", template->image_digest);
	print_field(out, "agent", template->agent_version);
	print_field(out, "QEMU", template->qemu_binary);
	print_field(out, "accelerator", template->accelerator);
}

void inspect_print(const Kiln__Factory__V1__InspectResponse *template, FILE *out)
{
	const Kiln__Factory__V1__TemplateStatus *status = template->status;

	print_field(out, "template", status->name);
	print_field(out, "definition", template->definition);
	ctl_print(out, "%-15s %u vCPUs, %u MiB\n", "size", template->vcpus, template->memory_mib);
	if (template->max_vcpus > template->vcpus ||
	    template->max_memory_mib > template->memory_mib)
		ctl_print(out, "%-15s %u vCPUs, %u MiB\n", "grows to", template->max_vcpus,
			  template->max_memory_mib);
	if (!str_empty(template->annotations))
		ctl_print(out, "%-15s %s\n", "annotations", template->annotations);
	ctl_print(out, "%-15s %s%s%s\n", "state", status->state,
		  str_empty(status->phase) ? "" : ", baking: ", status->phase);
	print_field(out, "stale", status->stale);
	print_field(out, "when stale", template->on_stale);
	print_field(out, "error", status->error);
	print_field(out, "rebuild failed", status->rebuild_error);
	if (!str_empty(status->id))
		print_baked(template, out);
	fputs("inputs\n", out);
	for (size_t i = 0; i < template->n_inputs; i++)
		print_input(template->inputs[i], out);
	if (template->n_argv > 0)
		fputs("a clone's VMM\n", out);
	for (size_t i = 0; i < template->n_argv; i++)
		ctl_print(out, "  %s\n", template->argv[i]);
}

int factory_template_inspect(struct factory_link *link, const struct template_args *args)
{
	Kiln__Factory__V1__InspectRequest request = KILN__FACTORY__V1__INSPECT_REQUEST__INIT;

	request.template_ = name_of(args);
	ProtobufCMessage *response = factory_link_ask(link, "Inspect", &request.base,
						      args->timeout_s, ANSWER_TIMEOUT_S);
	if (!response)
		return CTL_FAILED;
	const Kiln__Factory__V1__InspectResponse *template = (const void *)response;
	if (args->json)
		answer_print_json(response, stdout);
	else if (template->status)
		inspect_print(template, stdout);
	protobuf_c_message_free_unpacked(response, NULL);
	return CTL_OK;
}

/* ---------------------------------------------------------------- rebuild */

int factory_template_rebuild(struct factory_link *link, const struct template_args *args)
{
	Kiln__Factory__V1__RebuildRequest request = KILN__FACTORY__V1__REBUILD_REQUEST__INIT;

	request.template_ = name_of(args);
	ProtobufCMessage *response = factory_link_ask(link, "Rebuild", &request.base,
						      args->timeout_s, REBUILD_TIMEOUT_S);
	if (!response)
		return CTL_FAILED;
	const Kiln__Factory__V1__RebuildResponse *rebuilt = (const void *)response;
	if (args->json)
		answer_print_json(response, stdout);
	else if (str_empty(rebuilt->old_id))
		ctl_print(stdout, "template %s is baked: %.12s\n", args->name, rebuilt->id);
	else
		ctl_print(stdout, "template %s is rebuilt: %.12s -> %.12s\n", args->name,
			  rebuilt->old_id, rebuilt->id);
	protobuf_c_message_free_unpacked(response, NULL);
	return CTL_OK;
}

/* ---------------------------------------------------------------- verify */

static void print_verified(const Kiln__Factory__V1__VerifyResponse *verified,
			   const struct template_args *args)
{
	for (size_t i = 0; i < verified->n_files; i++) {
		const Kiln__Factory__V1__VerifiedFile *file = verified->files[i];
		ctl_print(stdout, "%-7s %s\n", file->name,
			  str_empty(file->problem) ? "intact" : "damaged");
		if (!str_empty(file->problem))
			ctl_say("%s (sha256 %.12s… expected, %.12s… found)", file->problem,
				file->baked, str_empty(file->found) ? "none" : file->found);
	}
	if (!verified->intact)
		ctl_say("'kiln-ctl factory rebuild %s' bakes it anew", args->name);
}

int factory_template_verify(struct factory_link *link, const struct template_args *args)
{
	Kiln__Factory__V1__VerifyRequest request = KILN__FACTORY__V1__VERIFY_REQUEST__INIT;

	request.template_ = name_of(args);
	ProtobufCMessage *response = factory_link_ask(link, "Verify", &request.base,
						      args->timeout_s, VERIFY_TIMEOUT_S);
	if (!response)
		return CTL_FAILED;
	const Kiln__Factory__V1__VerifyResponse *verified = (const void *)response;
	bool intact = verified->intact;
	if (args->json)
		answer_print_json(response, stdout);
	else
		print_verified(verified, args);
	protobuf_c_message_free_unpacked(response, NULL);
	return intact ? CTL_OK : CTL_FAILED;
}

/* ---------------------------------------------------------------- console */

int factory_template_console(struct factory_link *link, const struct template_args *args)
{
	Kiln__Factory__V1__ConsoleRequest request = KILN__FACTORY__V1__CONSOLE_REQUEST__INIT;

	request.template_ = name_of(args);
	ProtobufCMessage *response = factory_link_ask(link, "Console", &request.base,
						      args->timeout_s, ANSWER_TIMEOUT_S);
	if (!response)
		return CTL_FAILED;
	const Kiln__Factory__V1__ConsoleResponse *console = (const void *)response;
	size_t len = strlen(console->text);
	if (args->json)
		answer_print_json(response, stdout);
	else if (len == 0)
		ctl_say("nothing was written on the console");
	else
		ctl_print(stdout, "%s%s", console->text,
			  console->text[len - 1] == '\n' ? "" : "\n");
	protobuf_c_message_free_unpacked(response, NULL);
	return CTL_OK;
}
