#include "factory/api/report.h"

#include <unistd.h>

#include "base/memory.h"
#include "proto/pbjson.h"

static Kiln__Factory__V1__PoolStatus *report_pool(const struct pool *pool)
{
	Kiln__Factory__V1__PoolStatus *report = xnew(Kiln__Factory__V1__PoolStatus);
	struct pool_counts counts;

	kiln__factory__v1__pool_status__init(report);
	pool_counts(pool, &counts);
	report->target = counts.target;
	report->parked = counts.parked;
	report->coming = counts.coming;
	report->claimed = counts.claimed;
	report->waiting = counts.waiting;
	report->automatic = counts.automatic;
	report->claims_per_s = counts.claims_per_s;
	report->spares = counts.spares;
	report->spares_target = counts.spares_target;
	report->mode = xstrdup(pool_mode_to_string(pool_mode(pool)));
	report->obstacle = xstrdup(pool_obstacle(pool) ? pool_obstacle(pool) : "");
	return report;
}

static Kiln__Factory__V1__ClaimStatus *report_claims(const struct metrics *metrics)
{
	Kiln__Factory__V1__ClaimStatus *report = xnew(Kiln__Factory__V1__ClaimStatus);
	const struct latency *hits = &metrics->latencies[HISTOGRAM_CLAIM_POOLED];
	struct latency all = *hits;

	kiln__factory__v1__claim_status__init(report);
	latency_merge(&all, &metrics->latencies[HISTOGRAM_CLAIM_CLONED]);
	report->hits = metrics_sum(metrics, COUNTER_CLAIMS_POOLED);
	report->clones = metrics_sum(metrics, COUNTER_CLAIMS_CLONED);
	report->boots = metrics_sum(metrics, COUNTER_CLAIMS_BOOTED);
	report->failed = metrics_sum(metrics, COUNTER_CLAIMS_FAILED);
	report->p50_us = latency_quantile_us(&all, 0.50);
	report->p99_us = latency_quantile_us(&all, 0.99);
	report->hit_p50_us = latency_quantile_us(hits, 0.50);
	report->hit_p99_us = latency_quantile_us(hits, 0.99);
	return report;
}

static Kiln__Factory__V1__MemoryStatus *report_memory(struct slot *slot,
						      const struct footprint *footprint)
{
	Kiln__Factory__V1__MemoryStatus *report = xnew(Kiln__Factory__V1__MemoryStatus);
	const struct template_manifest *manifest = slot_manifest(slot);
	struct memory_use use;

	kiln__factory__v1__memory_status__init(report);
	footprint_of(footprint, slot_name(slot), &use);
	report->shared_bytes = manifest ? manifest->memory_allocated_bytes : 0;
	report->private_bytes = use.private_bytes;
	report->pss_bytes = use.pss_bytes;
	report->machines = use.machines;
	return report;
}

static void report_manifest(const struct template_manifest *manifest,
			    Kiln__Factory__V1__TemplateStatus *report)
{
	report->id = xstrdup(manifest->id);
	report->baked_at = manifest->baked_at;
	report->memory_bytes = manifest->memory_bytes;
	report->memory_allocated_bytes = manifest->memory_allocated_bytes;
	report->bake_ms = manifest->bake_ms;
	report->boot_ms = manifest->boot_ms;
}

Kiln__Factory__V1__TemplateStatus *report_template(struct slot *slot,
						   const struct footprint *footprint)
{
	Kiln__Factory__V1__TemplateStatus *report = xnew(Kiln__Factory__V1__TemplateStatus);

	kiln__factory__v1__template_status__init(report);
	report->name = xstrdup(slot_name(slot));
	/* A template that cannot be cloned is as broken as one that could not be baked. */
	report->state = xstrdup(slot_state_to_string(
		pool_is_broken(slot_pool(slot)) ? SLOT_BROKEN : slot_state(slot)));
	report->phase = xstrdup(slot_phase(slot));
	report->error = xstrdup(slot_error(slot));
	report->stale = xstrdup(slot_stale(slot));
	report->rebuilding = slot_rebuilding(slot);
	report->rebuild_error = xstrdup(slot_rebuild_error(slot));
	if (slot_manifest(slot))
		report_manifest(slot_manifest(slot), report);
	report->pool = report_pool(slot_pool(slot));
	report->claims = report_claims(slot_metrics(slot));
	report->memory = report_memory(slot, footprint);
	return report;
}

static void report_templates(struct factory *factory, const struct footprint *footprint,
			     Kiln__Factory__V1__StatusResponse *report)
{
	struct slot *slot = NULL;

	while ((slot = factory_next_slot(factory, slot))) {
		report->templates = xrealloc_array(report->templates, report->n_templates + 1,
						   sizeof(*report->templates));
		report->templates[report->n_templates++] = report_template(slot, footprint);
	}
}

static void report_counters(const struct metrics *metrics,
			    Kiln__Factory__V1__StatusResponse *report)
{
	report->counters = xnew_array(Kiln__Factory__V1__Counter *, metrics->used + 1);
	for (size_t i = 0; i < metrics->used; i++) {
		const struct count *count = &metrics->counts[i];
		Kiln__Factory__V1__Counter *counter = xnew(Kiln__Factory__V1__Counter);
		kiln__factory__v1__counter__init(counter);
		counter->name = xstrdup(counter_to_string(count->counter));
		counter->reason = xstrdup(count->reason);
		counter->value = count->value;
		report->counters[report->n_counters++] = counter;
	}
}

