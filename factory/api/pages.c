#include "factory/api/pages.h"

#include <stdlib.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "factory/api/http.h"
#include "factory/api/metrics_text.h"
#include "factory/api/report.h"
#include "factory/core/factory.h"

struct pages {
	struct factory *factory;
	struct footprint *footprint;
	struct http *local, *loopback;
};

/* A page that waits for a measurement. */
struct visit {
	struct pages *pages;
	struct http_request *request;
};

static struct visit *visit_new(struct pages *pages, struct http_request *request)
{
	struct visit *visit = xnew(struct visit);

	*visit = (struct visit){ .pages = pages, .request = request };
	return visit;
}

/* ---------------------------------------------------------------- /metrics */

#define LABELS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void add_factory(struct factory *factory, struct strbuf *b)
{
	const struct template_host *host = factory_look_at_host(factory);
	const char *accelerator = accelerator_to_string(host->accelerator);

	text_family(b, "kiln_build_info", "gauge", "Version and accelerator; always 1");
	text_sample(b, "kiln_build_info",
		    LABELS("version", KILN_VERSION, "accelerator", accelerator), 1);
	text_family(b, "kiln_kvm_unusable", "gauge",
		    "1 where machines are emulated though the processor has what KVM needs");
	text_sample(b, "kiln_kvm_unusable", LABELS(NULL), host->kvm_obstacle != NULL);
	text_family(b, "kiln_start_time_seconds", "gauge", "When the factory started");
	text_sample(b, "kiln_start_time_seconds", LABELS(NULL),
		    (uint64_t)time(NULL) - factory_uptime_s(factory));
}

static void add_states(struct slot *slot, struct strbuf *b)
{
	const char *name;

	for (enum slot_state s = 0; !str_equal(name = slot_state_to_string(s), "invalid"); s++)
		text_sample(b, "kiln_template_state",
			    LABELS("template", slot_name(slot), "state", name),
			    slot_state(slot) == s);
}

static void add_machines(struct slot *slot, struct strbuf *b)
{
	struct pool *pool = slot_pool(slot);
	struct pool_member *member = NULL;
	struct pool_counts counts;
	uint64_t all = 0;

	pool_counts(pool, &counts);
	while ((member = pool_next(pool, member)))
		all++;
	const struct {
		const char *state;
		uint64_t machines;
	} lists[] = {
		{ "coming", counts.coming },
		{ "spare", counts.spares },
		{ "parked", counts.parked },
		{ "claimed", counts.claimed },
		{ "ending", all - counts.coming - counts.spares - counts.parked - counts.claimed },
	};
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		text_sample(b, "kiln_pool_machines",
			    LABELS("template", slot_name(slot), "state", lists[i].state),
			    lists[i].machines);
}

static uint64_t pool_target(struct slot *slot, const struct footprint *footprint _unused_)
{
	struct pool_counts counts;

	pool_counts(slot_pool(slot), &counts);
	return counts.target;
}

static uint64_t pool_waiting(struct slot *slot, const struct footprint *footprint _unused_)
{
	struct pool_counts counts;

	pool_counts(slot_pool(slot), &counts);
	return counts.waiting;
}

static uint64_t template_stale(struct slot *slot, const struct footprint *footprint _unused_)
{
	return !str_empty(slot_stale(slot));
}

static uint64_t template_memory(struct slot *slot, const struct footprint *footprint _unused_)
{
	return slot_manifest(slot) ? slot_manifest(slot)->memory_bytes : 0;
}

static uint64_t template_shared(struct slot *slot, const struct footprint *footprint _unused_)
{
	return slot_manifest(slot) ? slot_manifest(slot)->memory_allocated_bytes : 0;
}

static uint64_t machines_pss(struct slot *slot, const struct footprint *footprint)
{
	struct memory_use use;

	footprint_of(footprint, slot_name(slot), &use);
	return use.pss_bytes;
}

static uint64_t machines_private(struct slot *slot, const struct footprint *footprint)
{
	struct memory_use use;

	footprint_of(footprint, slot_name(slot), &use);
	return use.private_bytes;
}

static uint64_t machines_measured(struct slot *slot, const struct footprint *footprint)
{
	struct memory_use use;

	footprint_of(footprint, slot_name(slot), &use);
	return use.machines;
}

