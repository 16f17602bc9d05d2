#include "ctl/sandbox_show.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "ctl/ctl.h"
#include "ctl/factory_show.h"
#include "ctl/table.h"
#include "proto/agent_vsock.h"
#include "proto/pbjson.h"

enum { HEX_ID = 64, SHORT_ID = 12 };

static const char *or_dash(const char *text)
{
	return str_empty(text) ? "-" : text;
}

/* NULL: the factory does not say. */
static const char *template_name(const Kiln__Factory__V1__StatusResponse *status, const char *id)
{
	for (size_t i = 0; status && i < status->n_templates; i++)
		if (str_equal(status->templates[i]->id, id))
			return status->templates[i]->name;
	return NULL;
}

void sandbox_short_id(const struct sandbox *sandbox, char ret[static SANDBOX_ID_SIZE])
{
	const char *id = sandbox->id ? sandbox->id : "?";
	bool is_long = strlen(id) == HEX_ID && strspn(id, "0123456789abcdef") == HEX_ID;

	snprintf(ret, SANDBOX_ID_SIZE, "%.*s", is_long ? SHORT_ID : SANDBOX_ID_SIZE - 1, id);
}

char *sandbox_pod_text(const struct sandbox *sandbox)
{
	if (!sandbox->pod)
		return xstrdup("-");
	return xasprintf("%s/%s", or_dash(sandbox->pod_ns), sandbox->pod);
}

/* The image of its first container that has one, and how many others there are. The caller frees.
 */
static char *images_text(const struct sandbox *sandbox)
{
	const char *first = NULL;
	size_t more = 0;

	for (size_t i = 0; sandbox->info && i < sandbox->info->n_containers; i++) {
		const char *image = sandbox->images[i];
		if (!image || sandbox->info->containers[i]->is_sandbox || str_equal(image, first))
			continue;
		if (first)
			more++;
		else
			first = image;
	}
	return more > 0 ? xasprintf("%s (+%zu)", first, more) : xstrdup(or_dash(first));
}

/* "2 running, 1 stopped"; the pod's own is not counted. */
static char *containers_text(const Kiln__Shim__V1__SandboxInfo *info)
{
	_cleanup_(strbuf_done) struct strbuf text = {};

	for (size_t i = 0; i < info->n_containers; i++) {
		const char *state = info->containers[i]->state;
		size_t count = 0, before = 0;
		if (info->containers[i]->is_sandbox)
			continue;
		for (size_t n = 0; n < info->n_containers; n++) {
			bool same = !info->containers[n]->is_sandbox &&
				    str_equal(info->containers[n]->state, state);
			count += same;
			before += same && n < i;
		}
		if (before == 0)
			strbuf_addf(&text, "%s%zu %s", text.len ? ", " : "", count, state);
	}
	return xstrdup(or_dash(strbuf_text(&text)));
}

static char *age_text(const Kiln__Shim__V1__Machine *machine)
{
	uint64_t now = clock_realtime_ns() / 1000000;

	return duration_text(now > machine->claimed_ms ? now - machine->claimed_ms : 0);
}

static void add_machine(struct table *table, const Kiln__Shim__V1__Machine *machine,
			const Kiln__Factory__V1__StatusResponse *status)
{
	const char *name = machine ? template_name(status, machine->template_id) : NULL;

	if (!machine) {
		for (int i = 0; i < 5; i++)
			table_add(table, "-");
		return;
	}
	_cleanup_free_ char *age = age_text(machine);
	table_add(table, "%.*s", name ? 128 : SHORT_ID,
		  or_dash(name ? name : machine->template_id));
	table_add(table, "%s", or_dash(machine->origin));
	table_add(table, "%s", age);
	table_add(table, "%u MiB", machine->memory_mib);
	table_add(table, "%u", machine->vcpus);
}

static void add_sandbox(struct table *table, const struct sandbox *sandbox,
			const Kiln__Factory__V1__StatusResponse *status)
{
	const Kiln__Shim__V1__SandboxInfo *info = sandbox->info;
	_cleanup_free_ char *pod = sandbox_pod_text(sandbox);
	_cleanup_free_ char *images = images_text(sandbox);
	_cleanup_free_ char *containers = info ? containers_text(info) : xstrdup("-");
	char id[SANDBOX_ID_SIZE];

	sandbox_short_id(sandbox, id);
	table_add(table, "%s", id);
	table_add(table, "%s", or_dash(sandbox->ns));
	table_add(table, "%s", pod);
	table_add(table, "%s", images);
	add_machine(table, info ? info->machine : NULL, status);
	table_add(table, "%s%s", or_dash(info ? info->version : NULL),
		  sandbox->replaced ? ", replaced" : "");
	table_add(table, "%s", containers);
	if (!info)
		table_add(table, "unknown: %s", error_message(&sandbox->error));
	else if (!str_empty(info->error))
		table_add(table, "%s: %s", info->state, info->error);
	else
		table_add(table, "%s", info->state);
}

void sandboxes_print(const struct sandboxes *sandboxes,
		     const Kiln__Factory__V1__StatusResponse *status, FILE *out)
{
	static const char *const heads[] = { "SANDBOX",  "NAMESPACE", "POD",        "IMAGE",
					     "TEMPLATE", "ORIGIN",    "AGE",        "MEMORY",
					     "VCPUS",    "SHIM",      "CONTAINERS", "STATE",
					     NULL };
	_cleanup_(table_free_cleanup) struct table *table = table_new(heads);

	for (size_t i = 0; i < sandboxes->count; i++)
		add_sandbox(table, &sandboxes->items[i], status);
	table_print(table, out);
}

