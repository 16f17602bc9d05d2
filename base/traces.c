#include "base/traces.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

#define FILE_MAX   (64 * 1024 * 1024)
#define SPANS_MAX  100000 /* of all files together */
#define NAME_SIZE  128
#define BAR_WIDTH  60
#define SHARE_LOST 0.9

/* ---------------------------------------------------------------- one line */

static bool name_is_usable(const char *name)
{
	return !str_empty(name) && strlen(name) < NAME_SIZE;
}

static struct start *start_of(struct traces *traces, const char *id)
{
	for (size_t i = traces->count; i > 0; i--) {
		if (str_equal(traces->starts[i - 1].id, id))
			return &traces->starts[i - 1];
	}
	traces->starts = xrealloc_array(traces->starts, traces->count + 1, sizeof(*traces->starts));
	traces->starts[traces->count] = (struct start){ .id = xstrdup(id) };
	return &traces->starts[traces->count++];
}

/* Of an object with "attributes". */
static const char *attribute(const json_t *object, const char *key)
{
	const json_t *item;
	size_t i;

	json_array_foreach (json_object_get(object, "attributes"), i, item) {
		const char *name = json_string_value(json_object_get(item, "key"));
		if (str_equal(name, key))
			return json_string_value(
				json_object_get(json_object_get(item, "value"), "stringValue"));
	}
	return NULL;
}

static bool read_time(const json_t *span, const char *key, uint64_t *ret_ns)
{
	const char *text = json_string_value(json_object_get(span, key));

	return text && str_to_u64(text, 1, INT64_MAX, ret_ns) == 0;
}

static bool add_span(struct traces *traces, const char *who, const json_t *span)
{
	const char *step = json_string_value(json_object_get(span, "name"));
	const char *id = attribute(span, "kiln.sandbox");
	uint64_t begin = 0, end = 0;

	if (!name_is_usable(who) || !name_is_usable(step) || !name_is_usable(id) ||
	    !read_time(span, "startTimeUnixNano", &begin) ||
	    !read_time(span, "endTimeUnixNano", &end) || begin > end)
		return false;
	struct start *start = start_of(traces, id);
	if (start->count >= SPANS_MAX)
		return false;
	start->spans = xrealloc_array(start->spans, start->count + 1, sizeof(*start->spans));
	start->spans[start->count++] = (struct span){
		.who = xstrdup(who),
		.step = xstrdup(step),
		.begin_ms = (double)begin / 1e6,
		.end_ms = (double)end / 1e6,
	};
	return true;
}

/* How many of a resource's spans were taken, and how many are none. */
struct taken {
	size_t good, bad;
};

static void add_resource(struct traces *traces, const json_t *resource, struct taken *taken)
{
	const char *name = attribute(json_object_get(resource, "resource"), "service.name");
	const char *who = name ? str_after(name, "kiln-") : NULL;
	const json_t *scope, *span;
	size_t i, k;

	json_array_foreach (json_object_get(resource, "scopeSpans"), i, scope) {
		json_array_foreach (json_object_get(scope, "spans"), k, span) {
			if (add_span(traces, who, span))
				taken->good++;
			else
				taken->bad++;
		}
	}
}

/* A request of OTLP, of which each resource is one writer. False where one of its spans is none, or
 * there is none. */
static bool add_object(struct traces *traces, const json_t *line)
{
	struct taken taken = {};
	const json_t *resource;
	size_t i;

	json_array_foreach (json_object_get(line, "resourceSpans"), i, resource) {
		add_resource(traces, resource, &taken);
	}
	return taken.good > 0 && taken.bad == 0;
}

void traces_add(struct traces *traces, const char *text, size_t len)
{
	const char *end = text + len;

	for (const char *line = text; line < end;) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		size_t length = (size_t)((newline ? newline : end) - line);
		json_t *object = length > 0 ? json_loadb(line, length, 0, NULL) : NULL;

		if (length > 0 && !add_object(traces, object))
			traces->skipped++;
		json_decref(object);
		line += length + 1;
	}
}

/* ---------------------------------------------------------------- all of them */

static int compare_spans(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	if (x->begin_ms != y->begin_ms)
		return x->begin_ms < y->begin_ms ? -1 : 1;
	return (x->end_ms < y->end_ms) - (x->end_ms > y->end_ms);
}

static int compare_starts(const void *a, const void *b)
{
	const struct start *x = a, *y = b;

	return (x->first_ms > y->first_ms) - (x->first_ms < y->first_ms);
}

void traces_finish(struct traces *traces)
{
	for (size_t i = 0; i < traces->count; i++) {
		struct start *start = &traces->starts[i];

		qsort(start->spans, start->count, sizeof(*start->spans), compare_spans);
		start->first_ms = start->spans[0].begin_ms;
		for (size_t j = 0; j < start->count; j++) {
			start->spans[j].begin_ms -= start->first_ms;
			start->spans[j].end_ms -= start->first_ms;
		}
	}
	if (traces->count > 0)
		qsort(traces->starts, traces->count, sizeof(*traces->starts), compare_starts);
}

static int read_one(struct traces *traces, const char *dir, const char *name, struct error *err)
{
	_cleanup_free_ char *path = path_join(dir, name);
	_cleanup_free_ char *text = NULL;
	size_t len;

	int r = file_read(path, FILE_MAX, &text, &len, err);
	if (r == 0)
		traces_add(traces, text, len);
	return r;
}