static const struct {
	const char *name, *help;
	uint64_t (*value)(struct slot *slot, const struct footprint *footprint);
} gauges[] = {
	{ "kiln_pool_target", "Machines to keep parked", pool_target },
	{ "kiln_pool_waiting_claims", "Claims that wait for a machine", pool_waiting },
	{ "kiln_template_stale",
	  "1 where an input of the template is not what it was baked from any more",
	  template_stale },
	{ "kiln_template_memory_bytes", "Guest RAM of the template", template_memory },
	{ "kiln_template_shared_bytes",
	  "What the template's RAM takes up, which its machines share", template_shared },
	{ "kiln_machines_pss_bytes",
	  "Proportional set size of the template's measured machines, together", machines_pss },
	{ "kiln_machines_private_bytes",
	  "Memory of the template's measured machines that they share with nobody",
	  machines_private },
	{ "kiln_machines_measured", "Machines whose memory could be measured in time",
	  machines_measured },
};

static void add_gauges(struct factory *factory, const struct footprint *footprint, struct strbuf *b)
{
	struct slot *slot = NULL;

	text_family(b, "kiln_template_state", "gauge", "1 for the state the template is in");
	while ((slot = factory_next_slot(factory, slot)))
		add_states(slot, b);
	text_family(b, "kiln_pool_machines", "gauge", "Machines by what they are doing");
	while ((slot = factory_next_slot(factory, slot)))
		add_machines(slot, b);
	for (size_t i = 0; i < ARRAY_SIZE(gauges); i++) {
		text_family(b, gauges[i].name, "gauge", gauges[i].help);
		while ((slot = factory_next_slot(factory, slot)))
			text_sample(b, gauges[i].name, LABELS("template", slot_name(slot)),
				    gauges[i].value(slot, footprint));
	}
}

static void add_images(const struct images *images, struct strbuf *b)
{
	struct images_status status;

	images_status(images, &status);
	text_family(b, "kiln_image_cache_images", "gauge", "Images in the cache of images");
	text_sample(b, "kiln_image_cache_images", LABELS(NULL), status.count);
	text_family(b, "kiln_image_cache_bytes", "gauge", "What they take up together");
	text_sample(b, "kiln_image_cache_bytes", LABELS(NULL), status.bytes);
}

/* What scratch disks can still grow by. */
static void add_scratch(const char *dir, struct strbuf *b)
{
	struct statvfs st;

	if (statvfs(dir, &st) < 0)
		return;
	text_family(b, "kiln_scratch_free_bytes", "gauge",
		    "Free on the file system of the scratch disks");
	text_sample(b, "kiln_scratch_free_bytes", LABELS(NULL),
		    (uint64_t)st.f_bavail * st.f_frsize);
	text_family(b, "kiln_scratch_size_bytes", "gauge",
		    "Size of the file system of the scratch disks");
	text_sample(b, "kiln_scratch_size_bytes", LABELS(NULL),
		    (uint64_t)st.f_blocks * st.f_frsize);
}

void pages_metrics(struct factory *factory, const struct footprint *footprint, struct strbuf *b)
{
	_cleanup_free_ struct metrics_set *sets = xnew(struct metrics_set);
	struct slot *slot = NULL;
	size_t nsets = 1;

	sets[0] = (struct metrics_set){ "", factory_metrics(factory) };
	while ((slot = factory_next_slot(factory, slot))) {
		sets = xrealloc_array(sets, nsets + 1, sizeof(*sets));
		sets[nsets++] = (struct metrics_set){ slot_name(slot), slot_metrics(slot) };
	}
	add_factory(factory, b);
	add_gauges(factory, footprint, b);
	add_scratch(factory_config(factory)->scratch_dir, b);
	if (factory_images(factory))
		add_images(factory_images(factory), b);
	text_counters(b, sets, nsets);
	text_histograms(b, sets, nsets);
}

static void metrics_answer(int number _unused_, const struct error *err _unused_, void *userdata)
{
	_cleanup_(strbuf_done) struct strbuf b = {};
	_cleanup_free_ struct visit *visit = userdata;

	pages_metrics(visit->pages->factory, visit->pages->footprint, &b);
	http_reply(visit->request, 200, METRICS_TEXT_TYPE, strbuf_text(&b));
}

