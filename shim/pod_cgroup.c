#include "shim/pod_cgroup.h"

#include <stdbool.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "factory/jail/cgroup.h"

#define SLICE ".slice"

/* "a-b.slice" is in "a.slice": systemd.slice(5). The caller frees. */
static char *slice_path(const char *slice, size_t stem)
{
	_cleanup_(strbuf_done) struct strbuf path = {};

	for (size_t i = 1; i <= stem; i++)
		if (slice[i] == '-' || i == stem)
			strbuf_addf(&path, "%s%.*s" SLICE, path.len > 0 ? "/" : "", (int)i, slice);
	return strbuf_steal(&path);
}

/* "SLICE:PREFIX:NAME" */
static bool is_systemds(const char *path)
{
	return path[0] != '/' && strchr(path, ':') != strrchr(path, ':');
}

static int find_slice(const char *path, char **ret_group, struct error *err)
{
	size_t len = strcspn(path, ":"), suffix = strlen(SLICE);

	if (len <= suffix || strncmp(path + len - suffix, SLICE, suffix) != 0 || path[0] == '-')
		return error_set(err, EINVAL, "linux.cgroupsPath \"%.256s\" begins with no slice",
				 path);
	*ret_group = slice_path(path, len - suffix);
	return 0;
}

static bool leads_upwards(const char *path)
{
	for (const char *at = strstr(path, ".."); at; at = strstr(at + 1, ".."))
		if ((at == path || at[-1] == '/') && (at[2] == '/' || at[2] == '\0'))
			return true;
	return false;
}

int pod_cgroup_find(const char *cgroups_path, char **ret_group, struct error *err)
{
	const char *path = cgroups_path ? cgroups_path : "";

	if (leads_upwards(path))
		return error_set(err, EINVAL, "linux.cgroupsPath \"%.256s\" leads upwards", path);
	if (is_systemds(path))
		return find_slice(path, ret_group, err);
	path += strspn(path, "/");
	const char *last = strrchr(path, '/');
	*ret_group = last ? xstrndup(path, (size_t)(last - path)) : NULL;
	return 0;
}

static char *group_of(const char *group, const char *vm_id)
{
	return xasprintf("%s/kiln_%s", group, vm_id);
}

int pod_cgroup_join(const char *group, const char *vm_id, pid_t vmm_pid, struct error *err)
{
	_cleanup_free_ char *name = group_of(group, vm_id);
	int r = cgroup_move(vmm_pid, name, err);

	return r < 0 ? error_wrap(err, "cannot join the pod's control group") : 0;
}

void pod_cgroup_leave(const char *group, const char *vm_id)
{
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *name = group_of(group, vm_id);

	if (cgroup_remove(name, &err) < 0)
		log_warning(vm_id, "%s", error_message(&err));
}
