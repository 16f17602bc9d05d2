/* Bytes as the agent's CreateContainerRequest and as an OCI Process: what the agent plans of them
 * before anything is cloned keeps the promises of agent/process_plan.h, rootfs.h and namespaces.h.
 */
#include <stdint.h>
#include <stdlib.h>

#include "agent/namespaces.h"
#include "agent/process_plan.h"
#include "agent/rootfs.h"
#include "base/log.h"
#include "proto/agent.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void plan_process(const Grpc__Process *process, const Grpc__StringUser *names)
{
	_cleanup_(error_done) struct error err = {};
	struct process_plan plan;

	if (process_plan_init(process, names, &plan, &err) < 0) {
		if (!err.message)
			abort();
		return;
	}
	if (!plan.args || !plan.args[0] || plan.env[plan.nenv])
		abort();
	(void)process_plan_getenv(&plan, "PATH");
	process_plan_done(&plan);
}

static void plan_spec(const Grpc__Spec *spec)
{
	_cleanup_(error_done) struct error err = {};
	struct namespace_plan namespaces;
	struct rootfs_plan rootfs;

	if (namespace_plan_init(spec, &namespaces, &err) < 0 && !err.message)
		abort();
	if (rootfs_plan_init(spec, &rootfs, NULL) < 0)
		return;
	if (rootfs.nmounts != spec->n_mounts)
		abort();
	rootfs_plan_done(&rootfs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Grpc__CreateContainerRequest *request = grpc__create_container_request__unpack(NULL, size,
										       data);
	Grpc__Process *process = grpc__process__unpack(NULL, size, data);

	log_set_level(LOG_LEVEL_ERROR);
	if (request && request->oci) {
		plan_spec(request->oci);
		if (request->oci->process)
			plan_process(request->oci->process, request->string_user);
	}
	if (process)
		plan_process(process, NULL);
	grpc__create_container_request__free_unpacked(request, NULL);
	grpc__process__free_unpacked(process, NULL);
	return 0;
}
