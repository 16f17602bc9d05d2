#include "agent/cgroup.h"

#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "agent/cgroup_tree.h"
#include "agent/device_control.h"
#include "agent/mounts.h"
#include "agent/spec_refused.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"

#define HELD "/sys/fs/cgroup/.kiln-devices" /* no container's id begins so */

enum { VALUE_MAX = 64, CONTROLLERS_MAX = 4096, GROUPS_MAX = 64 * 1024 };

struct cgroup {
	char *path; /* owned */
	int fd;     /* owned */
	int alone;  /* owned; for cgroup_birth_fd(); -EBADF until it is needed */
};

static bool is_cgroup2(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

const char *cgroup_root(void)
{
	static const char *const candidates[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };

	for (size_t i = 0; i < ARRAY_SIZE(candidates); i++)
		if (is_cgroup2(candidates[i]))
			return candidates[i];
	return NULL;
}

static bool is_basic(const char *controller)
{
	static const char *const basic[] = { "cpu", "memory", "pids" };

	for (size_t i = 0; i < ARRAY_SIZE(basic); i++)
		if (str_equal(controller, basic[i]))
			return true;
	return false;
}

int cgroup_enable_basic(struct error *err)
{
	_cleanup_free_ char *controllers = NULL;
	_cleanup_(strbuf_done) struct strbuf value = {};
	char *rest = NULL;
	int r = file_read("/sys/fs/cgroup/cgroup.controllers", CONTROLLERS_MAX, &controllers, NULL,
			  err);

	if (r < 0)
		return r;
	for (char *name = strtok_r(controllers, " \n", &rest); name;
	     name = strtok_r(NULL, " \n", &rest))
		if (is_basic(name))
			strbuf_addf(&value, "%s+%s", value.len ? " " : "", name);
	if (value.len == 0)
		return 0;
	return file_write_value("/sys/fs/cgroup/cgroup.subtree_control", value.text, err);
}

int cgroup_hold_device_control(struct error *err)
{
	if (mkdir(HELD, 0755) < 0 && errno != EEXIST)
		return error_set_errno(err, errno, "cannot make cgroup " HELD);

	_cleanup_close_ int fd = open(HELD, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return error_set_errno(err, errno, "cannot open cgroup " HELD);
	return device_control_set(fd, NULL, err);
}

/* ---------------------------------------------------------------- limits */

static int write_value(const struct cgroup *cgroup, const char *file, const char *value)
{
	_cleanup_close_ int fd = openat(cgroup->fd, file, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return write_full(fd, value, strlen(value));
}

/* The controller of a file is what its name begins with. */
static int enable_controller_of(const char *file)
{
	_cleanup_free_ char *path = path_join(cgroup_root(), "cgroup.subtree_control");
	char word[VALUE_MAX];

	snprintf(word, sizeof(word), "+%.*s", (int)strcspn(file, "."), file);
	return file_write_value(path, word, NULL);
}

void cgroup_count_block_io(void)
{
	static bool is_enabled; /* of the guest; nobody takes it back */

	if (!is_enabled && cgroup_root())
		is_enabled = enable_controller_of("io.stat") == 0;
}

static int set_limit(const struct cgroup *cgroup, const char *file, const char *value,
		     struct error *err)
{
	int r = write_value(cgroup, file, value);

	if (r == -ENOENT && enable_controller_of(file) == 0)
		r = write_value(cgroup, file, value);
	if (r == -ENOENT)
		return error_set(err, EOPNOTSUPP,
				 "cannot set %s: this kernel's cgroups do not have the controller",
				 file);
	if (r < 0)
		return error_set_errno(err, r, "cannot set %s to \"%s\"", file, value);
	return 0;
}

/* 0 means that no limit was given, a negative number that there is none. */
static int set_number(const struct cgroup *cgroup, const char *file, int64_t number,
		      struct error *err)
{
	char value[VALUE_MAX];

	if (number == 0)
		return 0;
	if (number < 0)
		return set_limit(cgroup, file, "max", err);
	snprintf(value, sizeof(value), "%" PRId64, number);
	return set_limit(cgroup, file, value, err);
}

/* The kernel would take a limit below what is used, and kill until it holds. */
static int check_usage(const struct cgroup *cgroup, int64_t limit, struct error *err)
{
	_cleanup_close_ int fd = openat(cgroup->fd, "memory.current", O_RDONLY | O_CLOEXEC);
	char text[VALUE_MAX] = "";

	if (limit <= 0 || fd < 0 || read_full(fd, text, sizeof(text) - 1) <= 0 ||
	    strtoll(text, NULL, 10) <= limit)
		return 0;
	return error_set(err, EBUSY,
			 "memory.limit %" PRId64 " is below what is used, %.*s, and "
			 "memory.checkBeforeUpdate is set",
			 limit, (int)strcspn(text, "\n"), text);
}

static int apply_memory(const struct cgroup *cgroup, const Grpc__LinuxMemory *memory,
			struct error *err)
{
	int64_t swap = memory->swap;
	int checked = memory->checkbeforeupdate ? check_usage(cgroup, memory->limit, err) : 0;

	if (checked < 0)
		return checked;

	/* OCI counts memory and swap together, v2 counts swap alone. */
	if (swap > 0) {
		if (memory->limit <= 0 || swap < memory->limit)
			return error_set(err, EINVAL,
					 "memory.swap (%" PRId64
					 ") holds memory and swap: it cannot be below the limit",
					 swap);
		swap -= memory->limit;
	}

	int r = set_number(cgroup, "memory.max", memory->limit, err);

	if (r == 0)
		r = set_number(cgroup, "memory.low", memory->reservation, err);
	if (r == 0 && memory->swap > 0 && swap == 0)
		return set_limit(cgroup, "memory.swap.max", "0", err);
	return r < 0 ? r : set_number(cgroup, "memory.swap.max", swap, err);
}

static int apply_cpu(const struct cgroup *cgroup, const Grpc__LinuxCPU *cpu, struct error *err)
{
	char value[VALUE_MAX];
	uint64_t period = cpu->period ? cpu->period : 100000;
	int r = 0;

	if (cpu->shares) {
		uint64_t shares = cpu->shares < 2 ? 2 : cpu->shares > 262144 ? 262144 : cpu->shares;
		/* 2..262144 of v1 onto 1..10000 of v2. */
		r = set_number(cgroup, "cpu.weight", (int64_t)(1 + (shares - 2) * 9999 / 262142),
			       err);
	}
	if (r == 0 && (cpu->quota || cpu->period)) {
		if (cpu->quota > 0)
			snprintf(value, sizeof(value), "%" PRId64 " %" PRIu64, cpu->quota, period);
		else
			snprintf(value, sizeof(value), "max %" PRIu64, period);
		r = set_limit(cgroup, "cpu.max", value, err);
	}
	if (r == 0 && cpu->burst)
		r = set_number(cgroup, "cpu.max.burst", (int64_t)cpu->burst, err);
	if (r == 0 && cpu->idle)
		r = set_number(cgroup, "cpu.idle", cpu->idle, err);
	if (r == 0 && !str_empty(cpu->cpus))
		r = set_limit(cgroup, "cpuset.cpus", cpu->cpus, err);
	if (r == 0 && !str_empty(cpu->mems))
		r = set_limit(cgroup, "cpuset.mems", cpu->mems, err);
	return r;
}

static int apply_hugepages(const struct cgroup *cgroup, const Grpc__LinuxHugepageLimit *limit,
			   struct error *err)
{
	char file[VALUE_MAX], value[VALUE_MAX];

	for (const char *p = limit->pagesize; *p; p++)
		if (!isalnum((unsigned char)*p))
			return error_set(err, EINVAL, "\"%s\" is no huge page size",
					 limit->pagesize);
	if (snprintf(file, sizeof(file), "hugetlb.%s.max", limit->pagesize) >= (int)sizeof(file))
		return error_set(err, EINVAL, "\"%s\" is no huge page size", limit->pagesize);
	snprintf(value, sizeof(value), "%" PRIu64, limit->limit);
	int r = set_limit(cgroup, file, value, err);
	if (r == -EOPNOTSUPP && limit->limit == 0) {
		error_done(err); /* a size that the guest lacks: it has no page of it */
		return 0;
	}
	return r;
}

/* v1 counts from 10 to 1000, v2 from 1 to 10000. */
static int apply_block_io(const struct cgroup *cgroup, const Grpc__LinuxBlockIO *io,
			  struct error *err)
{
	if (io->n_weightdevice + io->n_throttlereadbpsdevice + io->n_throttlewritebpsdevice +
		    io->n_throttlereadiopsdevice + io->n_throttlewriteiopsdevice >
	    0)
		return error_set(
			err, EOPNOTSUPP,
			"linux.resources.blockIO: limits of a single device are not "
			"supported, because the numbers of the host's devices mean others here");
	if (io->weight == 0)
		return 0;
	if (io->weight < 10 || io->weight > 1000)
		return error_set(err, EINVAL,
				 "linux.resources.blockIO.weight %u is not from 10 to 1000",
				 io->weight);
	return set_number(cgroup, "io.weight", 1 + (io->weight - 10) * 9999 / 990, err);
}

/* As it is. What begins with "cgroup." is no limit. */
static int apply_unified(const struct cgroup *cgroup,
			 const Grpc__LinuxResources__UnifiedEntry *entry, struct error *err)
{
	if (strchr(entry->key, '/') || !strchr(entry->key, '.') || *entry->key == '.' ||
	    str_after(entry->key, "cgroup."))
		return error_set(err, EINVAL, "linux.resources.unified: \"%.64s\" is no limit",
				 entry->key);
	int r = set_limit(cgroup, entry->key, entry->value, err);
	return r < 0 ? error_wrap(err, "linux.resources.unified") : 0;
}

static int apply_resources(const struct cgroup *cgroup, const Grpc__LinuxResources *resources,
			   struct error *err)
{
	int r = resources_refuse(resources, err);

	if (r == 0 && resources->memory)
		r = apply_memory(cgroup, resources->memory, err);
	if (r == 0 && resources->cpu)
		r = apply_cpu(cgroup, resources->cpu, err);
	if (r == 0 && resources->pids)
		r = set_number(cgroup, "pids.max", resources->pids->limit, err);
	for (size_t i = 0; r == 0 && i < resources->n_hugepagelimits; i++)
		r = apply_hugepages(cgroup, resources->hugepagelimits[i], err);
	if (r == 0 && resources->blockio)
		r = apply_block_io(cgroup, resources->blockio, err);
	for (size_t i = 0; r == 0 && i < resources->n_unified; i++)
		r = apply_unified(cgroup, resources->unified[i], err);
	return r;
}

int cgroup_update(const struct cgroup *cgroup, const Grpc__LinuxResources *resources,
		  struct error *err)
{
	if (!cgroup)
		return error_set(err, EOPNOTSUPP,
				 "cannot limit resources: no cgroup v2 is mounted");
	return apply_resources(cgroup, resources, err);
}

static bool has_limits(const Grpc__LinuxResources *resources)
{
	return resources &&
	       (resources->memory || resources->cpu || resources->pids ||
		resources->n_hugepagelimits > 0 || resources->blockio || resources->n_unified > 0);
}

/* ---------------------------------------------------------------- life */

static int cgroup_make(struct cgroup *cgroup, struct error *err)
{
	if (mkdir(cgroup->path, 0755) < 0)
		return error_set_errno(err, errno, "cannot make cgroup %s", cgroup->path);
	cgroup->fd = open(cgroup->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (cgroup->fd < 0)
		return error_set_errno(err, errno, "cannot open cgroup %s", cgroup->path);
	return 0;
}

int cgroup_new(const char *id, const Grpc__LinuxResources *resources, struct cgroup **ret,
	       struct error *err)
{
	const char *root = cgroup_root();

	if (!root) {
		if (has_limits(resources))
			return error_set(err, EOPNOTSUPP,
					 "cannot limit resources: no cgroup v2 is mounted");
		*ret = NULL;
		return 0;
	}

	_cleanup_(cgroup_free_cleanup) struct cgroup *cgroup = xnew(struct cgroup);

	cgroup->fd = cgroup->alone = -EBADF;
	cgroup->path = path_join(root, id);

	int r = cgroup_make(cgroup, err);

	if (r < 0)
		return r;
	r = device_control_set(cgroup->fd, resources, err);
	if (r == 0 && resources)
		r = apply_resources(cgroup, resources, err);
	if (r < 0) {
		(void)!rmdir(cgroup->path);
		return r;
	}
	*ret = steal_ptr(cgroup);
	return 0;
}

int cgroup_fd(const struct cgroup *cgroup)
{
	return cgroup ? cgroup->fd : -EBADF;
}

static int show_alone(const struct cgroup *cgroup, int dir, int *ret_copy, struct error *err)
{
	_cleanup_close_ int copy = -EBADF;
	int r = mount_copy(dir, "", false, &copy, err);

	if (r < 0)
		return r;
	r = mount_set_readonly(copy, false);
	if (r < 0)
		return error_set_errno(err, r, "cannot show cgroup %s alone", cgroup->path);
	*ret_copy = steal_fd(&copy);
	return 0;
}

int cgroup_birth_fd(struct cgroup *cgroup, int *ret_fd, struct error *err)
{
	int r = 0;

	if (cgroup && cgroup->alone < 0)
		r = show_alone(cgroup, cgroup->fd, &cgroup->alone, err);
	if (r == 0)
		*ret_fd = cgroup ? cgroup->alone : -EBADF;
	return r;
}

/* The rest of path after the component name and its slash; NULL: there is no such component. */
static const char *path_after(const char *path, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = strchr(path, '/'); at; at = strchr(at + 1, '/'))
		if (strncmp(at + 1, name, len) == 0 && (at[1 + len] == '/' || !at[1 + len]))
			return at + 1 + len + (at[1 + len] == '/');
	return NULL;
}

/* The group of the process as a path below the cgroup, "" for that itself. A part of *text, or
 * NULL: it is in none of them. */
static const char *find_group(char *text, const struct cgroup *cgroup)
{
	char *rest = NULL;

	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		const char *path = str_after(line, "0::"); /* of version 2 */
		if (path)
			return path_after(path, strrchr(cgroup->path, '/') + 1);
	}
	return NULL;
}

int cgroup_birth_fd_of(const struct cgroup *cgroup, pid_t pid, int *ret_fd, struct error *err)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
					   RESOLVE_NO_MAGICLINKS };
	_cleanup_free_ char *file = xasprintf("/proc/%d/cgroup", (int)pid), *text = NULL;
	_cleanup_close_ int copy = -EBADF;
	int r = file_read(file, GROUPS_MAX, &text, NULL, err);

	if (r < 0)
		return r;
	const char *path = find_group(text, cgroup);
	if (!path)
		return error_set(err, ENOENT, "process %d is not below cgroup %s", (int)pid,
				 cgroup->path);
	_cleanup_close_ int fd = (int)syscall(SYS_openat2, cgroup->fd, *path ? path : ".", &how,
					      sizeof(how));
	if (fd < 0)
		return error_set_errno(err, errno, "cannot open cgroup %s/%s", cgroup->path, path);
	r = show_alone(cgroup, fd, &copy, err);
	if (r == 0)
		*ret_fd = steal_fd(&copy);
	return r;
}

