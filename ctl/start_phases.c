#include "ctl/start_phases.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/strings.h"

/* What lasts as long as the sandbox does, or comes after its start. */
static bool is_of_start(const struct span *span)
{
	static const char *const others[] = { "sandbox", "exit",    "first_output",
					      "delete",  "release", "remove_container" };

	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		if (str_equal(span->step, others[i]))
			return false;
	return true;
}

static double end_of(const struct start *start)
{
	double end = 0;

	for (size_t i = 0; i < start->count; i++)
		if (str_equal(start->spans[i].step, "start_container") &&
		    start->spans[i].end_ms > end)
			end = start->spans[i].end_ms;
	return end;
}

/* The one that began last; spans are in the order of their beginnings, the longer first. */
static const struct span *span_at(const struct start *start, double ms)
{
	const struct span *found = NULL;

	for (size_t i = 0; i < start->count && start->spans[i].begin_ms <= ms; i++)
		if (start->spans[i].end_ms > ms && is_of_start(&start->spans[i]))
			found = &start->spans[i];
	return found;
}

static void add(struct start_phase *phases, size_t *count, const struct span *span, double ms)
{
	char name[sizeof(phases->name)] = "not traced";
	size_t i = 0;

	if (span)
		snprintf(name, sizeof(name), "%s %s", span->who, span->step);
	while (i < *count && !str_equal(phases[i].name, name))
		i++;
	if (i == START_PHASES_MAX)
		i--;
	else if (i == *count)
		memcpy(phases[(*count)++].name, name, sizeof(name));
	phases[i].ms += ms;
}

static int compare_times(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int compare_phases(const void *a, const void *b)
{
	return compare_times(&((const struct start_phase *)b)->ms,
			     &((const struct start_phase *)a)->ms);
}

/* A trace of so many spans is no start, and would take long. */
enum { SPANS_MAX = 2000 };

size_t start_phases(const struct start *start,
		    struct start_phase ret_phases[static START_PHASES_MAX])
{
	_cleanup_free_ double *times = xnew_array(double, 2 * start->count + 1);
	double end = end_of(start);
	size_t ntimes = 0, count = 0;

	memset(ret_phases, 0, START_PHASES_MAX * sizeof(*ret_phases));
	if (start->count > SPANS_MAX)
		return 0;
	for (size_t i = 0; i < start->count; i++) {
		const double both[] = { start->spans[i].begin_ms, start->spans[i].end_ms };
		for (size_t k = 0; k < ARRAY_SIZE(both); k++)
			if (both[k] <= end)
				times[ntimes++] = both[k];
	}
	if (ntimes > 0)
		qsort(times, ntimes, sizeof(*times), compare_times);
	for (size_t i = 1; i < ntimes; i++)
		if (times[i] > times[i - 1])
			add(ret_phases, &count, span_at(start, times[i - 1]),
			    times[i] - times[i - 1]);
	if (count > 0)
		qsort(ret_phases, count, sizeof(*ret_phases), compare_phases);
	return count;
}
