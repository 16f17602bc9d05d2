/* What N sandboxes that read one large image take of the host's memory: the host is to hold the
 * image once, whatever N is.
 *
 * density.image_WHO has a row of N, x; WHO is a driver of root file systems: overlay (an image of
 * the layers in a DAX window) and share. All figures are MiB of all N together:
 *
 *   idle_pss, read_pss          sum of the VMMs' Pss when all run, and when all have read the file
 *   read_cached, read_available what reading has added to the host's page cache, and taken of what
 * is available; on a busy host also what others did file                        what each of them
 * has read
 *
 * density.image_copies_WHO is (read_pss - idle_pss) : file. */

#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/spawn.h"
#include "bench/ctr.h"
#include "bench/factory_client.h"
#include "bench/processes.h"
#include "bench/scenarios.h"
#include "bench/smaps.h"

#define SCRATCH  "/tmp"
#define FILE_IN  "/data/large" /* bench/files-image */
#define FILE_MIB 200

static const char *const drivers[] = { "overlay", "share" };

struct memory {
	double pss, cached, available;
};

/* ---------------------------------------------------------------- containers */

static int start_container(struct bench *bench, const char *config, const char *driver,
			   const char *id, struct error *err)
{
	_cleanup_(strv_done) struct strv argv = {};
	_cleanup_free_ char *output = NULL;
	int r = factory_warm(bench->loop, bench->options.factory, 1, err);

	if (r < 0)
		return r;
	ctr_run_begin(bench, CTR_KILN, config, "-d", &argv);
	strv_addf(&argv, "--annotation=io.kiln.rootfs=%s", driver);
	strv_add(&argv, bench->options.files_image);
	strv_add(&argv, id);
	strv_add(&argv, "sleep");
	strv_add(&argv, "3600");
	return spawn_and_wait(argv.items, &output, err);
}

static int read_file(struct bench *bench, const char *id, struct error *err)
{
	_cleanup_(strv_done) struct strv argv = {};
	_cleanup_free_ char *output = NULL;

	ctr_begin(bench, "tasks", &argv);
	strv_add(&argv, "exec");
	strv_add(&argv, "--exec-id=read");
	strv_add(&argv, id);
	strv_add(&argv, "cp");
	strv_add(&argv, FILE_IN);
	strv_add(&argv, "/dev/null");
	return spawn_and_wait(argv.items, &output, err);
}

/* ---------------------------------------------------------------- memory */

static int read_memory(struct bench *bench, struct memory *ret_memory, struct error *err)
{
	struct memory memory = { .cached = meminfo_read("Cached"),
				 .available = meminfo_read("MemAvailable") };
	struct smaps sum;

	int r = claimed_memory(bench->loop, bench->options.factory, &sum, err);
	if (r < 0)
		return r;
	memory.pss = sum.pss;
	*ret_memory = memory;
	return 0;
}

static void add_row(struct bench *bench, const char *driver, unsigned sandboxes,
		    const struct memory *idle, const struct memory *read)
{
	_cleanup_free_ char *table = xasprintf("density.image_%s", driver);
	_cleanup_free_ char *copies = xasprintf("density.image_copies_%s", driver);
	json_t *row = result_add_row(bench->result, table);

	row_set(row, "x", sandboxes);
	row_set(row, "file_mib", FILE_MIB);
	row_set(row, "idle_pss_mib", idle->pss);
	row_set(row, "read_pss_mib", read->pss);
	row_set(row, "read_cached_mib", read->cached - idle->cached);
	row_set(row, "read_available_mib", idle->available - read->available);
	result_set(bench->result, copies, (read->pss - idle->pss) / FILE_MIB);
}

/* ---------------------------------------------------------------- the scenario */

static int start_and_read(struct bench *bench, const char *config, const char *driver,
			  unsigned wanted, struct strv *ids, struct error *err)
{
	struct memory idle, read;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < wanted; i++) {
		progress_step(&bench->progress, i, wanted);
		char *id = bench_id(bench);
		r = start_container(bench, config, driver, id, err);
		if (r == 0)
			strv_take(ids, id);
		else
			free(id);
	}
	if (r == 0)
		r = read_memory(bench, &idle, err);
	for (size_t i = 0; r == 0 && i < ids->count; i++)
		r = read_file(bench, ids->items[i], err);
	if (r == 0)
		r = read_memory(bench, &read, err);
	if (r == 0)
		add_row(bench, driver, wanted, &idle, &read);
	return r;
}

static int measure(struct bench *bench, const char *config, const char *driver, struct error *err)
{
	_cleanup_(error_done) struct error ignored = {};
	_cleanup_(strv_done) struct strv ids = {};
	int r = start_and_read(bench, config, driver, bench->options.counts[COUNT_IMAGES], &ids,
			       err);

	for (size_t i = 0; i < ids.count; i++) {
		int deleted = ctr_delete(bench, ids.items[i], r < 0 ? &ignored : err);
		r = r < 0 ? r : deleted;
	}
	return r < 0 ? error_wrap(err, "an image read by %s", driver) : 0;
}

int scenario_images(struct bench *bench, struct error *err)
{
	const struct bench_options *options = &bench->options;
	_cleanup_free_ char *folder = NULL;

	if (options->counts[COUNT_IMAGES] == 0)
		return 0;
	int r = bench_make_folder(SCRATCH, &folder, err);
	if (r < 0)
		return r;
	_cleanup_free_ char *config = path_join(folder, "kiln.json");
	r = ctr_write_config(options->factory, config, err);
	if (r == 0)
		r = ctr_prepare_image(bench, options->factory, options->files_image, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(drivers); i++)
		r = measure(bench, config, drivers[i], err);
	(void)!path_remove(folder, NULL);
	return r;
}
