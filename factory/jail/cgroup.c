#include "factory/jail/cgroup.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "factory/jail/cgroup_devices.h"

#define CGROUP_ROOT "/sys/fs/cgroup"

enum { MOVE_TEXT_MAX = 16 * 1024 }; /* of /proc/PID/cgroup */

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

static const char *name_of(const struct controller *controller)
{
	return controller ? controller->name : NULL;
}

static int make(const struct controller *controller, const char *folder, void *data,
		struct error *err)
{
	int r = make_folder(folder, err);

	return r < 0 ? r : cgroup_limits_write(folder, name_of(controller), data, err);
}

int cgroup_make(const char *name, const struct cgroup_limits *limits, struct error *err)
{
	return for_each(name, make, (void *)limits, err);
}

static int set_vcpus(const struct controller *controller, const char *folder, void *data,
		     struct error *err)
{
	return cgroup_limits_write_vcpus(folder, name_of(controller), *(const unsigned *)data, err);
}

int cgroup_set_vcpus(const char *name, unsigned vcpus, struct error *err)
{
	return for_each(name, set_vcpus, &vcpus, err);
}

/* ---------------------------------------------------------------- of all machines */

static int limit_parent(const struct controller *controller, const char *folder,
			_unused_ void *data, _unused_ struct error *err)
{
	bool all = !controller;
	_cleanup_(error_done) struct error why = {};

	if (cgroup_limits_weigh(folder, name_of(controller), (unsigned)get_nprocs(), &why) < 0) {
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

/* ---------------------------------------------------------------- entering */

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

/* ---------------------------------------------------------------- moving */

struct move {
	char *from; /* owned */
	const char *to;
	char pid[24];
};

static void move_done(struct move *move)
{
	free(move->from);
}

/* The group that the process is in, with v1 that of memory. The caller frees. */
static int find_group(pid_t pid, char **ret_name, struct error *err)
{
	const char *prefix = is_v2() ? "0::/" : ":memory:/";
	_cleanup_free_ char *path = xasprintf("/proc/%d/cgroup", pid);
	_cleanup_free_ char *text = NULL;
	int r = file_read(path, MOVE_TEXT_MAX, &text, NULL, err);

	if (r < 0)
		return r;
	const char *name = strstr(text, prefix);
	if (!name)
		return error_set(err, ENOENT, "%s names no control group of memory", path);
	name += strlen(prefix);
	*ret_name = xstrndup(name, strcspn(name, "\n"));
	return 0;
}

static bool is_moved(const struct controller *controller)
{
	return !controller || !controller->v1_only;
}

static int make_other(const struct controller *controller, const char *folder, void *data,
		      struct error *err)
{
	const struct move *move = data;
	_cleanup_free_ char *from = group_path(controller, move->from);
	const char *last = strrchr(move->to, '/');
	_cleanup_free_ char *parent = last ? xstrndup(move->to, (size_t)(last - move->to)) : NULL;
	int r = 0;

	if (!is_moved(controller))
		return 0;
	if (parent)
		r = make_parent(controller, folder, parent, err);
	if (r == 0)
		r = make_folder(folder, err);
	if (r == 0)
		r = cgroup_limits_copy(from, folder, name_of(controller), err);
	return r < 0 || controller ? r : cgroup_devices_limit_v2(folder, err);
}

static int enter(const struct controller *controller, const char *folder, void *data,
		 struct error *err)
{
	const struct move *move = data;

	return is_moved(controller) ? write_file(folder, "cgroup.procs", move->pid, err) : 0;
}

int cgroup_move(pid_t pid, const char *to, struct error *err)
{
	_cleanup_(move_done) struct move move = { .to = to };
	int r = find_group(pid, &move.from, err);

	if (r == 0)
		r = for_each(to, make_other, &move, err);
	snprintf(move.pid, sizeof(move.pid), "%d", pid);
	return r < 0 ? r : for_each(to, enter, &move, err);
}

/* ---------------------------------------------------------------- removing */

static int remove_group(_unused_ const struct controller *controller, const char *folder,
			void *data, struct error *err)
{
	bool *found = data;

	if (rmdir(folder) == 0)
		*found = true;
	else if (errno != ENOENT)
		return error_set_errno(err, errno, "cannot remove the control group %s", folder);
	return 0;
}

int cgroup_remove(const char *name, struct error *err)
{
	bool found = false;
	int r = for_each(name, remove_group, &found, err);

	return r < 0 ? r : found;
}