int cgroup_kill(struct cgroup *cgroup)
{
	return cgroup ? write_value(cgroup, "cgroup.kill", "1") : 0;
}

int cgroup_freeze(const struct cgroup *cgroup, bool frozen)
{
	return cgroup ? write_value(cgroup, "cgroup.freeze", frozen ? "1" : "0") : -EOPNOTSUPP;
}

bool cgroup_is_frozen(const struct cgroup *cgroup)
{
	_cleanup_close_ int fd = openat(cgroup->fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
	char text[VALUE_MAX * 2] = "";

	return fd >= 0 && read_full(fd, text, sizeof(text) - 1) > 0 && strstr(text, "frozen 1");
}

int cgroup_remove(struct cgroup *cgroup)
{
	if (!cgroup || rmdir(cgroup->path) == 0 || errno == ENOENT)
		return 0;
	if (errno != EBUSY)
		return -errno;

	/* A container may have made groups below its own. */
	int r = cgroup_tree_remove_below(cgroup->fd);

	if (r < 0)
		return r;
	return rmdir(cgroup->path) < 0 ? -errno : 0;
}

int cgroup_open_events(struct cgroup *cgroup, int *ret_fd)
{
	int fd = openat(cgroup->fd, "cgroup.events", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

void cgroup_free(struct cgroup *cgroup)
{
	if (!cgroup)
		return;
	close_fd(cgroup->alone);
	close_fd(cgroup->fd);
	free(cgroup->path);
	free(cgroup);
}
