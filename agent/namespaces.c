#include "agent/namespaces.h"

#include <fcntl.h>
#include <sched.h>

#include "base/strings.h"

static int add_namespace(const Grpc__LinuxNamespace *ns, struct namespace_plan *plan,
			 struct error *err)
{
	const char *path = str_empty(ns->path) ? NULL : ns->path;
	const struct {
		const char *type;
		uint64_t flag;
		const char **path;
	} known[] = {
		{ "pid", CLONE_NEWPID, NULL },
		{ "ipc", CLONE_NEWIPC, &plan->ipc_path },
		{ "uts", CLONE_NEWUTS, &plan->uts_path },
		{ "cgroup", 0, &plan->cgroup_path },
		{ "mount", CLONE_NEWNS, NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (!str_equal(ns->type, known[i].type))
			continue;
		if (path && !known[i].path)
			return error_set(err, EOPNOTSUPP, "joining a %s namespace is not supported",
					 ns->type);
		if (known[i].path)
			*known[i].path = path;
		if (!path)
			plan->clone_flags |= known[i].flag;
		else if (known[i].flag == 0)
			plan->new_cgroup = false;
		return 0;
	}
	if (str_equal(ns->type, "network"))
		return 0;
	return error_set(err, EOPNOTSUPP, "namespace type \"%s\" is not supported", ns->type);
}

int namespace_plan_init(const Grpc__Spec *spec, struct namespace_plan *ret, struct error *err)
{
	/* An engine on a host with cgroup v1 does not ask for a cgroup namespace, because v1 had
	 * none worth having; the guest's is always v2. */
	struct namespace_plan plan = { .clone_flags = CLONE_NEWNS, .new_cgroup = true };

	for (size_t i = 0; spec->linux && i < spec->linux->n_namespaces; i++) {
		int r = add_namespace(spec->linux->namespaces[i], &plan, err);
		if (r < 0)
			return r;
	}
	*ret = plan;
	return 0;
}

static int join(const char *path, int type, struct error *err)
{
	_cleanup_close_ int fd = -EBADF;

	if (!path)
		return 0;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_set_errno(err, errno, "cannot open namespace %s", path);
	if (setns(fd, type) < 0)
		return error_set_errno(err, errno, "cannot join namespace %s", path);
	return 0;
}

int namespace_enter(const struct namespace_plan *plan, struct error *err)
{
	int r = join(plan->ipc_path, CLONE_NEWIPC, err);

	if (r == 0)
		r = join(plan->uts_path, CLONE_NEWUTS, err);
	if (r == 0)
		r = join(plan->cgroup_path, CLONE_NEWCGROUP, err);
	if (r == 0 && plan->new_cgroup && unshare(CLONE_NEWCGROUP) < 0)
		return error_set_errno(err, errno, "cannot make a cgroup namespace");
	return r;
}
