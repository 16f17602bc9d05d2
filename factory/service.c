#include "factory/service.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "proto/factory.pb-c.h"

/* ---------------------------------------------------------------- Claim */

/* One claim under way, from its request to its reply. */
struct claiming {
	struct factory *factory;
	struct ttrpc_call *call;
	struct slot *slot;
	struct pool_ticket *ticket;
	char *sandbox_id;
	uint64_t begun_ns;
};

static void claiming_free(struct claiming *claiming)
{
	free(claiming->sandbox_id);
	free(claiming);
}

static void claim_log(const struct claiming *claiming, const struct pool_grant *grant,
		      uint64_t took_us)
{
	const struct vm *vm = pool_member_vm(grant->member);
	struct peer peer = { .pid = -1, .uid = (uid_t)-1 };

	(void)ttrpc_call_peer(claiming->call, &peer);
	log_info(claiming->sandbox_id, "claimed %s (%s%s%s) in %lu us by uid %d pid %d", vm_id(vm),
		 grant->cloned ? "cloned: " : "pooled", grant->reason,
		 grant->cloned ? "" : ", warm", (unsigned long)took_us, (int)peer.uid,
		 (int)peer.pid);
}

static void claim_reply(struct claiming *claiming, const struct pool_grant *grant)
{
	Kiln__Factory__V1__ClaimResponse response = KILN__FACTORY__V1__CLAIM_RESPONSE__INIT;
	Kiln__Factory__V1__ClaimFd kinds[] = {
		KILN__FACTORY__V1__CLAIM_FD__CLAIM_FD_AGENT,
		KILN__FACTORY__V1__CLAIM_FD__CLAIM_FD_QMP,
		KILN__FACTORY__V1__CLAIM_FD__CLAIM_FD_PIDFD,
	};
	int fds[] = { grant->handover->agent_fd, grant->handover->qmp_fd, grant->handover->pidfd };
	struct vm *vm = pool_member_vm(grant->member);
	uint64_t took_us = (clock_monotonic_ns() - claiming->begun_ns) / 1000;

	response.vm_id = (char *)vm_id(vm);
	response.origin = grant->cloned ? KILN__FACTORY__V1__ORIGIN__CLONED
					: KILN__FACTORY__V1__ORIGIN__POOLED;
	response.reason = (char *)grant->reason;
	response.fds = kinds;
	response.n_fds = ARRAY_SIZE(kinds);
	response.next_stream_id = grant->handover->next_stream;
	response.vmm_pid = (uint32_t)vm_pid(vm);
	response.vm_dir = (char *)vm_dir(vm);
	response.share_dir = (char *)vm_share_dir(vm);
	response.share_tag = (char *)VM_SHARE_TAG;
	response.template_id = (char *)vm_template_id(vm);
	response.parked_ms = grant->parked_ms;
	response.claim_us = took_us;

	claim_log(claiming, grant, took_us);
	pool_member_bind(grant->member, ttrpc_call_conn(claiming->call));
	ttrpc_call_reply_fds(claiming->call, &response.base, fds, ARRAY_SIZE(fds));
}

static void on_claimed(int number, const struct pool_grant *grant, const struct error *err,
		       void *userdata)
{
	struct claiming *claiming = userdata;

	if (number < 0) {
		log_warning(claiming->sandbox_id, "claim failed: %s", error_message(err));
		counters_add(factory_counters(claiming->factory), COUNTER_CLAIMS_FAILED, "");
		ttrpc_call_fail(claiming->call, err);
	} else {
		claim_reply(claiming, grant);
	}
	claiming_free(claiming);
}

/* The deadline passed, or the caller went. */
static void on_claim_cancelled(struct ttrpc_call *call, void *userdata)
{
	struct claiming *claiming = userdata;

	log_warning(claiming->sandbox_id, "claim given up by its caller");
	counters_add(factory_counters(claiming->factory), COUNTER_CLAIMS_FAILED,
		     "given up by the caller");
	pool_cancel(claiming->ticket);
	ttrpc_call_drop(call);
	claiming_free(claiming);
}

static int claim_begin(struct claiming *claiming, const Kiln__Factory__V1__ClaimRequest *request,
		       struct error *err)
{
	if (!id_is_valid(request->sandbox_id))
		return error_set(err, EINVAL, "\"%.128s\" is not a sandbox id",
				 request->sandbox_id);
	claiming->slot = factory_find_slot(claiming->factory, request->template_);
	if (!claiming->slot)
		return error_set(err, ENOENT, "no template is named \"%.128s\"",
				 request->template_);
	claiming->sandbox_id = xstrdup(request->sandbox_id);

	int r = slot_accepts(claiming->slot, request->vcpus, request->memory_mib, err);
	if (r < 0)
		return r;
	return pool_claim(slot_pool(claiming->slot), claiming->sandbox_id, on_claimed, claiming,
			  &claiming->ticket, err);
}

