#include "agent/namespaces.h"

#include <fcntl.h>
#include <sched.h>

#include "base/strings.h"

/* Kata's clients have the names of /proc/PID/ns. */
static const char *full_name(const char *type)
{
	if (str_equal(type, "mnt"))
		return "mount";
	return str_equal(type, "net") ? "network" : type;
}

static int add_namespace(const Grpc__LinuxNamespace *ns, struct namespace_plan *plan,
			 struct error *err)
{
	const char *path = str_empty(ns->path) ? NULL : ns->path;
	const char *type = full_name(ns->type);
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
		if (!str_equal(type, known[i].type))
			continue;
		if (path && !known[i].path)
			return error_set(err, EOPNOTSUPP,
					 "joining a %.64s namespace is not supported", type);
		if (known[i].path)
			*known[i].path = path;
		if (!path)
			plan->clone_flags |= known[i].flag;
		else if (known[i].flag == 0)
			plan->new_cgroup = false;
		return 0;
	}
	if (str_equal(type, "network") || (str_equal(type, "time") && !path))
		return 0;
	if (str_equal(type, "time"))
		return error_set(err, EOPNOTSUPP, "joining a time namespace is not supported");
	return error_set(err, EOPNOTSUPP, "namespace type \"%.32s\" is not supported", type);
}

/* Of the kinds that are known there are few, so it looks at few. */
static int check_once(const Grpc__Linux *linux, size_t index, struct error *err)
{
	const char *type = full_name(linux->namespaces[index]->type);

	for (size_t i = 0; i < index; i++)
		if (str_equal(type, full_name(linux->namespaces[i]->type)))
			return error_set(err, EINVAL, "namespace \"%.32s\" is there twice", type);
	return 0;
}

int namespace_plan_init(const Grpc__Spec *spec, struct namespace_plan *ret, struct error *err)
{
	/* An engine on a host with cgroup v1 does not ask for a cgroup namespace, because v1 had
	 * none worth having; the guest's is always v2. */
	struct namespace_plan plan = { .clone_flags = CLONE_NEWNS, .new_cgroup = true };
	int r = 0;

	for (size_t i = 0; spec->linux && r == 0 && i < spec->linux->n_namespaces; i++)
		r = check_once(spec->linux, i, err);
	if (r < 0)
		return r;
	for (size_t i = 0; spec->linux && i < spec->linux->n_namespaces; i++) {
		r = add_namespace(spec->linux->namespaces[i], &plan, err);
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
