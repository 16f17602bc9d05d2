/* files.WORK.WHO: what WHO takes for a kind of work on files (bench/work), measured in the place
 * where it is done. In turn, the order of which changes: runc; kiln, with each driver of root file
 * systems that the options name; and the limit, which is the same kernel in the same machine as
 * kiln's, with the same files on a disk of its own and nothing else: no container, no overlay. The
 * place is a container or a machine that is new each time; in it all kinds are done in order,
 * several times.
 *
 * The first of these times is a series of its own, files-first.WORK.WHO: programs and files are
 * read for the first time, and under emulation the code of both is translated.
 *
 * files.WORK.WHO:OTHER and files-first.WORK.WHO:OTHER are ratios of the medians. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/spawn.h"
#include "base/strv.h"
#include "bench/booted.h"
#include "bench/ctr.h"
#include "bench/factory_client.h"
#include "bench/scenarios.h"

#define SCRATCH     "/tmp"
#define MOST        8 /* contestants */
#define PROGRAM_IN  "/bin/kiln-files-work"
#define NS_LARGEST  ((uint64_t)3600 * 1000000000)
#define RUNC        "runc"
#define LIMIT       "limit"
#define DEFAULT     "overlay"                  /* the driver, where none is named */
#define DUMP_RESULT "dump /result /dev/stdout" /* for debugfs */

/* Their names are those of bench/work/work.c. */
static const struct work {
	const char *name;
	unsigned amount;  /* at a scale of 100 */
	const char *what; /* %u: the amount */
} works[] = {
	{ "cpu", 50, "%u million steps of a computation, no files" },
	{ "write", 200, "%u MB written and synced" },
	{ "read", 200, "%u MB read, not from the page cache" },
	{ "small", 5000, "%u writes of 4 KiB" },
	{ "make", 2000, "%u files made" },
	{ "find", 2000, "%u files found" },
	{ "remove", 2000, "%u files removed" },
	{ "untar", 3000, "tar x of %u files" },
	{ "tar", 3000, "tar c of %u files" },
	{ "rm", 3000, "rm -rf of %u files" },
	{ "git-clone", 0, "git clone, 10 commits of 100 files" },
	{ "git-gc", 0, "git gc of the same" },
	{ "mmap", 32, "shared mapping of %u MiB written and synced" },
	{ "walk", 20000, "%u files of the image found" },
	{ "sqlite", 200, "%u transactions in WAL mode" },
};

struct contest {
	struct bench *bench;
	const char *config; /* file for the shim */
	const char *folder; /* for the disk of the limit */
	struct strv who;    /* runc, drivers, limit */
};

/* ---------------------------------------------------------------- what the work prints */

static unsigned scale_of(const struct bench *bench)
{
	return bench->options.counts[COUNT_FILES_SCALE];
}

static unsigned times_of(const struct bench *bench)
{
	return bench->options.counts[COUNT_FILES_TIMES];
}

static char *describe(const struct bench *bench, const struct work *work, bool first)
{
	unsigned amount = work->amount * scale_of(bench) / 100;
	const char *number = strstr(work->what, "%u");

	if (!number)
		return xasprintf("%s%s", work->what, first ? ", first" : "");
	return xasprintf("%.*s%u%s%s", (int)(number - work->what), work->what,
			 amount > 0 ? amount : 1, number + strlen("%u"), first ? ", first" : "");
}

static char *series_name(const struct work *work, const char *who, bool first)
{
	return xasprintf("%s.%s.%s", first ? "files-first" : "files", work->name, who);
}

static struct series *series_of(struct bench *bench, const struct work *work, const char *who,
				bool first)
{
	_cleanup_free_ char *name = series_name(work, who, first);
	_cleanup_free_ char *what = describe(bench, work, first);

	return result_series(bench->result, name, what);
}

/* One line: NAME NANOSECONDS. seen counts those of each kind. */
static int read_line(struct bench *bench, char *line, const char *who,
		     unsigned seen[static ARRAY_SIZE(works)], struct error *err)
{
	char *space = strchr(line, ' ');
	uint64_t ns = 0;

	if (space)
		*space = '\0';
	for (size_t i = 0; space && i < ARRAY_SIZE(works); i++) {
		if (!str_equal(line, works[i].name) ||
		    str_to_u64(space + 1, 1, NS_LARGEST, &ns) < 0)
			continue;
		series_add(series_of(bench, &works[i], who, seen[i] == 0), ns);
		seen[i]++;
		return 0;
	}
	if (space)
		*space = ' ';
	return error_set(err, EBADMSG, "the work by %s says \"%.200s\"", who, line);
}

static int read_output(struct bench *bench, char *output, const char *who, struct error *err)
{
	unsigned seen[ARRAY_SIZE(works)] = {};
	char *rest = output, *line;
	int r = 0;

	while (r == 0 && (line = strsep(&rest, "\r\n"))) {
		if (*line)
			r = read_line(bench, line, who, seen, err);
	}
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(works); i++) {
		if (seen[i] != times_of(bench))
			r = error_set(err, EBADMSG, "the work by %s did %s %u times, not %u", who,
				      works[i].name, seen[i], times_of(bench));
	}
	return r;
}

/* ---------------------------------------------------------------- the contestants */