static void rpc_on_claim(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	_cleanup_(error_done) struct error err = {};
	struct claiming *claiming = xnew(struct claiming);

	claiming->factory = userdata;
	claiming->call = call;
	claiming->begun_ns = clock_monotonic_ns();
	if (claim_begin(claiming, (const void *)message, &err) < 0) {
		log_warning(claiming->sandbox_id, "claim refused: %s", error_message(&err));
		counters_add(factory_counters(claiming->factory), COUNTER_CLAIMS_FAILED, "refused");
		ttrpc_call_fail(call, &err);
		claiming_free(claiming);
		return;
	}
	ttrpc_call_on_cancel(call, on_claim_cancelled, claiming);
}

/* ---------------------------------------------------------------- Confirm, Release */

static struct pool_member *find_claimed_or_fail(struct ttrpc_call *call, struct factory *factory,
						const char *id)
{
	struct slot *slot = NULL;

	while ((slot = factory_next_slot(factory, slot))) {
		struct pool_member *member = pool_find(slot_pool(slot), id);
		if (member && vm_state(pool_member_vm(member)) == VM_CLAIMED)
			return member;
	}
	ttrpc_call_fail_code(call, TTRPC_NOT_FOUND, "no claimed machine is named \"%.64s\"", id);
	return NULL;
}

static void rpc_on_confirm(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Kiln__Factory__V1__ConfirmRequest *request = (const void *)message;
	Kiln__Factory__V1__ConfirmResponse response = KILN__FACTORY__V1__CONFIRM_RESPONSE__INIT;
	struct pool_member *member = find_claimed_or_fail(call, userdata, request->vm_id);

	if (!member)
		return;
	pool_confirm(member);
	ttrpc_call_reply(call, &response.base);
}

static void on_released(void *userdata)
{
	Kiln__Factory__V1__ReleaseResponse response = KILN__FACTORY__V1__RELEASE_RESPONSE__INIT;

	ttrpc_call_reply(userdata, &response.base);
}

static void rpc_on_release(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Kiln__Factory__V1__ReleaseRequest *request = (const void *)message;
	struct factory *factory = userdata;
	struct pool_member *member = find_claimed_or_fail(call, factory, request->vm_id);

	if (!member)
		return;
	log_info(vm_sandbox_id(pool_member_vm(member)), "released %s", request->vm_id);
	if (pool_release(member, "released", on_released, call) < 0) {
		ttrpc_call_fail_code(call, TTRPC_FAILED_PRECONDITION,
				     "machine %s is being released already", request->vm_id);
		return;
	}
	counters_add(factory_counters(factory), COUNTER_RELEASES, "");
}

/* ---------------------------------------------------------------- Init, Destroy */

static void reply_to_init(int number, const struct error *err, void *userdata)
{
	Kiln__Factory__V1__InitResponse response = KILN__FACTORY__V1__INIT_RESPONSE__INIT;

	if (number < 0)
		ttrpc_call_fail(userdata, err);
	else
		ttrpc_call_reply(userdata, &response.base);
}

static void reply_to_destroy(int number, const struct error *err, void *userdata)
{
	Kiln__Factory__V1__DestroyResponse response = KILN__FACTORY__V1__DESTROY_RESPONSE__INIT;

	if (number < 0)
		ttrpc_call_fail(userdata, err);
	else
		ttrpc_call_reply(userdata, &response.base);
}

static struct slot *find_slot_or_fail(struct ttrpc_call *call, struct factory *factory,
				      const char *name)
{
	struct slot *slot = factory_find_slot(factory, name);

	if (!slot)
		ttrpc_call_fail_code(call, TTRPC_NOT_FOUND, "no template is named \"%.128s\"",
				     name);
	return slot;
}

static void rpc_on_init(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Kiln__Factory__V1__InitRequest *request = (const void *)message;
	struct slot *slot = find_slot_or_fail(call, userdata, request->template_);

	if (slot)
		slot_init(slot, reply_to_init, call);
}

static void rpc_on_destroy(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Kiln__Factory__V1__DestroyRequest *request = (const void *)message;
	struct slot *slot = find_slot_or_fail(call, userdata, request->template_);

	if (slot)
		slot_destroy(slot, reply_to_destroy, call);
}

/* ---------------------------------------------------------------- Status */

struct template_report {
	Kiln__Factory__V1__TemplateStatus status;
	Kiln__Factory__V1__PoolStatus pool;
};

static void report_template(struct slot *slot, struct template_report *ret_report)
{
	const struct template_manifest *manifest = slot_manifest(slot);
	struct pool_counts counts;

	kiln__factory__v1__template_status__init(&ret_report->status);
	kiln__factory__v1__pool_status__init(&ret_report->pool);
	pool_counts(slot_pool(slot), &counts);
	ret_report->pool.target = counts.target;
	ret_report->pool.parked = counts.parked;
	ret_report->pool.coming = counts.coming;
	ret_report->pool.claimed = counts.claimed;
	ret_report->status.name = (char *)slot_name(slot);
	ret_report->status.state = (char *)slot_state_to_string(slot_state(slot));
	ret_report->status.phase = (char *)slot_phase(slot);
	ret_report->status.error = (char *)slot_error(slot);
	ret_report->status.pool = &ret_report->pool;
	if (manifest) {
		ret_report->status.id = (char *)manifest->id;
		ret_report->status.baked_at = manifest->baked_at;
		ret_report->status.memory_bytes = manifest->memory_bytes;
		ret_report->status.memory_allocated_bytes = manifest->memory_allocated_bytes;
		ret_report->status.bake_ms = manifest->bake_ms;
		ret_report->status.boot_ms = manifest->boot_ms;
	}
}

