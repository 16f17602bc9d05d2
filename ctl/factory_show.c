#include "ctl/factory_show.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "ctl/ctl.h"
#include "ctl/replaced.h"
#include "ctl/table.h"
#include "proto/pbjson.h"

#define MIB (1024 * 1024)

void status_select(Kiln__Factory__V1__StatusResponse *status, const char *template_name)
{
	size_t kept = 0;

	for (size_t i = 0; i < status->n_templates; i++) {
		Kiln__Factory__V1__TemplateStatus *template = status->templates[i];
		if (!template_name || str_equal(template->name, template_name))
			status->templates[kept++] = template;
		else
			protobuf_c_message_free_unpacked(&template->base, NULL);
	}
	status->n_templates = kept;
}

void list_select(Kiln__Factory__V1__ListResponse *list, const char *template_name)
{
	size_t kept = 0;

	for (size_t i = 0; i < list->n_vms; i++) {
		Kiln__Factory__V1__VmStatus *vm = list->vms[i];
		if (!template_name || str_equal(vm->template_, template_name))
			list->vms[kept++] = vm;
		else
			protobuf_c_message_free_unpacked(&vm->base, NULL);
	}
	list->n_vms = kept;
	kept = 0;
	for (size_t i = 0; i < list->n_unconfigured; i++) {
		Kiln__Factory__V1__StoredTemplate *stored = list->unconfigured[i];
		if (!template_name || str_equal(stored->name, template_name))
			list->unconfigured[kept++] = stored;
		else
			protobuf_c_message_free_unpacked(&stored->base, NULL);
	}
	list->n_unconfigured = kept;
}

bool status_is_on(const Kiln__Factory__V1__StatusResponse *status)
{
	for (size_t i = 0; i < status->n_templates; i++)
		if (str_equal(status->templates[i]->state, "ready"))
			return true;
	return false;
}

