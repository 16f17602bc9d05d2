/* Memory of N machines, parked and running (a sandbox made and a container run in each), and of
 * machines booted cold, which share nothing with each other but files.
 *
 * Each row is of one N, x; figures are MiB a machine:
 *   ram_private, ram_shared, heap, libraries, image   Pss by part (bench/smaps.h)
 *   pss, private                                      the sum; pages of no other process
 *   kernel                                            page tables and kernel stacks
 *   counted                                           everything counted: Pss and kernel, and
 *                     by its Nth part what the template has in memory that no machine maps, and
 *                     the factory's own Pss
 * and of the host as a whole, MiB a machine more than with none: slab, page_cache, available.
 * On a busy host these three hold what others did meanwhile; the target uses none of them.
 */

#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "bench/booted.h"
#include "bench/factory_client.h"
#include "bench/sandbox.h"
#include "bench/scenarios.h"
#include "bench/smaps.h"

#define BOOTED_MOST 4

static const unsigned sizes[] = { 1, 10, 50, 100 };

struct files {
	char *ram;
	char *image;
	double mib; /* of both, allocated */
};

struct host_memory {
	double slab;
	double page_cache;
	double available;
};

static void files_done(struct files *files)
{
	free(files->ram);
	free(files->image);
}

static double allocated_mib(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? (double)st.st_blocks * 512 / (1 << 20) : 0;
}

static int files_of(struct bench *bench, struct files *ret_files, struct error *err)
{
	_cleanup_(inspect_response_free_cleanup)
		Kiln__Factory__V1__InspectResponse *inspected = NULL;

	int r = factory_inspect(bench->loop, bench->options.factory, &inspected, err);
	if (r < 0)
		return r;
	ret_files->ram = path_join(inspected->dir, "memory");
	ret_files->image = path_join(inspected->dir, "image");
	ret_files->mib = allocated_mib(ret_files->ram) + allocated_mib(ret_files->image);
	return 0;
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

static int machines_memory(struct bench *bench, const char *state, const struct files *files,
			   unsigned wanted, struct smaps *ret_sum, struct error *err)
{
	_cleanup_(list_response_free_cleanup) Kiln__Factory__V1__ListResponse *list = NULL;
	unsigned found = 0;

	int r = factory_list(bench->loop, bench->options.factory, &list, err);
	*ret_sum = (struct smaps){};
	for (size_t i = 0; r == 0 && i < list->n_vms; i++) {
		struct smaps smaps;
		if (!str_equal(list->vms[i]->state, state))
			continue;
		r = smaps_read((pid_t)list->vms[i]->pid, files->ram, files->image, &smaps, err);
		if (r == 0)
			smaps_add(ret_sum, &smaps);
		found++;
	}
	if (r == 0 && found != wanted)
		return error_set(err, EIO, "%u machines are %s, not %u", found, state, wanted);
	return r;
}

static int factory_memory(struct bench *bench, struct smaps *ret_smaps, struct error *err)
{
	_cleanup_(status_response_free_cleanup) Kiln__Factory__V1__StatusResponse *status = NULL;

	int r = factory_status(bench->loop, bench->options.factory, &status, err);
	return r < 0 ? r : smaps_read((pid_t)status->pid, NULL, NULL, ret_smaps, err);
}

static int measure(struct bench *bench, const char *table, const char *state,
		   const struct files *files, const struct host_memory *before, unsigned machines,
		   struct error *err)
{
	struct smaps sum = {}, factory = {};

	int r = machines_memory(bench, state, files, machines, &sum, err);
	if (r == 0)
		r = factory_memory(bench, &factory, err);
	if (r < 0)
		return r;
	double unmapped = files->mib - sum.ram_shared - sum.image;
	double counted = sum.pss + sum.kernel + factory.pss + (unmapped > 0 ? unmapped : 0);
	json_t *row = result_add_row(bench->result, table);
	row_set(row, "x", machines);
	row_set(row, "counted_mib", counted / machines);
	set_parts(row, &sum, machines);
	set_host(row, before, machines);
	row_set(row, "factory_private_mib", factory.private_);
	return 0;
}

static int run_one(struct bench *bench, struct claim **ret_claim, struct error *err)
{
	int r = sandbox_claim(bench, bench->options.factory, ret_claim, err);

	if (r == 0)
		r = sandbox_create(bench, (*ret_claim)->agent, err);
	if (r == 0)
		claim_confirm(*ret_claim);
	return r < 0 ? r : sandbox_start_container(bench, (*ret_claim)->agent, err);
}

static int running(struct bench *bench, const struct files *files, const struct host_memory *before,
		   unsigned machines, struct error *err)
{
	_cleanup_free_ struct claim **claims = xnew_array(struct claim *, machines);
	_cleanup_(error_done) struct error ignored = {};
	unsigned count = 0;
	int r = 0;

	while (r == 0 && count < machines)
		r = run_one(bench, &claims[count++], err);
	if (r == 0)
		r = measure(bench, "density.running", "claimed", files, before, machines, err);
	for (unsigned i = 0; i < count; i++) {
		if (!claims[i])
			continue;
		int released = sandbox_release(bench, bench->options.factory, claims[i],
					       r < 0 ? &ignored : err);
		r = r < 0 ? r : released;
	}
	return r;
}

static int clones(struct bench *bench, const struct files *files, unsigned machines,
		  struct error *err)
{
	int r = factory_empty(bench->loop, bench->options.factory, err);
	struct host_memory before = host_memory();

	if (r == 0)
		r = factory_warm(bench->loop, bench->options.factory, machines, err);
	if (r == 0)
		r = measure(bench, "density.parked", "parked", files, &before, machines, err);
	return r < 0 ? r : running(bench, files, &before, machines, err);
}

/* ---------------------------------------------------------------- booted machines */

static int booted(struct bench *bench, unsigned machines, struct error *err)
{
	struct host_memory before = host_memory();
	struct booted *booted[BOOTED_MOST] = {};
	struct smaps sum = {}, smaps;
	uint64_t ns;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < machines; i++)
		r = booted_new(bench, bench->options.factory, &booted[i], &ns, err);
	for (unsigned i = 0; r == 0 && i < machines; i++) {
		r = smaps_read(booted_pid(booted[i]), booted_ram(booted[i]), "/image", &smaps, err);
		if (r == 0)
			smaps_add(&sum, &smaps);
	}
	/* A machine's RAM is a file here too, but its own. */
	sum.ram_private += sum.ram_shared;
	sum.ram_shared = 0;
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

int scenario_density(struct bench *bench, struct error *err)
{
	unsigned most = bench->options.counts[COUNT_DENSITY_MOST];
	_cleanup_(files_done) struct files files = {};

	int r = files_of(bench, &files, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(sizes) && sizes[i] <= most; i++) {
		progress_step(&bench->progress, sizes[i], most);
		r = clones(bench, &files, sizes[i], err);
	}
	if (r == 0)
		r = booted(bench, 1, err);
	if (r == 0 && most > sizes[1])
		r = booted(bench, BOOTED_MOST, err);
	if (r == 0)
		set_values(bench);
	return r;
}