static void report_counters(const struct counters *counters, Kiln__Factory__V1__Counter *reports,
			    Kiln__Factory__V1__Counter **pointers)
{
	for (size_t i = 0; i < counters->used; i++) {
		const struct count *count = &counters->counts[i];
		kiln__factory__v1__counter__init(&reports[i]);
		reports[i].name = (char *)counter_to_string(count->counter);
		reports[i].reason = count->reason;
		reports[i].value = count->value;
		pointers[i] = &reports[i];
	}
}

static void rpc_on_status(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
			  void *userdata)
{
	Kiln__Factory__V1__StatusResponse response = KILN__FACTORY__V1__STATUS_RESPONSE__INIT;
	struct factory *factory = userdata;
	const struct counters *counters = factory_counters(factory);
	Kiln__Factory__V1__Counter counts[COUNTERS_MAX];
	Kiln__Factory__V1__Counter *count_pointers[COUNTERS_MAX];
	struct template_report report;
	Kiln__Factory__V1__TemplateStatus *templates[] = { &report.status };

	report_template(factory_next_slot(factory, NULL), &report);
	report_counters(counters, counts, count_pointers);
	response.version = (char *)KILN_VERSION;
	response.pid = (uint32_t)getpid();
	response.uptime_s = factory_uptime_s(factory);
	response.accelerator = (char *)accelerator_to_string(factory_host(factory)->accelerator);
	response.templates = templates;
	response.n_templates = ARRAY_SIZE(templates);
	response.counters = count_pointers;
	response.n_counters = counters->used;
	ttrpc_call_reply(call, &response.base);
}

/* ---------------------------------------------------------------- List */

static Kiln__Factory__V1__VmStatus *vm_report(const struct slot *slot,
					      const struct pool_member *member)
{
	Kiln__Factory__V1__VmStatus *report = xnew(Kiln__Factory__V1__VmStatus);
	const struct vm *vm = pool_member_vm(member);

	kiln__factory__v1__vm_status__init(report);
	report->vm_id = (char *)vm_id(vm);
	report->state = (char *)vm_state_to_string(vm_state(vm));
	report->template_ = (char *)slot_name(slot);
	report->template_id = (char *)vm_template_id(vm);
	report->pid = (uint32_t)vm_pid(vm);
	report->sandbox_id = (char *)vm_sandbox_id(vm);
	report->age_ms = (clock_monotonic_ns() - vm_spawned_ns(vm)) / 1000000;
	report->origin = (char *)pool_member_origin(member);
	return report;
}

static void rpc_on_list(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
			void *userdata)
{
	Kiln__Factory__V1__ListResponse response = KILN__FACTORY__V1__LIST_RESPONSE__INIT;
	struct slot *slot = NULL;

	while ((slot = factory_next_slot(userdata, slot))) {
		struct pool *pool = slot_pool(slot);
		for (struct pool_member *m = pool_next(pool, NULL); m; m = pool_next(pool, m)) {
			response.vms = xrealloc_array(response.vms, response.n_vms + 1,
						      sizeof(*response.vms));
			response.vms[response.n_vms++] = vm_report(slot, m);
		}
	}
	ttrpc_call_reply(call, &response.base);
	for (size_t i = 0; i < response.n_vms; i++)
		free(response.vms[i]);
	free(response.vms);
}

/* ---------------------------------------------------------------- the service */

static const struct ttrpc_method factory_methods[] = {
	{ "Claim", rpc_on_claim },     { "Confirm", rpc_on_confirm }, { "Release", rpc_on_release },
	{ "Status", rpc_on_status },   { "List", rpc_on_list },       { "Init", rpc_on_init },
	{ "Destroy", rpc_on_destroy },
};

static void on_conn_end(struct ttrpc_conn *conn, void *userdata)
{
	struct slot *slot = NULL;

	while ((slot = factory_next_slot(userdata, slot)))
		pool_conn_ended(slot_pool(slot), conn);
}

struct ttrpc_server *service_new(struct loop *loop, struct factory *factory)
{
	struct ttrpc_server_options options = { .userdata = factory, .on_conn_end = on_conn_end };
	struct ttrpc_service service = {
		.descriptor = &kiln__factory__v1__factory__descriptor,
		.methods = factory_methods,
		.nmethods = ARRAY_SIZE(factory_methods),
	};
	struct ttrpc_server *server = ttrpc_server_new(loop, &options);

	ttrpc_server_add(server, &service);
	return server;
}
