#include "bench/plot.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/spawn.h"
#include "base/strbuf.h"
#include "base/strings.h"

/* Colours that people with any kind of sight tell apart (Okabe and Ito 2008). */
static const char *const colours[] = { "#0072B2", "#E69F00", "#009E73", "#D55E00",
				       "#56B4E9", "#CC79A7", "#000000", "#999999" };

/* Text from a file stands in a script: nothing in it may mean something to gnuplot. */
static void add_text(struct strbuf *script, const char *text)
{
	for (const char *c = text; *c; c++) {
		bool plain = isalnum((unsigned char)*c) || strchr(" .,:;+-/()=_", *c);
		strbuf_addf(script, "%c", plain ? *c : '?');
	}
}

static int plot_write(const char *out_dir, const char *name, const struct strbuf *body,
		      unsigned height, struct error *err)
{
	_cleanup_free_ char *base = xasprintf("%s/%s", out_dir, name);
	_cleanup_free_ char *path = xasprintf("%s.gp", base);
	_cleanup_free_ char *output = NULL;
	_cleanup_(strbuf_done) struct strbuf script = {};

	strbuf_addf(
		&script,
		"# gnuplot %s.gp, in this folder\n"
		"set encoding utf8\n"
		"set grid lc rgb '#dddddd'\n"
		"set border 3\n"
		"set tics nomirror\n"
		"%s"
		"set terminal svg noenhanced size 960,%u font 'sans,13' background rgb 'white'\n"
		"set output '%s.svg'\n"
		"eval plot_command\n"
		"set terminal pngcairo noenhanced size 960,%u font 'sans,10' background rgb 'white'\n"
		"set output '%s.png'\n"
		"eval plot_command\n",
		name, strbuf_text(body), height, name, height, name);
	int r = dir_make(out_dir, 0755, err);
	if (r == 0)
		r = file_write_atomic(path, script.text, script.len, 0644, err);
	_cleanup_free_ char *command = xasprintf("cd \"$1\" && gnuplot %s.gp", name);
	if (r == 0)
		r = spawn_and_wait(SPAWN_ARGV("sh", "-c", command, "sh", out_dir), &output, err);
	return r < 0 ? error_wrap(err, "plot %s", name) : 0;
}

/* ---------------------------------------------------------------- latency */

static void add_distribution(struct strbuf *script, size_t number, const struct series *series)
{
	struct histogram_part part = {};
	uint64_t seen = 0, all = histogram_count(series->histogram);

	strbuf_addf(script, "$s%zu << EOD\n", number);
	while (histogram_next(series->histogram, &part)) {
		if (seen == 0)
			strbuf_addf(script, "%g 0\n", (double)part.highest / 1000);
		seen += part.count;
		strbuf_addf(script, "%g %g\n", (double)part.highest / 1000,
			    100.0 * (double)seen / (double)all);
	}
	strbuf_adds(script, "EOD\n");
}

static int plot_latency(const struct result *result, const char *out_dir, unsigned *count,
			struct error *err)
{
	_cleanup_(strbuf_done) struct strbuf body = {};
	_cleanup_(strbuf_done) struct strbuf plot = {};
	size_t drawn = 0;

	for (size_t i = 0; i < result->nseries; i++) {
		if (result->series[i]->count == 0)
			continue;
		add_distribution(&body, drawn, result->series[i]);
		strbuf_addf(&plot, "%s$s%zu using 1:2 with steps lw 2 dt %zu lc rgb '%s' title '",
			    drawn > 0 ? ", " : "plot ", drawn, 1 + drawn / ARRAY_SIZE(colours),
			    colours[drawn % ARRAY_SIZE(colours)]);
		add_text(&plot, result->series[i]->name);
		strbuf_adds(&plot, "'");
		drawn++;
	}
	if (drawn == 0)
		return 0;
	strbuf_addf(&body,
		    "set title 'Latency by scenario (share of runs done within a time)'\n"
		    "set logscale x\nset xlabel 'ms'\nset ylabel '%%'\nset yrange [0:100]\n"
		    "set key outside right\nplot_command = \"%s\"\n",
		    strbuf_text(&plot));
	(*count)++;
	return plot_write(out_dir, "latency", &body, 540, err);
}

/* ---------------------------------------------------------------- memory */

static const struct {
	const char *table;
	const char *name;
} states[] = {
	{ "density.parked", "parked" },
	{ "density.running", "running" },
	{ "density.unshared_parked", "unshared, parked" },
	{ "density.unshared_running", "unshared, running" },
	{ "density.booted", "booted" },
};

static const struct {
	const char *key;
	const char *name;
} parts[] = {
	{ "ram_private_mib", "guest RAM, own" },
	{ "ram_shared_mib", "guest RAM, of the template" },
	{ "heap_mib", "QEMU, heap and translated code" },
	{ "libraries_mib", "QEMU, program and libraries" },
	{ "image_mib", "guest image" },
	{ "unmapped_mib", "files, mapped by none" },
	{ "kernel_mib", "kernel" },
};

static void add_memory_row(struct strbuf *body, const char *state, const json_t *row)
{
	strbuf_addf(body, "\"%s N=%.0f\"", state, row_get(row, "x"));
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		double mib = row_get(row, parts[i].key);
		strbuf_addf(body, " %g", isfinite(mib) ? mib : 0);
	}
	strbuf_adds(body, "\n");
}