/* ---------------------------------------------------------------- one of them */

/* Some of it is foreign. */
static void print_field(FILE *out, const char *name, const char *text)
{
	_cleanup_free_ char *shown = xstrdup(text);

	if (str_empty(shown))
		return;
	str_neutralise(shown, "");
	ctl_print(out, "%-12s %s\n", name, shown);
}

static void print_machine(const Kiln__Shim__V1__Machine *machine,
			  const Kiln__Factory__V1__StatusResponse *status, FILE *out)
{
	const char *name = template_name(status, machine->template_id);
	_cleanup_free_ char *age = age_text(machine);

	ctl_print(out, "%-12s %u vCPUs, %u MiB\n", "size", machine->vcpus, machine->memory_mib);
	ctl_print(out, "%-12s %s%s%s\n", "origin", machine->origin, *machine->reason ? ": " : "",
		  machine->reason);
	ctl_print(out, "%-12s %" PRIu64 ".%03" PRIu64 " ms\n", "claim took",
		  machine->claim_us / 1000, machine->claim_us % 1000);
	print_field(out, "age", age);
	print_field(out, "template", name);
	print_field(out, "template id", machine->template_id);
	print_field(out, "factory", machine->factory_version);
	print_field(out, "machine", machine->vm_id);
	print_field(out, "folder", machine->vm_dir);
	ctl_print(out, "%-12s %u\n", "VMM's pid", machine->vmm_pid);
	if (machine->guest_cid > 0)
		ctl_print(out, "%-12s vsock://%u:%d\n", "agent", machine->guest_cid,
			  AGENT_VSOCK_PORT);
}

static void print_containers(const struct sandbox *sandbox, FILE *out)
{
	static const char *const heads[] = { "CONTAINER", "STATE", "PID", "IMAGE", "BUNDLE", NULL };
	_cleanup_(table_free_cleanup) struct table *table = table_new(heads);
	const Kiln__Shim__V1__SandboxInfo *info = sandbox->info;

	for (size_t i = 0; i < info->n_containers; i++) {
		const Kiln__Shim__V1__ContainerInfo *container = info->containers[i];
		bool ended = str_equal(container->state, "stopped");
		table_add(table, "%s%s", container->id,
			  container->is_sandbox ? " (the pod's)" : "");
		if (ended)
			table_add(table, "stopped (%u)", container->exit_status);
		else
			table_add(table, "%s", container->state);
		table_add(table, "%u", container->pid);
		table_add(table, "%s", or_dash(sandbox->images[i]));
		table_add(table, "%s", container->bundle);
	}
	if (info->n_containers > 0) {
		fputc('\n', out);
		table_print(table, out);
	}
}

void sandbox_print(const struct sandbox *sandbox, const Kiln__Factory__V1__StatusResponse *status,
		   FILE *out)
{
	const Kiln__Shim__V1__SandboxInfo *info = sandbox->info;
	_cleanup_free_ char *pod = sandbox_pod_text(sandbox);

	print_field(out, "sandbox", sandbox->id);
	print_field(out, "namespace", sandbox->ns);
	if (sandbox->pod)
		print_field(out, "pod", pod);
	print_field(out, "pod's uid", sandbox->pod_uid);
	print_field(out, "state", info->state);
	print_field(out, "error", info->error);
	if (info->machine)
		print_machine(info->machine, status, out);
	print_field(out, "network", info->netns);
	ctl_print(out, "%-12s %u (%s%s)\n", "shim's pid", info->shim_pid, info->version,
		  sandbox->replaced ? ", replaced by the installed one" : "");
	print_field(out, "socket", sandbox->socket);
	print_containers(sandbox, out);
}

/* ---------------------------------------------------------------- JSON */

static void set_text(json_t *object, const char *key, const char *text)
{
	if (!str_empty(text))
		json_object_set_new(object, key, json_string(text));
}

static void add_bundle_words(const struct sandbox *sandbox, json_t *json)
{
	json_t *pod = json_object(), *containers = json_object_get(json, "containers");

	for (size_t i = 0; i < json_array_size(containers); i++)
		set_text(json_array_get(containers, i), "image", sandbox->images[i]);
	set_text(pod, "name", sandbox->pod);
	set_text(pod, "namespace", sandbox->pod_ns);
	set_text(pod, "uid", sandbox->pod_uid);
	if (json_object_size(pod) > 0)
		json_object_set(json, "pod", pod);
	else
		json_object_del(json, "pod");
	json_decref(pod);
}

json_t *sandbox_to_json(const struct sandbox *sandbox,
			const Kiln__Factory__V1__StatusResponse *status)
{
	Kiln__Shim__V1__SandboxInfo unknown = KILN__SHIM__V1__SANDBOX_INFO__INIT;
	const Kiln__Shim__V1__SandboxInfo *info = sandbox->info ? sandbox->info : &unknown;
	json_t *json;

	unknown.sandbox_id = sandbox->id ? sandbox->id : unknown.sandbox_id;
	unknown.namespace_ = sandbox->ns ? sandbox->ns : unknown.namespace_;
	unknown.state = (char *)"unknown";
	unknown.error = (char *)error_message(&sandbox->error);
	unknown.shim_pid = (uint32_t)sandbox->shim_pid;
	json = pbjson_from_message(&info->base, PBJSON_EMIT_DEFAULTS);
	set_text(json, "socket", sandbox->socket);
	json_object_set_new(json, "replaced", json_boolean(sandbox->replaced));
	if (sandbox->info)
		add_bundle_words(sandbox, json);
	if (info->machine)
		set_text(json_object_get(json, "machine"), "template",
			 template_name(status, info->machine->template_id));
	return json;
}