static Kiln__Factory__V1__MemoryStatus *sum_memory(const Kiln__Factory__V1__StatusResponse *report)
{
	Kiln__Factory__V1__MemoryStatus *sum = xnew(Kiln__Factory__V1__MemoryStatus);

	kiln__factory__v1__memory_status__init(sum);
	for (size_t i = 0; i < report->n_templates; i++) {
		const Kiln__Factory__V1__MemoryStatus *one = report->templates[i]->memory;
		sum->shared_bytes += one->shared_bytes;
		sum->private_bytes += one->private_bytes;
		sum->pss_bytes += one->pss_bytes;
		sum->machines += one->machines;
	}
	return sum;
}

static Kiln__Factory__V1__ImageCacheStatus *report_images(const struct images *images)
{
	Kiln__Factory__V1__ImageCacheStatus *report = xnew(Kiln__Factory__V1__ImageCacheStatus);
	struct images_status status;

	kiln__factory__v1__image_cache_status__init(report);
	images_status(images, &status);
	report->dir = xstrdup(status.dir);
	report->images = status.count;
	report->bytes = status.bytes;
	report->limit_bytes = status.limit_bytes;
	report->making = xstrdup(status.making);
	report->queued = status.queued;
	report->error = xstrdup(status.error);
	return report;
}

/* Of the factory and of all its templates. */
static void merge_all(struct factory *factory, struct metrics *ret)
{
	struct slot *slot = NULL;

	metrics_merge(ret, factory_metrics(factory));
	while ((slot = factory_next_slot(factory, slot)))
		metrics_merge(ret, slot_metrics(slot));
}

static Kiln__Factory__V1__Latency *report_latency(enum histogram histogram,
						  const struct latency *latency)
{
	Kiln__Factory__V1__Latency *report = xnew(Kiln__Factory__V1__Latency);

	kiln__factory__v1__latency__init(report);
	report->name = xstrdup(histogram_to_string(histogram));
	report->n_buckets = ARRAY_SIZE(latency->buckets);
	report->buckets = xnew_array(uint64_t, report->n_buckets);
	memcpy(report->buckets, latency->buckets, sizeof(latency->buckets));
	report->count = latency->count;
	report->sum_us = latency->sum_ns / 1000;
	report->p50_us = latency_quantile_us(latency, 0.50);
	report->p99_us = latency_quantile_us(latency, 0.99);
	report->max_us = latency->max_ns / 1000;
	return report;
}

Kiln__Factory__V1__LatenciesResponse *report_latencies(struct factory *factory)
{
	Kiln__Factory__V1__LatenciesResponse *report = xnew(Kiln__Factory__V1__LatenciesResponse);
	struct metrics all = {};

	kiln__factory__v1__latencies_response__init(report);
	merge_all(factory, &all);
	report->n_edges_us = METRICS_BUCKETS;
	report->edges_us = xnew_array(uint64_t, METRICS_BUCKETS);
	memcpy(report->edges_us, metrics_bucket_us, sizeof(metrics_bucket_us));
	report->latencies = xnew_array(Kiln__Factory__V1__Latency *, HISTOGRAM_MAX_);
	for (enum histogram h = 0; h < HISTOGRAM_MAX_; h++)
		report->latencies[report->n_latencies++] = report_latency(h, &all.latencies[h]);
	metrics_done(&all);
	return report;
}

Kiln__Factory__V1__StatusResponse *report_status(struct factory *factory,
						 const struct footprint *footprint)
{
	Kiln__Factory__V1__StatusResponse *report = xnew(Kiln__Factory__V1__StatusResponse);
	struct metrics all = {};

	kiln__factory__v1__status_response__init(report);
	merge_all(factory, &all);
	report->version = xstrdup(KILN_VERSION);
	report->pid = (uint32_t)getpid();
	report->uptime_s = factory_uptime_s(factory);
	const struct template_host *host = factory_look_at_host(factory);
	report->accelerator = xstrdup(accelerator_to_string(host->accelerator));
	report->kvm_obstacle = xstrdup(host->kvm_obstacle ? host->kvm_obstacle : "");
	report_templates(factory, footprint, report);
	report_counters(&all, report);
	report->claims = report_claims(&all);
	report->memory = sum_memory(report);
	if (factory_images(factory))
		report->image_cache = report_images(factory_images(factory));
	metrics_done(&all);
	return report;
}

char *report_status_json(struct factory *factory, const struct footprint *footprint)
{
	Kiln__Factory__V1__StatusResponse *report = report_status(factory, footprint);
	json_t *json = json_object();
	bool on = false;

	for (size_t i = 0; i < report->n_templates; i++)
		on = on || str_equal(report->templates[i]->state, slot_state_to_string(SLOT_READY));
	json_object_set_new(json, "on", json_boolean(on));
	json_t *rest = pbjson_from_message(&report->base, PBJSON_EMIT_DEFAULTS);
	json_object_update(json, rest);
	json_decref(rest);
	char *text = json_dumps(json, JSON_INDENT(2) | JSON_ENSURE_ASCII);
	json_decref(json);
	protobuf_c_message_free_unpacked(&report->base, NULL);
	return text;
}