static int plot_memory(const struct result *result, const char *out_dir, unsigned *count,
		       struct error *err)
{
	_cleanup_(strbuf_done) struct strbuf body = {};
	_cleanup_(strbuf_done) struct strbuf plot = {};
	size_t drawn = 0, j;
	json_t *row;

	strbuf_adds(&body, "$m << EOD\n");
	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		json_array_foreach (json_object_get(result->tables, states[i].table), j, row) {
			add_memory_row(&body, states[i].name, row);
			drawn++;
		}
	}
	strbuf_adds(&body, "EOD\n");
	if (drawn == 0)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		strbuf_addf(&plot, "%s$m using %zu:xtic(1) lc rgb '%s' title '%s'",
			    i > 0 ? ", " : "plot ", i + 2, colours[i], parts[i].name);
	strbuf_addf(&body,
		    "set title 'Memory a machine, against how many there are'\n"
		    "set style data histograms\nset style histogram rowstacked\n"
		    "set style fill solid 0.9\nset boxwidth 0.7\nset ylabel 'MiB a machine'\n"
		    "set yrange [0:*]\nset xtics rotate by -35\nset key outside right\n"
		    "plot_command = \"%s\"\n",
		    strbuf_text(&plot));
	(*count)++;
	return plot_write(out_dir, "memory", &body, 540, err);
}

/* ---------------------------------------------------------------- hit ratio */

static int plot_hit_ratio(const struct result *result, const char *out_dir, unsigned *count,
			  struct error *err)
{
	_cleanup_(strbuf_done) struct strbuf body = {};
	const json_t *rows = json_object_get(result->tables, "sustain");
	json_t *row;
	size_t i;

	if (json_array_size(rows) == 0)
		return 0;
	strbuf_adds(&body, "$h << EOD\n");
	json_array_foreach (rows, i, row) {
		strbuf_addf(&body, "%g %g %g \"%.2g/s\"\n", 100 * row_get(row, "hit_ratio"),
			    row_get(row, "p50_ms"), row_get(row, "p99_ms"), row_get(row, "per_s"));
	}
	strbuf_addf(&body,
		    "EOD\n"
		    "set title 'Latency from the intended arrival against the pool hit ratio'\n"
		    "set xlabel 'claims served from the pool, %%'\nset ylabel 'ms'\n"
		    "set logscale y\nset xrange [-5:105]\nset key outside right\n"
		    "plot_command = \"plot "
		    "$h using 1:2 with points pt 7 ps 1.3 lc rgb '%s' title 'p50', "
		    "$h using 1:3 with points pt 9 ps 1.3 lc rgb '%s' title 'p99', "
		    "$h using 1:3:4 with labels offset 0,1 notitle\"\n",
		    colours[0], colours[3]);
	(*count)++;
	return plot_write(out_dir, "hit-ratio", &body, 540, err);
}

int plot_result(const struct result *result, const char *out_dir, unsigned *ret_count,
		struct error *err)
{
	*ret_count = 0;
	int r = plot_latency(result, out_dir, ret_count, err);
	if (r == 0)
		r = plot_memory(result, out_dir, ret_count, err);
	return r < 0 ? r : plot_hit_ratio(result, out_dir, ret_count, err);
}

/* ---------------------------------------------------------------- waterfall */

static const char *colour_of(const struct start *start, size_t at)
{
	size_t known = 0;

	/* In the order the writers first appear. */
	for (size_t i = 0; i < start->count; i++) {
		bool seen = false;
		for (size_t j = 0; j < i; j++)
			seen = seen || str_equal(start->spans[j].who, start->spans[i].who);
		if (str_equal(start->spans[i].who, start->spans[at].who))
			return colours[known % ARRAY_SIZE(colours)];
		known += !seen;
	}
	return colours[0];
}

/* A moment is drawn as wide as a hair. */
static void add_bar(struct strbuf *body, const struct start *start, size_t at)
{
	const struct span *span = &start->spans[at];
	double hair = start_length_ms(start) / 400;
	double row = (double)(start->count - at);
	double end = span->end_ms > span->begin_ms + hair ? span->end_ms : span->begin_ms + hair;

	strbuf_addf(body,
		    "set object rectangle from %g,%g to %g,%g fc rgb '%s' fs solid 0.9 noborder\n",
		    span->begin_ms, row - 0.35, end, row + 0.35, colour_of(start, at));
	strbuf_adds(body, "set label '");
	add_text(body, span->who);
	strbuf_adds(body, " ");
	add_text(body, span->step);
	strbuf_addf(body, " %.1f ms' at %g,%g left offset 0.5,0\n", span->end_ms - span->begin_ms,
		    end, row);
}

int plot_start(const struct start *start, const char *out_dir, struct error *err)
{
	_cleanup_(strbuf_done) struct strbuf body = {};

	for (size_t i = 0; i < start->count; i++)
		add_bar(&body, start, i);
	strbuf_adds(&body, "set title 'Where the time of one start goes: ");
	add_text(&body, start->id);
	strbuf_addf(&body,
		    "'\nunset key\nunset ytics\nset border 1\nset xlabel 'ms'\n"
		    "set xrange [0:%g]\nset yrange [0:%zu]\n"
		    "plot_command = \"plot NaN notitle\"\n",
		    1.35 * start_length_ms(start) + 0.1, start->count + 1);
	return plot_write(out_dir, "waterfall", &body, 140 + 22 * (unsigned)start->count, err);
}