char *duration_text(uint64_t ms)
{
	uint64_t s = ms / 1000;

	if (ms < 1000)
		return xasprintf("%" PRIu64 " ms", ms);
	if (s < 60)
		return xasprintf("%" PRIu64 ".%" PRIu64 " s", s, ms % 1000 / 100);
	if (s < 3600)
		return xasprintf("%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
	if (s < 86400)
		return xasprintf("%" PRIu64 " h %" PRIu64 " min", s / 3600, s % 3600 / 60);
	return xasprintf("%" PRIu64 " d %" PRIu64 " h", s / 86400, s % 86400 / 3600);
}

static void add_duration(struct table *table, uint64_t ms)
{
	_cleanup_free_ char *text = ms > 0 ? duration_text(ms) : xstrdup("-");
	table_add(table, "%s", text);
}

static void add_text(struct table *table, const char *text)
{
	table_add(table, "%s", str_empty(text) ? "-" : text);
}

/* since: seconds since the epoch; 0: never. */
static void add_age(struct table *table, uint64_t since)
{
	uint64_t now = clock_realtime_ns() / 1000000000;

	if (since == 0 || since > now)
		add_text(table, NULL);
	else
		add_duration(table, (now - since) * 1000 + 1);
}

static void add_template(struct table *table, const Kiln__Factory__V1__TemplateStatus *template)
{
	static const Kiln__Factory__V1__PoolStatus no_pool = KILN__FACTORY__V1__POOL_STATUS__INIT;
	const Kiln__Factory__V1__PoolStatus *pool = template->pool ? template->pool : &no_pool;

	add_text(table, template->name);
	if (str_equal(template->state, "baking"))
		table_add(table, "baking (%s)", template->phase);
	else
		add_text(table, template->state);
	table_add(table, "%.12s", str_empty(template->id) ? "-" : template->id);
	add_age(table, template->baked_at);
	if (template->memory_bytes > 0)
		table_add(table, "%" PRIu64 " of %" PRIu64 " MiB",
			  template->memory_allocated_bytes / MIB, template->memory_bytes / MIB);
	else
		add_text(table, NULL);
	add_duration(table, template->boot_ms);
	add_duration(table, template->bake_ms);
	table_add(table, "%u of %u", pool->parked, pool->target);
	table_add(table, "%u of %u", pool->spares, pool->spares_target);
	table_add(table, "%u", pool->coming);
	table_add(table, "%u", pool->claimed);
}

static void print_templates(const Kiln__Factory__V1__StatusResponse *status, FILE *out)
{
	static const char *const heads[] = { "TEMPLATE", "STATE",  "ID",      "AGE",
					     "MEMORY",   "BOOT",   "BAKE",    "PARKED",
					     "SPARES",   "COMING", "CLAIMED", NULL };
	_cleanup_(table_free_cleanup) struct table *table = table_new(heads);

	for (size_t i = 0; i < status->n_templates; i++)
		add_template(table, status->templates[i]);
	fputc('\n', out);
	table_print(table, out);
	for (size_t i = 0; i < status->n_templates; i++)
		if (!str_empty(status->templates[i]->error))
			ctl_print(out, "%s: %s\n", status->templates[i]->name,
				  status->templates[i]->error);
	for (size_t i = 0; i < status->n_templates; i++)
		if (!str_empty(status->templates[i]->stale))
			ctl_print(out, "%s: stale: %s\n", status->templates[i]->name,
				  status->templates[i]->stale);
}

static void add_us(struct table *table, uint64_t us)
{
	if (us == 0)
		add_text(table, NULL);
	else if (us < 1000)
		table_add(table, "%" PRIu64 " us", us);
	else if (us < 1000000)
		table_add(table, "%" PRIu64 ".%" PRIu64 " ms", us / 1000, us % 1000 / 100);
	else
		add_duration(table, us / 1000);
}

static void add_measures(struct table *table, const char *name,
			 const Kiln__Factory__V1__ClaimStatus *claims,
			 const Kiln__Factory__V1__MemoryStatus *memory)
{
	static const Kiln__Factory__V1__ClaimStatus no_claims =
		KILN__FACTORY__V1__CLAIM_STATUS__INIT;
	static const Kiln__Factory__V1__MemoryStatus no_memory =
		KILN__FACTORY__V1__MEMORY_STATUS__INIT;

	claims = claims ? claims : &no_claims;
	memory = memory ? memory : &no_memory;
	add_text(table, name);
	table_add(table, "%" PRIu64, claims->hits);
	table_add(table, "%" PRIu64, claims->clones);
	table_add(table, "%" PRIu64, claims->boots);
	table_add(table, "%" PRIu64, claims->failed);
	add_us(table, claims->p50_us);
	add_us(table, claims->p99_us);
	table_add(table, "%" PRIu64 " MiB", memory->shared_bytes / MIB);
	table_add(table, "%" PRIu64 " MiB", memory->private_bytes / MIB);
	table_add(table, "%u", memory->machines);
}

/* What was measured of each template, and of all where there are several. */
static void print_measures(const Kiln__Factory__V1__StatusResponse *status, FILE *out)
{
	static const char *const heads[] = { "CLAIMS",  "HITS",     "CLONES", "BOOTS",
					     "FAILED",  "P50",      "P99",    "SHARED",
					     "PRIVATE", "MACHINES", NULL };
	_cleanup_(table_free_cleanup) struct table *table = table_new(heads);

	for (size_t i = 0; i < status->n_templates; i++)
		add_measures(table, status->templates[i]->name, status->templates[i]->claims,
			     status->templates[i]->memory);
	if (status->n_templates > 1)
		add_measures(table, "(all)", status->claims, status->memory);
	fputc('\n', out);
	table_print(table, out);
}

/* What keeps a pool from being filled. */
static void print_obstacles(const Kiln__Factory__V1__StatusResponse *status, FILE *out)
{
	for (size_t i = 0; i < status->n_templates; i++) {
		const Kiln__Factory__V1__TemplateStatus *template = status->templates[i];
		if (template->pool && str_equal(template->state, "ready") &&
		    str_empty(template->error) && !str_empty(template->pool->obstacle))
			ctl_print(out, "%s: the pool is not refilled: %s\n", template->name,
				  template->pool->obstacle);
	}
}

static void print_counters(const Kiln__Factory__V1__StatusResponse *status, FILE *out)
{
	static const char *const heads[] = { "COUNTER", "VALUE", "REASON", NULL };
	_cleanup_(table_free_cleanup) struct table *table = table_new(heads);

	if (status->n_counters == 0)
		return;
	for (size_t i = 0; i < status->n_counters; i++) {
		add_text(table, status->counters[i]->name);
		table_add(table, "%" PRIu64, status->counters[i]->value);
		add_text(table, status->counters[i]->reason);
	}
	fputc('\n', out);
	table_print(table, out);
}

static void print_images(const Kiln__Factory__V1__ImageCacheStatus *cache, FILE *out)
{
	if (!cache)
		return;
	ctl_print(out, "\nimages: %u, %" PRIu64 " of %" PRIu64 " MiB in %s", cache->images,
		  cache->bytes / MIB, cache->limit_bytes / MIB, cache->dir);
	if (!str_empty(cache->making))
		ctl_print(out, ", making %s", cache->making);
	if (cache->queued > 0)
		ctl_print(out, ", %u queued", cache->queued);
	fputc('\n', out);
	if (!str_empty(cache->error))
		ctl_print(out, "images: %s\n", cache->error);
}

void status_print(const Kiln__Factory__V1__StatusResponse *status, FILE *out)
{
	_cleanup_free_ char *uptime = duration_text(status->uptime_s * 1000);

	ctl_print(out, "kiln-factory %s%s, pid %u, up %s, accelerator %s\n", status->version,
		  program_is_replaced((pid_t)status->pid) ? " (replaced by the installed one)" : "",
		  status->pid, uptime, status->accelerator);
	if (!str_empty(status->kvm_obstacle))
		ctl_print(out,
			  "machines are emulated though the processor has what KVM needs: %s\n",
			  status->kvm_obstacle);
	print_templates(status, out);
	print_obstacles(status, out);
	print_measures(status, out);
	print_images(status->image_cache, out);
	print_counters(status, out);
}

static void dump(json_t *json, FILE *out)
{
	json_dumpf(json, out, JSON_INDENT(2) | JSON_ENSURE_ASCII);
	fputc('\n', out);
	json_decref(json);
}

void status_print_json(const Kiln__Factory__V1__StatusResponse *status, FILE *out)
{
	json_t *json = json_object();

	json_object_set_new(json, "on", json_boolean(status && status_is_on(status)));
	if (status) {
		json_t *rest = pbjson_from_message(&status->base, PBJSON_EMIT_DEFAULTS);
		json_object_update(json, rest);
		json_decref(rest);
	}
	dump(json, out);
}

/* "app share, side overlay-image" */
static void add_roots(struct table *table, const Kiln__Factory__V1__VmStatus *vm)
{
	_cleanup_(strbuf_done) struct strbuf text = {};

	for (size_t i = 0; i < vm->n_roots; i++)
		strbuf_addf(&text, "%s%s %s", i > 0 ? ", " : "", vm->roots[i]->container_id,
			    vm->roots[i]->root);
	add_text(table, strbuf_text(&text));
}

void list_print(const Kiln__Factory__V1__ListResponse *list, FILE *out)
{
	static const char *const heads[] = { "ID",      "STATE",  "TEMPLATE", "PID", "AGE",
					     "SANDBOX", "ORIGIN", "ROOTS",    NULL };
	_cleanup_(table_free_cleanup) struct table *table = table_new(heads);

	for (size_t i = 0; i < list->n_vms; i++) {
		const Kiln__Factory__V1__VmStatus *vm = list->vms[i];
		add_text(table, vm->vm_id);
		add_text(table, vm->state);
		add_text(table, vm->template_);
		table_add(table, "%u", vm->pid);
		add_duration(table, vm->age_ms);
		add_text(table, vm->sandbox_id);
		add_text(table, vm->origin);
		add_roots(table, vm);
	}
	table_print(table, out);
	for (size_t i = 0; i < list->n_unconfigured; i++) {
		const Kiln__Factory__V1__StoredTemplate *stored = list->unconfigured[i];
		ctl_print(out,
			  "template %s (%.12s, %" PRIu64 " MiB) is in the store and configured no "
			  "more: `kiln-ctl factory destroy %s` removes it\n",
			  stored->name, stored->id, stored->memory_allocated_bytes / MIB,
			  stored->name);
	}
}

void answer_print_json(const ProtobufCMessage *answer, FILE *out)
{
	dump(pbjson_from_message(answer, PBJSON_EMIT_DEFAULTS), out);
}
