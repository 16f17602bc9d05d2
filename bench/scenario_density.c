/* Memory of N clones, parked and running (a sandbox made and a container run in each), of a
 * template that they share and of one that says "share": "never"; and of machines booted cold,
 * which share nothing with each other but files.
 *
 * Each row is of one N, x; figures are MiB a machine:
 *   ram_private, ram_shared, heap, libraries, image   Pss by part (bench/smaps.h)
 *   pss, private                                      the sum; pages of no other process
 *   kernel                                            page tables and kernel stacks
 *   unmapped                                          of clones: what is in memory of the
 *                     template's files and of the machines' copies of them, and mapped by none
 *   counted                                           everything counted: Pss, kernel, unmapped
 *                     and, by its Nth part, the factory's own Pss
 * and of the host as a whole, MiB a machine more than with none: slab, page_cache, available.
 * On a busy host these three hold what others did meanwhile; the target uses none of them.
 */

#include "base/file.h"
#include "base/memory.h"
#include "bench/booted.h"
#include "bench/factory_client.h"
#include "bench/sandbox.h"
#include "bench/scenarios.h"
#include "bench/smaps.h"

#define BOOTED_MOST 4

static const unsigned sizes[] = { 1, 10, 50, 100 };

/* The clones of one factory. */
struct clones {
	const char *factory; /* address */
	const char *parked;  /* name of the table */
	const char *running; /* ditto */
	const char *share;   /* what their template is to say; NULL: anything */
	char *ram;           /* owned; the template's files */
	char *image;         /* ditto */
};

struct host_memory {
	double slab;
	double page_cache;
	double available;
};

static void clones_done(struct clones *clones)
{
	free(clones->ram);
	free(clones->image);
}

static struct host_memory host_memory(void)
{
	return (struct host_memory){ .slab = meminfo_read("Slab"),
				     .page_cache = meminfo_read("Cached"),
				     .available = meminfo_read("MemAvailable") };
}

/* ---------------------------------------------------------------- a row */

static void set_parts(json_t *row, const struct smaps *sum, unsigned machines)
{
	const struct {
		const char *key;
		double mib;
	} parts[] = {
		{ "ram_private_mib", sum->ram_private },
		{ "ram_shared_mib", sum->ram_shared },
		{ "heap_mib", sum->heap },
		{ "libraries_mib", sum->libraries },
		{ "image_mib", sum->image },
		{ "pss_mib", sum->pss },
		{ "private_mib", sum->private_ },
		{ "kernel_mib", sum->kernel },
	};

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		row_set(row, parts[i].key, parts[i].mib / machines);
}

static void set_host(json_t *row, const struct host_memory *before, unsigned machines)
{
	struct host_memory now = host_memory();

	row_set(row, "slab_mib", (now.slab - before->slab) / machines);
	row_set(row, "page_cache_mib", (now.page_cache - before->page_cache) / machines);
	row_set(row, "available_mib", (before->available - now.available) / machines);
}

/* ---------------------------------------------------------------- clones */

/* Bakes its template where that was not done yet. */
static int clones_init(struct bench *bench, struct clones *clones, struct error *err)
{
	_cleanup_(inspect_response_free_cleanup)
		Kiln__Factory__V1__InspectResponse *inspected = NULL;

	int r = factory_init(bench->loop, clones->factory, err);
	if (r == 0)
		r = factory_inspect(bench->loop, clones->factory, &inspected, err);
	if (r < 0 || !inspected)
		return r;
	if (clones->share && !str_equal(factory_input(inspected, "share"), clones->share))
		return error_set(err, EINVAL,
				 "the template of the factory at %s does not say \"share\": \"%s\"",
				 clones->factory, clones->share);
	clones->ram = path_join(inspected->dir, "memory");
	clones->image = path_join(inspected->dir, "image");
	return 0;
}

/* What its files have in memory; clones that read a small hole of one fill it. */
static int template_memory(const struct clones *clones, double *ret_mib, struct error *err)
{
	double ram = 0, image = 0;

	int r = file_mib_read(clones->ram, &ram, err);
	if (r == 0)
		r = file_mib_read(clones->image, &image, err);
	*ret_mib = ram + image;
	return r;
}

static int machines_memory(struct bench *bench, const struct clones *clones, const char *state,
			   unsigned wanted, struct smaps *ret_sum, struct error *err)
{
	_cleanup_(list_response_free_cleanup) Kiln__Factory__V1__ListResponse *list = NULL;
	unsigned found = 0;

	int r = factory_list(bench->loop, clones->factory, &list, err);
	*ret_sum = (struct smaps){};
	for (size_t i = 0; r == 0 && i < list->n_vms; i++) {
		struct smaps smaps;
		if (!str_equal(list->vms[i]->state, state))
			continue;
		r = smaps_read((pid_t)list->vms[i]->pid, clones->ram, clones->image, &smaps, err);
		if (r == 0)
			smaps_add(ret_sum, &smaps);
		found++;
	}
	if (r == 0 && found != wanted)
		return error_set(err, EIO, "%u machines are %s, not %u", found, state, wanted);
	return r;
}

static int factory_memory(struct bench *bench, const char *factory, struct smaps *ret_smaps,
			  struct error *err)
{
	_cleanup_(status_response_free_cleanup) Kiln__Factory__V1__StatusResponse *status = NULL;

	int r = factory_status(bench->loop, factory, &status, err);
	return r < 0 ? r : smaps_read((pid_t)status->pid, NULL, NULL, ret_smaps, err);
}

static int measure(struct bench *bench, const struct clones *clones, const char *table,
		   const char *state, const struct host_memory *before, unsigned machines,
		   struct error *err)
{
	struct smaps sum = {}, factory = {};
	double files = 0;

