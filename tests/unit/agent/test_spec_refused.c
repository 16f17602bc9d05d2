/* Fields of the OCI specification that a guest has not: each is refused by its name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/namespaces.h"
#include "agent/process_plan.h"
#include "agent/rootfs.h"
#include "agent/spec_refused.h"
#include "base/memory.h"
#include "base/strings.h"
#include "proto/pbjson.h"

/* What refuses first, as a container's creation looks at it. */
static int look(const Grpc__Spec *spec, struct error *err)
{
	struct process_plan process = {};
	struct rootfs_plan rootfs = {};
	struct namespace_plan namespaces;
	int r = process_plan_init(spec->process, NULL, &process, err);

	if (r == 0)
		r = rootfs_plan_init(spec, &rootfs, err);
	if (r == 0)
		r = namespace_plan_init(spec, &namespaces, err);
	if (r == 0 && spec->linux && spec->linux->resources)
		r = resources_refuse(spec->linux->resources, err);
	process_plan_done(&process);
	rootfs_plan_done(&rootfs);
	return r;
}

static int look_at(const char *process, const char *members, struct error *err)
{
	_cleanup_free_ char *text = xasprintf("{\"process\": {\"args\": [\"/x\"]%s},"
					      " \"root\": {\"path\": \"/\"}%s}",
					      process, members);
	ProtobufCMessage *message = NULL;
	json_t *json = NULL;

	if (pbjson_parse(text, strlen(text), &json, err) < 0 ||
	    pbjson_to_message(&grpc__spec__descriptor, json, PBJSON_STRICT, &message, err) < 0)
		fail_msg("%s: %s", text, error_message(err));
	json_decref(json);
	int r = look((const Grpc__Spec *)message, err);
	protobuf_c_message_free_unpacked(message, NULL);
	return r;
}

struct row {
	const char *field;
	const char *json;
};

static void check_rows(const struct row *rows, size_t count, const char *before, const char *after,
		       bool of_process)
{
	for (size_t i = 0; i < count; i++) {
		_cleanup_(error_done) struct error err = {};
		_cleanup_free_ char *json = xasprintf("%s%s%s", before, rows[i].json, after);
		int r = of_process ? look_at(json, "", &err) : look_at("", json, &err);
		if (r == 0 || !strstr(error_message(&err), rows[i].field))
			fail_msg("%s: %d, \"%s\"", rows[i].field, r, error_message(&err));
	}
}

static void test_of_the_process(void **state _unused_)
{
	static const struct row rows[] = {
		{ "process.apparmorProfile", "\"apparmorProfile\": \"mine\"" },
		{ "process.selinuxLabel", "\"selinuxLabel\": \"a:b:c:s0\"" },
		{ "process.execCPUAffinity", "\"execCPUAffinity\": {\"initial\": \"0\"}" },
		{ "process.scheduler.policy", "\"scheduler\": {\"policy\": \"SCHED_NOT\"}" },
		{ "process.scheduler.policy", "\"scheduler\": {}" },
		{ "process.scheduler.flags",
		  "\"scheduler\": {\"policy\": \"SCHED_RR\", \"flags\": [\"X\"]}" },
		{ "process.scheduler.nice",
		  "\"scheduler\": {\"policy\": \"SCHED_OTHER\", \"nice\": 20}" },
		{ "process.ioPriority.class",
		  "\"ioPriority\": {\"class\": \"IOPRIO_CLASS_NONE\"}" },
		{ "process.ioPriority.priority",
		  "\"ioPriority\": {\"class\": \"IOPRIO_CLASS_BE\", \"priority\": 8}" },
	};

	check_rows(rows, ARRAY_SIZE(rows), ", ", "", true);
}

