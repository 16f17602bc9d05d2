#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <string.h>
#include <sys/capability.h>

#include "agent/namespaces.h"
#include "agent/process_plan.h"
#include "agent/rootfs.h"
#include "base/strings.h"

static char *args[] = { (char *)"sh", (char *)"-c" };
static char *env[] = { (char *)"PATH=/a", (char *)"PATHS=no", (char *)"PATH=/b", (char *)"E=" };

static Grpc__Process process_make(void)
{
	Grpc__Process process = GRPC__PROCESS__INIT;

	process.n_args = ARRAY_SIZE(args);
	process.args = args;
	process.n_env = ARRAY_SIZE(env);
	process.env = env;
	process.cwd = (char *)"/";
	return process;
}

static void test_process(void **state _unused_)
{
	Grpc__Process process = process_make();
	struct process_plan plan;

	assert_int_equal(process_plan_init(&process, NULL, &plan, NULL), 0);
	assert_string_equal(plan.args[1], "-c");
	assert_null(plan.args[2]);
	assert_string_equal(plan.env[0], "PATH=/b");
	assert_null(plan.env[3]);
	assert_null(plan.env[4]);
	assert_string_equal(process_plan_getenv(&plan, "PATH"), "/b");
	assert_string_equal(process_plan_getenv(&plan, "E"), "");
	assert_null(process_plan_getenv(&plan, "PAT"));
	assert_int_equal(plan.caps.bounding, 0);
	process_plan_done(&plan);
}

static void expect_refused(const Grpc__Process *process, const char *sentence)
{
	_cleanup_(error_done) struct error err = {};
	struct process_plan plan;

	assert_int_equal(process_plan_init(process, NULL, &plan, &err), -EINVAL);
	if (!strstr(error_message(&err), sentence))
		fail_msg("\"%s\" is not about %s", error_message(&err), sentence);
}

static void test_bad_processes(void **state _unused_)
{
	char *bad_env[] = { (char *)"NOVALUE" };
	char *no_args[] = { (char *)"" };
	Grpc__POSIXRlimit limit = GRPC__POSIXRLIMIT__INIT, *limits[] = { &limit };
	Grpc__Process process = process_make();

	expect_refused(NULL, "no process");
	process.n_args = 0;
	expect_refused(&process, "args");
	process.n_args = 1;
	process.args = no_args;
	expect_refused(&process, "args");
	process = process_make();
	process.cwd = (char *)"relative";
	expect_refused(&process, "absolute");
	process = process_make();
	process.env = bad_env;
	process.n_env = 1;
	expect_refused(&process, "NAME=value");
	process = process_make();
	process.oomscoreadj = 1001;
	expect_refused(&process, "oomScoreAdj");
	process = process_make();
	process.rlimits = limits;
	process.n_rlimits = 1;
	limit.type = (char *)"RLIMIT_NONSENSE";
	expect_refused(&process, "no resource limit");
	limit.type = (char *)"RLIMIT_NOFILE";
	limit.soft = 2;
	limit.hard = 1;
	expect_refused(&process, "above the hard one");
}

static int parse_capabilities(char **names, size_t count, struct caps *ret)
{
	Grpc__LinuxCapabilities message = GRPC__LINUX_CAPABILITIES__INIT;

	message.n_bounding = message.n_permitted = message.n_ambient = count;
	message.bounding = message.permitted = message.ambient = names;
	message.n_inheritable = count > 0 ? 1 : 0;
	message.inheritable = names;
	return caps_parse(&message, ret, NULL);
}

/* With "CAP_" as in OCI, and without as Kata's clients write it. */
static void test_capabilities(void **state _unused_)
{
	char *names[] = { (char *)"CAP_CHOWN", (char *)"cap_kill", (char *)"SYS_ADMIN" };
	struct caps caps;

	assert_int_equal(parse_capabilities(names, ARRAY_SIZE(names), &caps), 0);
	assert_int_equal(caps.bounding, 1 | UINT64_C(1) << CAP_KILL | UINT64_C(1) << CAP_SYS_ADMIN);
	assert_int_equal(caps.ambient, 1); /* what is not inheritable cannot be */
	assert_int_equal(caps_parse(NULL, &caps, NULL), 0);
	assert_int_equal(caps.bounding, 0);
}

static void test_unknown_capabilities(void **state _unused_)
{
	static char long_name[1 << 20];
	char *unknown[] = { (char *)"CAP_NONSENSE", (char *)"", (char *)"7", long_name };
	struct caps caps;

	memset(long_name, 'A', sizeof(long_name) - 1);
	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++)
		assert_int_equal(parse_capabilities(&unknown[i], 1, &caps), -EINVAL);
}

static void test_variables_come_once(void **state _unused_)
{
	char *twice[] = { (char *)"A=1", (char *)"AB=x", (char *)"B=",
			  (char *)"A=2", (char *)"A=3",  (char *)"AB=" };
	Grpc__Process process = process_make();
	struct process_plan plan;

	process.env = twice;
	process.n_env = ARRAY_SIZE(twice);
	assert_int_equal(process_plan_init(&process, NULL, &plan, NULL), 0);
	assert_string_equal(plan.env[0], "A=3");
	assert_string_equal(plan.env[1], "AB=");
	assert_string_equal(plan.env[2], "B=");
	assert_null(plan.env[3]);
	assert_int_equal(plan.nenv, 3);
	process_plan_done(&plan);
}