static int by_container(const struct contest *contest, const char *who, struct error *err)
{
	struct bench *bench = contest->bench;
	bool runc = str_equal(who, RUNC);
	_cleanup_free_ char *id = bench_id(bench);
	_cleanup_(strv_done) struct strv argv = {};
	_cleanup_free_ char *output = NULL;

	ctr_run_begin(bench, runc ? CTR_RUNC : CTR_KILN, runc ? NULL : contest->config, "--rm",
		      &argv);
	if (!runc)
		strv_addf(&argv, "--annotation=io.kiln.rootfs=%s", who);
	strv_add(&argv, bench->options.files_image);
	strv_add(&argv, id);
	strv_add(&argv, PROGRAM_IN);
	strv_addf(&argv, "%u", scale_of(bench));
	strv_addf(&argv, "%u", times_of(bench));
	int r = factory_warm(bench->loop, bench->options.factory, 1, err);
	if (r == 0)
		r = spawn_and_wait(argv.items, &output, err);
	if (r < 0)
		return error_wrap(err, "the work by %s", who);
	return read_output(bench, output, who, err);
}

/* The disk's holes stay holes. */
static int copy_disk(const struct bench *bench, const char *disk, struct error *err)
{
	_cleanup_free_ char *output = NULL;
	_cleanup_free_ char *original = path_join(bench->options.limit, "disk.ext4");

	return spawn_and_wait(SPAWN_ARGV("cp", "--sparse=always", original, disk), &output, err);
}

static int by_machine(const struct contest *contest, struct error *err)
{
	struct bench *bench = contest->bench;
	_cleanup_free_ char *disk = path_join(contest->folder, "disk");
	_cleanup_free_ char *initrd = path_join(bench->options.limit, "initrd.img");
	_cleanup_free_ char *parameters = xasprintf("files_scale=%u files_times=%u",
						    scale_of(bench), times_of(bench));
	_cleanup_free_ char *output = NULL;

	int r = copy_disk(bench, disk, err);
	if (r == 0)
		r = booted_run(bench, bench->options.factory, initrd, parameters, disk, err);
	if (r == 0)
		r = spawn_and_wait(SPAWN_ARGV("debugfs", "-R", DUMP_RESULT, disk), &output, err);
	if (r < 0)
		return error_wrap(err, "the work by a plain machine");
	/* Before it comes what debugfs says of itself. */
	char *begin = output ? strstr(output, works[0].name) : NULL;
	return read_output(bench, begin ? begin : output, LIMIT, err);
}

static int take_turns(const struct contest *contest, struct error *err)
{
	struct bench *bench = contest->bench;
	unsigned runs = bench_share(bench, COUNT_FILES);
	size_t count = contest->who.count;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < runs; i++) {
		for (size_t j = 0; r == 0 && j < count; j++) {
			progress_step(&bench->progress, (unsigned)(i * count + j),
				      (unsigned)(runs * count));
			const char *who = contest->who.items[(bench->round + i + j) % count];
			r = str_equal(who, LIMIT) ? by_machine(contest, err)
						  : by_container(contest, who, err);
		}
	}
	return r;
}

/* ---------------------------------------------------------------- ratios */

static void set_ratio(struct bench *bench, const struct work *work, const char *who,
		      const char *other, bool first)
{
	_cleanup_free_ char *name_a = series_name(work, who, first);
	_cleanup_free_ char *name_b = series_name(work, other, first);
	const struct series *a = result_find(bench->result, name_a);
	const struct series *b = result_find(bench->result, name_b);
	_cleanup_free_ char *name = xasprintf("%s:%s", name_a, other);

	if (a && b)
		result_set(bench->result, name, series_quantile(a, 0.5) / series_quantile(b, 0.5));
}

/* Of all who are in a machine to runc, and of all containers in one to the limit. */
static void set_ratios(const struct contest *contest)
{
	struct bench *bench = contest->bench;

	for (size_t i = 0; i < ARRAY_SIZE(works) * 2; i++) {
		const struct work *work = &works[i / 2];
		bool first = i % 2 == 0;

		for (size_t j = 0; j < contest->who.count; j++) {
			const char *who = contest->who.items[j];

			if (str_equal(who, RUNC))
				continue;
			set_ratio(bench, work, who, RUNC, first);
			if (!str_equal(who, LIMIT))
				set_ratio(bench, work, who, LIMIT, first);
		}
	}
}

/* ---------------------------------------------------------------- the scenario */

static int name_contestants(const struct bench *bench, struct strv *who, struct error *err)
{
	_cleanup_free_ char *drivers = xstrdup(bench->options.rootfs ? bench->options.rootfs
								     : DEFAULT);
	char *rest = drivers, *driver;

	strv_add(who, RUNC);
	while ((driver = strsep(&rest, ",")))
		strv_add(who, driver);
	if (bench->options.limit)
		strv_add(who, LIMIT);
	return who->count <= MOST ? 0 : error_set(err, E2BIG, "more than %d contestants", MOST);
}

static int run_contest(struct contest *contest, struct error *err)
{
	const struct bench_options *options = &contest->bench->options;
	int r = ctr_write_config(options->factory, contest->config, err);

	if (r == 0)
		r = ctr_prepare_image(contest->bench, options->factory, options->files_image, err);
	if (r == 0)
		r = name_contestants(contest->bench, &contest->who, err);
	if (r == 0)
		r = take_turns(contest, err);
	if (r == 0)
		set_ratios(contest);
	return r;
}

int scenario_files(struct bench *bench, struct error *err)
{
	_cleanup_free_ char *folder = NULL;

	if (bench->options.counts[COUNT_FILES] == 0 || times_of(bench) == 0 || scale_of(bench) == 0)
		return 0;
	int r = bench_make_folder(SCRATCH, &folder, err);
	if (r < 0)
		return r;
	_cleanup_free_ char *config = path_join(folder, "kiln.json");
	struct contest contest = { .bench = bench, .config = config, .folder = folder };
	r = run_contest(&contest, err);
	strv_done(&contest.who);
	(void)!path_remove(folder, NULL);
	return r;
}
