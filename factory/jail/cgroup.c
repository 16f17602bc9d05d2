#include "factory/jail/cgroup.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "factory/jail/cgroup_devices.h"

#define CGROUP_ROOT "/sys/fs/cgroup"

enum {
	PERIOD_US = 100 * 1000, /* of a quota; the kernel's own */
	V1_SHARES = 1024,       /* a vCPU's, and a processor's; the kernel's of a group */
	V2_WEIGHT = 100,        /* the same */
	V2_WEIGHT_MAX = 10000,
	VALUE_SIZE = 64,
};

/* v2 has its hierarchy, and devices are no controller there. */
static const struct controller {
	const char *name;
	bool optional;
	bool v1_only;
} controllers[] = {
	{ "memory", false, false },
	{ "pids", false, false },
	{ "cpu", true, false },
	{ "devices", true, true },
};

static bool is_v2(void)
{
	return path_exists(CGROUP_ROOT "/cgroup.controllers");
}

/* Folder of a group: of v2's one hierarchy (NULL), or of a controller's. */
static char *group_path(const struct controller *controller, const char *name)
{
	return controller ? xasprintf(CGROUP_ROOT "/%s/%s", controller->name, name)
			  : xasprintf(CGROUP_ROOT "/%s", name);
}

static int write_file(const char *folder, const char *file, const char *text, struct error *err)
{
	_cleanup_free_ char *path = path_join(folder, file);

	return file_write_value(path, text, err);
}

static int make_folder(const char *path, struct error *err)
{
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return error_set_errno(err, errno, "cannot make the control group %s", path);
	return 0;
}

/* v2 only: the groups in this folder get the controllers. */
static int delegate(const char *folder, struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(controllers); i++) {
		if (controllers[i].v1_only)
			continue;
		_cleanup_free_ char *word = xasprintf("+%s", controllers[i].name);
		int r = write_file(folder, "cgroup.subtree_control", word, err);
		if (r < 0 && !controllers[i].optional)
			return error_wrap(err, "controller %s", controllers[i].name);
		error_done(err);
	}
	return 0;
}

/* A v1 hierarchy that is not mounted; what has to be there fails by its folder. */
static bool is_missing(const struct controller *controller)
{
	_cleanup_free_ char *root = controller ? path_join(CGROUP_ROOT, controller->name) : NULL;

	return root && controller->optional && !path_exists(root);
}

static_assert(ARRAY_SIZE(controllers) <= CGROUP_DOORS, "a door a controller");

/* Calls fn for each folder of the group. */
static int for_each(const char *name,
		    int (*fn)(const struct controller *controller, const char *folder, void *data,
			      struct error *err),
		    void *data, struct error *err)
{
	size_t count = is_v2() ? 1 : ARRAY_SIZE(controllers);
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++) {
		const struct controller *controller = is_v2() ? NULL : &controllers[i];
		if (is_missing(controller))
			continue;
		_cleanup_free_ char *folder = group_path(controller, name);
		r = fn(controller, folder, data, err);
	}
	return r;
}

static int make_parent(const struct controller *controller, const char *folder, void *data,
		       struct error *err)
{
	const char *name = data;

	/* Each folder on the way passes the controllers on to the next. */
	for (const char *end = strchr(name, '/');; end = strchr(end + 1, '/')) {
		size_t len = end ? (size_t)(end - name) : strlen(name);
		_cleanup_free_ char *part = xstrndup(name, len);
		_cleanup_free_ char *path = group_path(controller, part);
		int r = controller ? 0 : delegate(CGROUP_ROOT, err);
		if (r == 0)
			r = make_folder(path, err);
		if (r == 0 && !controller)
			r = delegate(path, err);
		if (r < 0 || !end)
			return r < 0 ? error_wrap(err, "%s", folder) : 0;
	}
}

/* ---------------------------------------------------------------- limits */

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
	{ "cpu", "cpu.shares", "cpu.weight", print_weight },
	{ "cpu", "cpu.cfs_quota_us", "cpu.max", print_quota },
};

/* Of the processors there may be none to write to: a controller that v2 has not delegated, or a
 * kernel without quotas. */