static void on_metrics(struct http_request *request, void *userdata)
{
	struct pages *pages = userdata;

	footprint_measure(pages->footprint, metrics_answer, visit_new(pages, request));
}

/* ---------------------------------------------------------------- /status */

static void status_answer(int number _unused_, const struct error *err _unused_, void *userdata)
{
	_cleanup_free_ struct visit *visit = userdata;
	_cleanup_free_ char *json = report_status_json(visit->pages->factory,
						       visit->pages->footprint);

	http_reply(visit->request, 200, HTTP_JSON, json);
}

static void on_status(struct http_request *request, void *userdata)
{
	struct pages *pages = userdata;

	footprint_measure(pages->footprint, status_answer, visit_new(pages, request));
}

/* ---------------------------------------------------------------- /healthz, /readyz */

static void on_healthz(struct http_request *request, void *userdata _unused_)
{
	http_reply(request, 200, HTTP_TEXT, "ok\n");
}

static bool slot_ready(struct slot *slot, struct strbuf *reasons)
{
	const char *more = slot_state(slot) == SLOT_BAKING ? slot_phase(slot) : slot_error(slot);
	struct pool_counts counts;

	pool_counts(slot_pool(slot), &counts);
	if (slot_state(slot) != SLOT_READY)
		strbuf_addf(reasons, "template %s is %s", slot_name(slot),
			    slot_state_to_string(slot_state(slot)));
	else if (counts.parked == 0 && counts.target > 0)
		strbuf_addf(reasons, "template %s has no machine parked", slot_name(slot));
	else
		return true;
	strbuf_addf(reasons, "%s%s\n", str_empty(more) ? "" : ": ", more);
	return false;
}

bool pages_ready(struct factory *factory, struct strbuf *reasons)
{
	struct slot *slot = NULL;
	bool ready = !factory_stopping(factory);

	if (!ready)
		strbuf_adds(reasons, "the factory is stopping\n");
	while ((slot = factory_next_slot(factory, slot)))
		ready = slot_ready(slot, reasons) && ready;
	return ready;
}

static void on_readyz(struct http_request *request, void *userdata)
{
	_cleanup_(strbuf_done) struct strbuf reasons = {};
	struct pages *pages = userdata;

	if (pages_ready(pages->factory, &reasons))
		http_reply(request, 200, HTTP_TEXT, "ready\n");
	else
		http_reply(request, 503, HTTP_TEXT, strbuf_text(&reasons));
}

/* ---------------------------------------------------------------- the pages */

static const struct http_page pages_served[] = {
	{ "/metrics", on_metrics },
	{ "/status", on_status },
	{ "/healthz", on_healthz },
	{ "/readyz", on_readyz },
};

static int pages_listen(struct pages *pages, struct loop *loop, int http_fd, struct error *err)
{
	const struct factory_config *config = factory_config(pages->factory);
	int fd = -EBADF;

	pages->local = http_new(loop, http_fd, pages_served, ARRAY_SIZE(pages_served),
				HTTP_DEADLINE_MS, pages);
	if (config->http_port == 0)
		return 0;
	int r = http_listen_loopback((uint16_t)config->http_port, &fd, err);
	if (r < 0)
		return error_wrap(err, "cannot serve http_port");
	pages->loopback = http_new(loop, fd, pages_served, ARRAY_SIZE(pages_served),
				   HTTP_DEADLINE_MS, pages);
	return 0;
}

int pages_new(struct loop *loop, struct factory *factory, struct footprint *footprint, int http_fd,
	      struct pages **ret_pages, struct error *err)
{
	struct pages *pages = xnew(struct pages);

	pages->factory = factory;
	pages->footprint = footprint;
	int r = pages_listen(pages, loop, http_fd, err);
	if (r < 0) {
		pages_free(pages);
		return r;
	}
	*ret_pages = pages;
	return 0;
}

void pages_free(struct pages *pages)
{
	if (!pages)
		return;
	http_free(pages->local);
	http_free(pages->loopback);
	free(pages);
}