static void test_umask(void **state _unused_)
{
	Grpc__Process process = process_make();
	Grpc__User user = GRPC__USER__INIT;
	struct process_plan plan;

	process.user = &user;
	assert_int_equal(process_plan_init(&process, NULL, &plan, NULL), 0);
	assert_int_equal(plan.mask, 022);
	process_plan_done(&plan);
	user.umask_case = GRPC__USER__UMASK_UMASK;
	user.umask = 0;
	assert_int_equal(process_plan_init(&process, NULL, &plan, NULL), 0);
	assert_int_equal(plan.mask, 0);
	process_plan_done(&plan);
}

static void test_namespaces(void **state _unused_)
{
	Grpc__LinuxNamespace entries[5], *list[5];
	const char *types[] = { "pid", "network", "ipc", "cgroup", "mount" };
	Grpc__Linux linux = GRPC__LINUX__INIT;
	Grpc__Spec spec = GRPC__SPEC__INIT;
	struct namespace_plan plan;

	assert_int_equal(namespace_plan_init(&spec, &plan, NULL), 0);
	assert_int_equal(plan.clone_flags, CLONE_NEWNS);
	for (size_t i = 0; i < 5; i++) {
		grpc__linux_namespace__init(&entries[i]);
		entries[i].type = (char *)types[i];
		list[i] = &entries[i];
	}
	linux.namespaces = list;
	linux.n_namespaces = 5;
	spec.linux = &linux;
	entries[2].path = (char *)"/proc/1/ns/ipc";
	assert_int_equal(namespace_plan_init(&spec, &plan, NULL), 0);
	assert_int_equal(plan.clone_flags, CLONE_NEWNS | CLONE_NEWPID);
	assert_true(plan.new_cgroup);
	assert_string_equal(plan.ipc_path, "/proc/1/ns/ipc");
	entries[0].type = (char *)"user";
	assert_int_equal(namespace_plan_init(&spec, &plan, NULL), -EOPNOTSUPP);
	entries[0].type = (char *)"mnt";
	assert_int_equal(namespace_plan_init(&spec, &plan, NULL), -EINVAL); /* twice */
	linux.n_namespaces = 1;
	assert_int_equal(namespace_plan_init(&spec, &plan, NULL), 0);
	entries[0].type = (char *)"time";
	assert_int_equal(namespace_plan_init(&spec, &plan, NULL), 0);
	assert_int_equal(plan.clone_flags, CLONE_NEWNS); /* the guest's clocks */
	entries[0].path = (char *)"/proc/1/ns/time";
	assert_int_equal(namespace_plan_init(&spec, &plan, NULL), -EOPNOTSUPP);
	entries[0].path = (char *)"/proc/1/ns/mnt";
	entries[0].type = (char *)"mount";
	assert_int_equal(namespace_plan_init(&spec, &plan, NULL), -EOPNOTSUPP);
	entries[0].type = (char *)"pid";
	assert_int_equal(namespace_plan_init(&spec, &plan, NULL), -EOPNOTSUPP);
}

static void test_rootfs(void **state _unused_)
{
	Grpc__Mount dev = GRPC__MOUNT__INIT, cgroup = GRPC__MOUNT__INIT,
		    *mounts[] = { &dev, &cgroup };
	char *options[] = { (char *)"ro", (char *)"cpu" };
	Grpc__Root root = GRPC__ROOT__INIT;
	Grpc__Spec spec = GRPC__SPEC__INIT;
	struct rootfs_plan plan;

	assert_int_equal(rootfs_plan_init(&spec, &plan, NULL), -EINVAL);
	spec.root = &root;
	root.path = (char *)"relative";
	assert_int_equal(rootfs_plan_init(&spec, &plan, NULL), -EINVAL);
	root.path = (char *)"/rootfs";
	spec.mounts = mounts;
	spec.n_mounts = 2;
	dev.destination = (char *)"/dev";
	dev.type = (char *)"bind";
	cgroup.destination = (char *)"/sys/fs/cgroup";
	cgroup.type = (char *)"cgroup";
	cgroup.options = options;
	cgroup.n_options = 2;
	assert_int_equal(rootfs_plan_init(&spec, &plan, NULL), 0);
	assert_true(plan.bind_dev);
	assert_string_equal(plan.mounts[1].type, "cgroup2");
	assert_int_equal(plan.mounts[1].options.ndata, 2);
	assert_string_equal(plan.mounts[1].options.data[0], "nsdelegate");
	assert_string_equal(plan.mounts[1].options.data[1], "memory_recursiveprot");
	rootfs_plan_done(&plan);
	cgroup.destination = (char *)"relative"; /* to the root: what old tools write */
	assert_int_equal(rootfs_plan_init(&spec, &plan, NULL), 0);
	rootfs_plan_done(&plan);
	options[1] = (char *)"tmpcopyup";
	assert_int_equal(rootfs_plan_init(&spec, &plan, NULL), -EINVAL);
	cgroup.destination = (char *)"";
	assert_int_equal(rootfs_plan_init(&spec, &plan, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_process),
		cmocka_unit_test(test_bad_processes),
		cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_unknown_capabilities),
		cmocka_unit_test(test_variables_come_once),
		cmocka_unit_test(test_umask),
		cmocka_unit_test(test_namespaces),
		cmocka_unit_test(test_rootfs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