int traces_read(const char *dir, struct traces *ret_traces, struct error *err)
{
	_cleanup_(traces_done) struct traces traces = {};
	const struct dirent *entry;
	int r = 0;

	DIR *folder = opendir(dir);
	if (!folder)
		return error_set_errno(err, errno, "cannot read the traces in %s", dir);
	while (r == 0 && (entry = readdir(folder))) {
		const char *end = strrchr(entry->d_name, '.');
		if (str_equal(end, ".jsonl"))
			r = read_one(&traces, dir, entry->d_name, err);
	}
	closedir(folder);
	if (r < 0)
		return r;
	traces_finish(&traces);
	*ret_traces = traces;
	traces = (struct traces){};
	return 0;
}

/* ---------------------------------------------------------------- the newest of them */

struct newest {
	struct {
		char *name;         /* owned */
		struct timespec at; /* its last change */
	} items[TRACES_NEWEST];
	size_t count;
};

static bool is_older(struct timespec a, struct timespec b)
{
	return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

/* In the place of the oldest one where there is no other. */
static void newest_offer(struct newest *newest, const char *name, struct timespec at)
{
	size_t oldest = 0;

	for (size_t i = 1; i < newest->count; i++)
		if (is_older(newest->items[i].at, newest->items[oldest].at))
			oldest = i;
	if (newest->count < TRACES_NEWEST) {
		oldest = newest->count++;
	} else {
		if (!is_older(newest->items[oldest].at, at))
			return;
		free(newest->items[oldest].name);
	}
	newest->items[oldest].name = xstrdup(name);
	newest->items[oldest].at = at;
}

/* One that is gone meanwhile has no end. */
static void read_end(struct traces *traces, int folder, const char *name)
{
	_cleanup_close_ int fd = openat(folder, name,
					O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	_cleanup_free_ char *text = xcalloc(1, TRACES_END + 1);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	off_t from = st.st_size > TRACES_END ? st.st_size - TRACES_END : 0;
	ssize_t len = pread(fd, text, TRACES_END, from);
	const char *line = len > 0 && from > 0 ? memchr(text, '\n', (size_t)len) : text;
	if (len > 0 && line)
		traces_add(traces, line, (size_t)(text + len - line));
}

int traces_read_newest(const char *dir, struct traces *ret_traces, struct error *err)
{
	struct newest newest = {};
	struct traces traces = {};
	const struct dirent *entry;
	struct stat st;

	DIR *folder = opendir(dir);
	if (!folder)
		return error_set_errno(err, errno, "cannot read the traces in %s", dir);
	while ((entry = readdir(folder))) {
		if (str_equal(strrchr(entry->d_name, '.'), ".jsonl") &&
		    fstatat(dirfd(folder), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    st.st_size > 0)
			newest_offer(&newest, entry->d_name, st.st_mtim);
	}
	for (size_t i = 0; i < newest.count; i++) {
		read_end(&traces, dirfd(folder), newest.items[i].name);
		free(newest.items[i].name);
	}
	closedir(folder);
	traces_finish(&traces);
	*ret_traces = traces;
	return 0;
}

void traces_done(struct traces *traces)
{
	for (size_t i = 0; i < traces->count; i++) {
		struct start *start = &traces->starts[i];
		for (size_t j = 0; j < start->count; j++) {
			free(start->spans[j].who);
			free(start->spans[j].step);
		}
		free(start->spans);
		free(start->id);
	}
	free(traces->starts);
}

/* ---------------------------------------------------------------- questions */

const struct start *traces_find(const struct traces *traces, const char *id)
{
	for (size_t i = 0; i < traces->count; i++) {
		if (str_equal(traces->starts[i].id, id))
			return &traces->starts[i];
	}
	return NULL;
}

double start_length_ms(const struct start *start)
{
	double end = 0;

	for (size_t i = 0; i < start->count; i++)
		end = start->spans[i].end_ms > end ? start->spans[i].end_ms : end;
	return end;
}

static int compare_lengths(const void *a, const void *b)
{
	double x = start_length_ms(*(const struct start *const *)a);
	double y = start_length_ms(*(const struct start *const *)b);

	return (x > y) - (x < y);
}

const struct start *traces_typical(const struct traces *traces)
{
	_cleanup_free_ const struct start **full = xnew_array(const struct start *,
							      traces->count + 1);
	size_t most = 0, count = 0;

	for (size_t i = 0; i < traces->count; i++)
		most = traces->starts[i].count > most ? traces->starts[i].count : most;
	for (size_t i = 0; i < traces->count; i++) {
		if ((double)traces->starts[i].count >= SHARE_LOST * (double)most)
			full[count++] = &traces->starts[i];
	}
	if (count == 0)
		return NULL;
	qsort((void *)full, count, sizeof(*full), compare_lengths);
	return full[(count - 1) / 2];
}

void start_print(const struct start *start, FILE *out)
{
	double length = start_length_ms(start);
	double scale = length > 0 ? BAR_WIDTH / length : 0;

	fprintf(out, "%s: %.1f ms\n", start->id, length);
	for (size_t i = 0; i < start->count; i++) {
		const struct span *span = &start->spans[i];
		int before = (int)(span->begin_ms * scale);
		int width = (int)(span->end_ms * scale) - before;

		fprintf(out, "%9.2f %9.2f ms  %-8s %-18s %*s", span->begin_ms,
			span->end_ms - span->begin_ms, span->who, span->step, before, "");
		fprintf(out, "%.*s\n", width > 0 ? width : 1,
			"############################################################");
	}
}