	int r = machines_memory(bench, clones, state, machines, &sum, err);
	if (r == 0)
		r = factory_memory(bench, clones->factory, &factory, err);
	if (r == 0)
		r = template_memory(clones, &files, err);
	if (r < 0)
		return r;
	double unmapped = files + sum.own_files - sum.mapped;
	double counted = sum.pss + sum.kernel + unmapped + factory.pss;
	json_t *row = result_add_row(bench->result, table);
	row_set(row, "x", machines);
	row_set(row, "counted_mib", counted / machines);
	set_parts(row, &sum, machines);
	row_set(row, "unmapped_mib", unmapped / machines);
	set_host(row, before, machines);
	row_set(row, "factory_private_mib", factory.private_);
	return 0;
}

static int run_one(struct bench *bench, const char *factory, struct claim **ret_claim,
		   struct error *err)
{
	int r = sandbox_claim(bench, factory, ret_claim, err);

	if (r == 0)
		r = sandbox_create(bench, (*ret_claim)->agent, err);
	if (r == 0)
		claim_confirm(*ret_claim);
	return r < 0 ? r : sandbox_start_container(bench, (*ret_claim)->agent, err);
}

static int running(struct bench *bench, const struct clones *clones,
		   const struct host_memory *before, unsigned machines, struct error *err)
{
	_cleanup_free_ struct claim **claims = xnew_array(struct claim *, machines);
	_cleanup_(error_done) struct error ignored = {};
	unsigned count = 0;
	int r = 0;

	while (r == 0 && count < machines)
		r = run_one(bench, clones->factory, &claims[count++], err);
	if (r == 0)
		r = measure(bench, clones, clones->running, "claimed", before, machines, err);
	for (unsigned i = 0; i < count; i++) {
		if (!claims[i])
			continue;
		int released = sandbox_release(bench, clones->factory, claims[i],
					       r < 0 ? &ignored : err);
		r = r < 0 ? r : released;
	}
	return r;
}

static int parked_then_running(struct bench *bench, const struct clones *clones, unsigned machines,
			       struct error *err)
{
	int r = factory_empty(bench->loop, clones->factory, err);
	struct host_memory before = host_memory();

	if (r == 0)
		r = factory_warm(bench->loop, clones->factory, machines, err);
	if (r == 0)
		r = measure(bench, clones, clones->parked, "parked", &before, machines, err);
	return r < 0 ? r : running(bench, clones, &before, machines, err);
}

static int clones_of_all_sizes(struct bench *bench, const struct clones *clones, unsigned most,
			       struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(sizes) && sizes[i] <= most; i++) {
		progress_step(&bench->progress, sizes[i], most);
		r = parked_then_running(bench, clones, sizes[i], err);
	}
	return r;
}

/* ---------------------------------------------------------------- booted machines */

static int booted(struct bench *bench, const char *image, unsigned machines, struct error *err)
{
	struct host_memory before = host_memory();
	struct booted *booted[BOOTED_MOST] = {};
	struct smaps sum = {}, smaps;
	uint64_t ns;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < machines; i++)
		r = booted_new(bench, bench->options.factory, &booted[i], &ns, err);
	for (unsigned i = 0; r == 0 && i < machines; i++) {
		r = smaps_read(booted_pid(booted[i]), NULL, image, &smaps, err);
		if (r == 0)
			smaps_add(&sum, &smaps);
	}
	if (r == 0) {
		json_t *row = result_add_row(bench->result, "density.booted");
		row_set(row, "x", machines);
		row_set(row, "counted_mib", (sum.pss + sum.kernel) / machines);
		set_parts(row, &sum, machines);
		set_host(row, &before, machines);
		result_set(bench->result, "density.booted_mib", (sum.pss + sum.kernel) / machines);
	}
	for (unsigned i = 0; i < machines; i++)
		if (booted[i])
			booted_free(booted[i]);
	return r;
}

/* ---------------------------------------------------------------- the scenario */

static void set_values(struct bench *bench)
{
	const json_t *at_50 = result_row(bench->result, "density.parked", "x", 50);
	const json_t *at_100 = result_row(bench->result, "density.parked", "x", 100);

	if (at_50)
		result_set(bench->result, "density.parked_50_mib", row_get(at_50, "counted_mib"));
	if (at_100)
		result_set(bench->result, "memory.factory_at_100_mib",
			   row_get(at_100, "factory_private_mib"));
}

static int unshared(struct bench *bench, struct error *err)
{
	_cleanup_(clones_done) struct clones clones = { .factory = bench->options.unshared,
							.parked = "density.unshared_parked",
							.running = "density.unshared_running",
							.share = "never" };
	unsigned most = bench->options.counts[COUNT_DENSITY_UNSHARED];

	if (!clones.factory || most == 0)
		return 0;
	int r = clones_init(bench, &clones, err);
	return r < 0 ? r : clones_of_all_sizes(bench, &clones, most, err);
}

int scenario_density(struct bench *bench, struct error *err)
{
	_cleanup_(clones_done) struct clones clones = { .factory = bench->options.factory,
							.parked = "density.parked",
							.running = "density.running" };
	unsigned most = bench->options.counts[COUNT_DENSITY_MOST];

	int r = clones_init(bench, &clones, err);
	if (r == 0)
		r = clones_of_all_sizes(bench, &clones, most, err);
	if (r == 0)
		r = unshared(bench, err);
	if (r == 0)
		r = booted(bench, clones.image, 1, err);
	if (r == 0 && most > sizes[1])
		r = booted(bench, clones.image, BOOTED_MOST, err);
	if (r == 0)
		set_values(bench);
	return r;
}