static int set_limit(const struct limit *limit, bool v2, const char *folder,
		     const struct cgroup_limits *limits, struct error *err)
{
	_cleanup_free_ char *path = path_join(folder, v2 ? limit->v2_file : limit->v1_file);
	char value[VALUE_SIZE];

	if (str_equal(limit->controller, "cpu") && !path_exists(path))
		return 0;
	limit->print(limits, v2, value);
	return file_write_value(path, value, err);
}

static int make(const struct controller *controller, const char *folder, void *data,
		struct error *err)
{
	int r = make_folder(folder, err);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(machine_limits); i++) {
		const struct limit *limit = &machine_limits[i];
		if (!controller || str_equal(controller->name, limit->controller))
			r = set_limit(limit, !controller, folder, data, err);
	}
	return r;
}

int cgroup_make(const char *name, const struct cgroup_limits *limits, struct error *err)
{
	return for_each(name, make, (void *)limits, err);
}

/* ---------------------------------------------------------------- of all machines */

/* As much as the processors would have if each were a group of its own: else one busy process
 * beside this group would be worth as much as all machines. */
static int weigh_parent(const char *folder, bool v2, struct error *err)
{
	const struct cgroup_limits all = { .vcpus = (unsigned)get_nprocs() };
	char value[VALUE_SIZE];

	print_weight(&all, v2, value);
	return write_file(folder, v2 ? "cpu.weight" : "cpu.shares", value, err);
}

static int limit_parent(const struct controller *controller, const char *folder,
			_unused_ void *data, _unused_ struct error *err)
{
	bool all = !controller;
	_cleanup_(error_done) struct error why = {};

	if ((all || str_equal(controller->name, "cpu")) && weigh_parent(folder, all, &why) < 0) {
		log_warning(NULL, "machines' processor time is not limited: %s",
			    error_message(&why));
		error_done(&why);
	}
	if (all ? cgroup_devices_limit_v2(folder, &why) < 0
		: str_equal(controller->name, "devices") &&
			    cgroup_devices_limit_v1(folder, &why) < 0)
		log_warning(NULL, "machines' devices are not limited: %s", error_message(&why));
	return 0;
}

static void tell_of_missing(void)
{
	for (size_t i = 0; !is_v2() && i < ARRAY_SIZE(controllers); i++)
		if (is_missing(&controllers[i]))
			log_warning(NULL,
				    "machines have no limit of %s: " CGROUP_ROOT
				    "/%s is not mounted",
				    controllers[i].name, controllers[i].name);
}

int cgroup_make_parent(const char *name, struct error *err)
{
	int r = for_each(name, make_parent, (void *)name, err);

	if (r < 0)
		return r;
	tell_of_missing();
	return for_each(name, limit_parent, NULL, err);
}

/* ---------------------------------------------------------------- entering, removing */

struct doors {
	int fds[CGROUP_DOORS];
	size_t count;
};

static int open_door(const struct controller *controller, const char *folder, void *data,
		     struct error *err)
{
	struct doors *doors = data;
	_cleanup_free_ char *path = path_join(folder, controller ? "tasks" : "cgroup.procs");
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	/* A machine of an earlier version is in none. */
	if (fd < 0 && errno == ENOENT && controller && controller->optional)
		return 0;
	if (fd < 0)
		return error_set_errno(err, errno, "cannot open %s", path);
	doors->fds[doors->count++] = fd;
	return 0;
}

int cgroup_open(const char *name, int ret_doors[static CGROUP_DOORS], size_t *ret_count,
		struct error *err)
{
	struct doors doors = {};
	int r = for_each(name, open_door, &doors, err);

	for (size_t i = 0; i < doors.count; i++) {
		if (r < 0)
			close(doors.fds[i]);
		else
			ret_doors[i] = doors.fds[i];
	}
	if (r == 0)
		*ret_count = doors.count;
	return r;
}

static int remove_group(_unused_ const struct controller *controller, const char *folder,
			_unused_ void *data, struct error *err)
{
	if (rmdir(folder) < 0 && errno != ENOENT)
		return error_set_errno(err, errno, "cannot remove the control group %s", folder);
	return 0;
}

int cgroup_remove(const char *name, struct error *err)
{
	return for_each(name, remove_group, NULL, err);
}
