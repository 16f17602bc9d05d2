#include "factory/jail/cgroup_limits.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

#define CPU      "cpu"
#define V1_QUOTA "cpu.cfs_quota_us"

enum {
	PERIOD_US = 100 * 1000, /* of a quota; the kernel's own */
	V1_SHARES = 1024,       /* a vCPU's, and a processor's; the kernel's of a group */
	V2_WEIGHT = 100,        /* the same */
	V2_WEIGHT_MAX = 10000,
	VALUE_SIZE = 64,
};

/* A value of limits in the words of v1 or v2. */
static void print_memory(const struct cgroup_limits *limits, _unused_ bool v2, char *value)
{
	snprintf(value, VALUE_SIZE, "%" PRIu64, limits->memory_bytes);
}

static void print_threads(const struct cgroup_limits *limits, _unused_ bool v2, char *value)
{
	snprintf(value, VALUE_SIZE, "%" PRIu64, limits->threads);
}

static void print_weight(const struct cgroup_limits *limits, bool v2, char *value)
{
	unsigned weight = limits->vcpus * (v2 ? V2_WEIGHT : V1_SHARES);

	snprintf(value, VALUE_SIZE, "%u", v2 && weight > V2_WEIGHT_MAX ? V2_WEIGHT_MAX : weight);
}

static void print_quota(const struct cgroup_limits *limits, bool v2, char *value)
{
	unsigned cpus = limits->vcpus + CGROUP_CPUS_BESIDE;

	int len = snprintf(value, VALUE_SIZE, "%" PRIu64, (uint64_t)cpus * PERIOD_US);

	if (v2)
		snprintf(value + len, VALUE_SIZE - (size_t)len, " %d", PERIOD_US);
}

/* In the order they are written: a quota of v1 counts by the period it finds. */
static const struct limit {
	const char *controller;
	const char *v1_file, *v2_file;
	void (*print)(const struct cgroup_limits *limits, bool v2, char *value);
} machine_limits[] = {
	{ "memory", "memory.limit_in_bytes", "memory.max", print_memory },
	{ "pids", "pids.max", "pids.max", print_threads },
	{ CPU, "cpu.shares", "cpu.weight", print_weight },
	{ CPU, V1_QUOTA, "cpu.max", print_quota },
};

/* NULL: there is nothing to write. The caller frees. */
static char *limit_path(const struct limit *limit, const char *folder, const char *controller)
{
	char *path;

	if (controller && !str_equal(controller, limit->controller))
		return NULL;
	path = path_join(folder, controller ? limit->v1_file : limit->v2_file);
	if (str_equal(limit->controller, CPU) && !path_exists(path))
		free(steal_ptr(path));
	return path;
}

static int write_limit(const struct limit *limit, const char *folder, const char *controller,
		       const struct cgroup_limits *limits, struct error *err)
{
	_cleanup_free_ char *path = limit_path(limit, folder, controller);
	char value[VALUE_SIZE];

	if (!path)
		return 0;
	limit->print(limits, !controller, value);
	return file_write_value(path, value, err);
}

/* A quota of v1 is refused where a group above has a smaller one, which holds then. */
static int copy_limit(const struct limit *limit, const char *from, const char *to,
		      const char *controller, struct error *err)
{
	_cleanup_free_ char *source = limit_path(limit, from, controller);
	_cleanup_free_ char *path = limit_path(limit, to, controller);
	_cleanup_free_ char *value = NULL;

	if (!source || !path)
		return 0;
	int r = file_read(source, VALUE_SIZE, &value, NULL, err);
	if (r < 0)
		return r;
	value[strcspn(value, "\n")] = '\0';
	r = file_write_value(path, value, err);
	if (r == -EINVAL && controller && str_equal(limit->v1_file, V1_QUOTA)) {
		error_done(err);
		r = 0;
	}
	return r;
}

int cgroup_limits_write(const char *folder, const char *controller,
			const struct cgroup_limits *limits, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(machine_limits); i++)
		r = write_limit(&machine_limits[i], folder, controller, limits, err);
	return r;
}

int cgroup_limits_copy(const char *from, const char *to, const char *controller, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(machine_limits); i++)
		r = copy_limit(&machine_limits[i], from, to, controller, err);
	return r;
}

int cgroup_limits_write_vcpus(const char *folder, const char *controller, unsigned vcpus,
			      struct error *err)
{
	const struct cgroup_limits limits = { .vcpus = vcpus };
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(machine_limits); i++)
		if (str_equal(machine_limits[i].controller, CPU))
			r = write_limit(&machine_limits[i], folder, controller, &limits, err);
	return r;
}

int cgroup_limits_weigh(const char *folder, const char *controller, unsigned processors,
			struct error *err)
{
	const struct cgroup_limits all = { .vcpus = processors };
	bool v2 = !controller;
	char value[VALUE_SIZE];

	if (controller && !str_equal(controller, CPU))
		return 0;
	_cleanup_free_ char *path = path_join(folder, v2 ? "cpu.weight" : "cpu.shares");
	print_weight(&all, v2, value);
	return file_write_value(path, value, err);
}