static void test_of_resources(void **state _unused_)
{
	static const struct row rows[] = {
		{ "memory.kernel ", "\"memory\": {\"kernel\": 1}" },
		{ "memory.kernelTCP", "\"memory\": {\"kernelTCP\": 1}" },
		{ "memory.swappiness", "\"memory\": {\"swappiness\": 60}" },
		{ "memory.disableOOMKiller", "\"memory\": {\"disableOOMKiller\": true}" },
		{ "cpu.realtimeRuntime", "\"cpu\": {\"realtimeRuntime\": 1}" },
		{ "cpu.realtimePeriod", "\"cpu\": {\"realtimePeriod\": 1}" },
		{ "network.classID", "\"network\": {\"classID\": 1}" },
		{ "network.priorities", "\"network\": {\"priorities\": [{\"name\": \"a\"}]}" },
		{ "blockIO.leafWeight", "\"blockIO\": {\"leafWeight\": 10}" },
		{ "resources.rdma", "\"rdma\": {\"mlx5_1\": {\"hcaHandles\": 3}}" },
	};

	check_rows(rows, ARRAY_SIZE(rows), ", \"linux\": {\"resources\": {", "}}", false);
}

static void test_of_linux(void **state _unused_)
{
	static const struct row rows[] = {
		{ "linux.intelRdt", "\"intelRdt\": {}" },
		{ "linux.mountLabel", "\"mountLabel\": \"x\"" },
		{ "linux.uidMappings", "\"uidMappings\": [{\"size\": 1}]" },
		{ "linux.gidMappings", "\"gidMappings\": [{\"size\": 1}]" },
		{ "linux.rootfsPropagation", "\"rootfsPropagation\": \"x\"" },
		{ "linux.personality.domain", "\"personality\": {\"domain\": \"BSD\"}" },
		{ "linux.personality.flags",
		  "\"personality\": {\"domain\": \"LINUX\", \"flags\": [\"X\"]}" },
		{ "linux.timeOffsets", "\"timeOffsets\": {\"boottime\": {\"secs\": 5}}" },
	};

	check_rows(rows, ARRAY_SIZE(rows), ", \"linux\": {", "}", false);
}

static void test_of_the_rest(void **state _unused_)
{
	static const struct row rows[] = {
		{ "hooks.prestart", "\"hooks\": {\"prestart\": [{}]}" },
		{ "hooks.createRuntime", "\"hooks\": {\"createRuntime\": [{}]}" },
		{ "hooks.createContainer", "\"hooks\": {\"createContainer\": [{}]}" },
		{ "hooks.startContainer", "\"hooks\": {\"startContainer\": [{}]}" },
		{ "hooks.poststart", "\"hooks\": {\"poststart\": [{}]}" },
		{ "hooks.poststop", "\"hooks\": {\"poststop\": [{}]}" },
		{ "mounts[0].uidMappings",
		  "\"mounts\": [{\"destination\": \"/x\", \"uidMappings\": [{\"size\": 1}]}]" },
	};

	check_rows(rows, ARRAY_SIZE(rows), ", ", "", false);
}

/* What engines send without anybody having asked for it, and values that mean nothing. */
static void test_what_is_not_refused(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};
	static const char process[] =
		", \"apparmorProfile\": \"cri-containerd.apparmor.d\", \"selinuxLabel\": \"\","
		" \"scheduler\": {\"policy\": \"SCHED_BATCH\", \"nice\": -5},"
		" \"ioPriority\": {\"class\": \"IOPRIO_CLASS_IDLE\"}";
	static const char members[] =
		", \"hooks\": {}, \"linux\": {\"personality\": {\"domain\": \"LINUX32\"},"
		" \"resources\": {"
		" \"memory\": {\"swappiness\": 0, \"kernel\": -1, \"disableOOMKiller\": false},"
		" \"network\": {}, \"cpu\": {\"realtimeRuntime\": 0}}}";

	if (look_at(process, members, &err) != 0)
		fail_msg("%s", error_message(&err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_of_the_process),
		cmocka_unit_test(test_of_resources),
		cmocka_unit_test(test_of_linux),
		cmocka_unit_test(test_of_the_rest),
		cmocka_unit_test(test_what_is_not_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
