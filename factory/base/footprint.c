#include "factory/base/footprint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "base/waiters.h"
#include "base/worker.h"

#define SMAPS_MAX 16384

/* Machines that are measured together. */
struct group {
	char *name;
	pid_t *pids;
	size_t npids;
	struct memory_use use;
};

struct measurement {
	const struct footprint *footprint;
	struct group *groups;
	size_t ngroups;
};

struct footprint {
	footprint_list_fn list; /* who is to be measured */
	footprint_open_fn open_memory;
	void *userdata;
	struct worker_pool *worker; /* a thread of its own: bakes can keep the others for minutes */
	struct measurement *last;   /* owned; NULL: never measured */
	uint64_t begun_ms;          /* of the last measurement, or the one under way */
	uint64_t good_until_ms;
	bool measuring;
	struct waiters waiters;
};

static void measurement_free(struct measurement *measurement)
{
	if (!measurement)
		return;
	for (size_t i = 0; i < measurement->ngroups; i++) {
		free(measurement->groups[i].name);
		free(measurement->groups[i].pids);
	}
	free(measurement->groups);
	free(measurement);
}

/* ---------------------------------------------------------------- on the worker */

static uint64_t smaps_bytes(const char *smaps, const char *key)
{
	const char *at = strstr(smaps, key);
	unsigned long kib = 0;

	if (at && sscanf(at + strlen(key), "%lu", &kib) == 1)
		return (uint64_t)kib * 1024;
	return 0;
}

void memory_use_add(struct memory_use *use, const char *smaps)
{
	use->pss_bytes += smaps_bytes(smaps, "\nPss:");
	use->private_bytes += smaps_bytes(smaps, "\nPrivate_Clean:") +
			      smaps_bytes(smaps, "\nPrivate_Dirty:") +
			      smaps_bytes(smaps, "\nPrivate_Hugetlb:");
	use->machines++;
}

static void measure_process(const struct footprint *footprint, pid_t pid, struct memory_use *use)
{
	_cleanup_close_ int fd = -EBADF;
	char smaps[SMAPS_MAX + 1];

	/* A machine that has ended takes nothing. */
	if (footprint->open_memory(pid, &fd, footprint->userdata) < 0)
		return;
	ssize_t len = read_full(fd, smaps, SMAPS_MAX);
	smaps[len > 0 ? len : 0] = '\0';
	if (len > 0)
		memory_use_add(use, smaps);
}

static void measurement_run(void *data)
{
	struct measurement *measurement = data;
	uint64_t deadline_ms = clock_monotonic_ms() + FOOTPRINT_BUDGET_MS;

	for (size_t i = 0; i < measurement->ngroups; i++) {
		struct group *group = &measurement->groups[i];
		for (size_t j = 0; j < group->npids; j++) {
			if (clock_monotonic_ms() >= deadline_ms)
				return;
			measure_process(measurement->footprint, group->pids[j], &group->use);
		}
	}
}

/* ---------------------------------------------------------------- on the loop */

static uint64_t good_until(const struct footprint *footprint)
{
	uint64_t now = clock_monotonic_ms();
	uint64_t rest = (now - footprint->begun_ms) * FOOTPRINT_REST;

	return now + (rest > FOOTPRINT_FRESH_MS ? rest : FOOTPRINT_FRESH_MS);
}

static void measurement_done(void *data, void *owner)
{
	struct footprint *footprint = owner;

	measurement_free(footprint->last);
	footprint->last = data;
	footprint->good_until_ms = good_until(footprint);
	footprint->measuring = false;
	waiters_answer(&footprint->waiters, 0, NULL);
}

static struct group *group_of(struct measurement *measurement, const char *name)
{
	for (size_t i = 0; i < measurement->ngroups; i++)
		if (str_equal(measurement->groups[i].name, name))
			return &measurement->groups[i];

	measurement->groups = xrealloc_array(measurement->groups, measurement->ngroups + 1,
					     sizeof(struct group));
	struct group *group = &measurement->groups[measurement->ngroups++];

	*group = (struct group){ .name = xstrdup(name) };
	return group;
}

void measurement_add(struct measurement *measurement, const char *name, pid_t pid)
{
	struct group *group = group_of(measurement, name);

	group->pids = xrealloc_array(group->pids, group->npids + 1, sizeof(pid_t));
	group->pids[group->npids++] = pid;
}

static void measurement_start(struct footprint *footprint)
{
	struct measurement *measurement = xnew(struct measurement);
	struct worker_job job = {
		.run = measurement_run,
		.done = measurement_done,
		.data = measurement,
		.owner = footprint,
	};

	measurement->footprint = footprint;
	footprint->list(measurement, footprint->userdata);
	footprint->measuring = true;
	footprint->begun_ms = clock_monotonic_ms();
	if (worker_submit(footprint->worker, &job) < 0)
		measurement_done(measurement, footprint);
}

void footprint_measure(struct footprint *footprint, waiter_fn fn, void *userdata)
{
	if (!footprint->measuring && clock_monotonic_ms() < footprint->good_until_ms) {
		fn(0, NULL, userdata);
		return;
	}
	waiters_add(&footprint->waiters, fn, userdata);
	if (!footprint->measuring)
		measurement_start(footprint);
}

void footprint_of(const struct footprint *footprint, const char *template_name,
		  struct memory_use *ret_use)
{
	*ret_use = (struct memory_use){};
	for (size_t i = 0; footprint->last && i < footprint->last->ngroups; i++) {
		if (str_equal(footprint->last->groups[i].name, template_name))
			*ret_use = footprint->last->groups[i].use;
	}
}

struct footprint *footprint_new(struct loop *loop, footprint_list_fn list,
				footprint_open_fn open_memory, void *userdata)
{
	struct footprint *footprint = xnew(struct footprint);

	footprint->list = list;
	footprint->open_memory = open_memory;
	footprint->userdata = userdata;
	footprint->worker = worker_pool_new(loop, 1, 1);
	return footprint;
}

void footprint_free(struct footprint *footprint)
{
	if (!footprint)
		return;
	worker_pool_free(footprint->worker);
	measurement_free(footprint->last);
	free(footprint);
}
