#include "factory/api/service.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/trace.h"
#include "factory/api/report.h"
#include "factory/api/service_images.h"
#include "factory/api/service_pool.h"
#include "factory/api/service_template.h"
#include "factory/base/footprint.h"
#include "factory/store/annotations.h"
#include "factory/vm/vm_answer.h"
#include "proto/factory.pb-c.h"
#include "proto/root_note.h"

enum { CONNS_OF_USER = 64 }; /* a claim keeps one until it is confirmed */

/* ---------------------------------------------------------------- Claim */

/* One claim under way, from its request to its reply. */
struct claiming {
	struct factory *factory;
	struct ttrpc_call *call;
	struct slot *slot;
	struct pool_ticket *ticket;
	char *sandbox_id;
	uint64_t begun_ns;
	struct trace_span span;
	bool at_pool; /* which counts what fails there */
};

/* Of the template, where there is one of that name. */
static struct metrics *claiming_metrics(const struct claiming *claiming)
{
	return claiming->slot ? slot_metrics(claiming->slot) : factory_metrics(claiming->factory);
}

static void claiming_free(struct claiming *claiming)
{
	free(claiming->sandbox_id);
	free(claiming);
}

static void lease_to_caller(struct vm *vm, const struct ttrpc_call *call)
{
	struct peer peer;

	if (ttrpc_call_peer(call, &peer) == 0)
		vm_lease(vm, peer.pid);
}

static const struct {
	Kiln__Factory__V1__Origin wire;
	enum histogram histogram;
} origins[] = {
	[CLAIM_POOLED] = { KILN__FACTORY__V1__ORIGIN__POOLED, HISTOGRAM_CLAIM_POOLED },
	[CLAIM_CLONED] = { KILN__FACTORY__V1__ORIGIN__CLONED, HISTOGRAM_CLAIM_CLONED },
	[CLAIM_BOOTED] = { KILN__FACTORY__V1__ORIGIN__BOOTED, HISTOGRAM_CLAIM_BOOTED },
};

static void claim_reply(struct claiming *claiming, const struct pool_grant *grant)
{
	Kiln__Factory__V1__ClaimResponse response = KILN__FACTORY__V1__CLAIM_RESPONSE__INIT;
	struct vm *vm = pool_member_vm(grant->member);
	uint64_t took_us = (clock_monotonic_ns() - claiming->begun_ns) / 1000;
	int fds[VM_ANSWER_FDS];

	vm_answer_fill(vm, grant->handover, origins[grant->origin].wire, &response, fds);
	response.reason = (char *)grant->reason;
	response.parked_ms = grant->parked_ms;
	response.claim_us = took_us;
	response.ttl_s = slot_definition(claiming->slot)->ttl_s;
	response.idle_s = slot_definition(claiming->slot)->idle_s;
	response.image_cache = factory_config(claiming->factory)->image_cache;
	response.version = (char *)KILN_VERSION;

	metrics_observe(slot_metrics(claiming->slot), origins[grant->origin].histogram,
			took_us * 1000);
	struct audit_lease *lease = pool_member_lease(grant->member);
	(void)ttrpc_call_peer(claiming->call, &lease->claimer);
	lease->since_ns = clock_monotonic_ns();
	audit_claim(claiming->sandbox_id, vm_id(vm), lease, pool_member_origin(grant->member),
		    grant->reason, took_us);
	pool_member_bind(grant->member, ttrpc_call_conn(claiming->call));
	lease_to_caller(vm, claiming->call);
	FAULT_POINT("claim.leased");
	ttrpc_call_reply_fds(claiming->call, &response.base, fds, ARRAY_SIZE(fds));
	trace_end_as(TRACE_CLAIM, claiming->sandbox_id, &claiming->span,
		     &(struct trace_detail){ .origin = pool_member_origin(grant->member),
					     .template_id = vm_template_id(vm),
					     .machine = vm_id(vm) });
	vm_answer_done(&response);
	FAULT_POINT("claim.replied");
}

static void trace_failure(const struct claiming *claiming, const char *why)
{
	trace_end_as(TRACE_CLAIM, claiming->sandbox_id, &claiming->span,
		     &(struct trace_detail){ .error = why });
}

static void on_claimed(int number, const struct pool_grant *grant, const struct error *err,
		       void *userdata)
{
	struct claiming *claiming = userdata;

	if (number < 0) {
		log_warning(claiming->sandbox_id, "claim failed: %s", error_message(err));
		ttrpc_call_fail(claiming->call, err); /* the pool has counted it */
		trace_failure(claiming, error_message(err));
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
	metrics_count(claiming_metrics(claiming), COUNTER_CLAIMS_FAILED, "given up by the caller");
	pool_cancel(claiming->ticket);
	ttrpc_call_drop(call);
	trace_failure(claiming, "given up by its caller");
	claiming_free(claiming);
}

/* The strings stay the request's. */
static int read_wish(const Kiln__Factory__V1__ClaimRequest *request, struct template_wish *ret_wish,
		     struct error *err)
{
	if (request->n_images > CARRIED_MAX)
		return error_set(err, EINVAL,
				 "%zu images are wanted, a template carries %d at most",
				 request->n_images, CARRIED_MAX);
	for (size_t i = 0; i < request->n_images; i++)
		if (!carried_name_is_valid(request->images[i]))
			return error_set(err, EINVAL, "\"%.128s\" is no name of an image",
					 request->images[i]);
	*ret_wish = (struct template_wish){
		.size = { request->vcpus, request->memory_mib },
		.annotations = request->annotations,
		.images = { request->images, request->n_images },
	};
	return annotations_check(request->annotations, err);
}

static int claim_begin(struct claiming *claiming, const Kiln__Factory__V1__ClaimRequest *request,
		       struct error *err)
{
	if (factory_stopping(claiming->factory))
		return error_set(err, ENOTCONN, "the factory is stopping");
	if (!id_is_valid(request->sandbox_id))
		return error_set(err, EINVAL, "\"%.128s\" is not a sandbox id",
				 request->sandbox_id);
	claiming->sandbox_id = xstrdup(request->sandbox_id);

	struct template_wish wish;
	struct vm_size boot = {};
	int r = read_wish(request, &wish, err);
	if (r == 0)
		r = factory_choose_slot(claiming->factory, request->template_, &wish,
					&claiming->slot, &boot, err);
	if (r < 0)
		return r;
	if (request->priority > KILN__FACTORY__V1__PRIORITY__PRIORITY_SYSTEM)
		return error_set(err, EINVAL, "%d is not a priority", (int)request->priority);
	struct pool_request wanted = {
		.sandbox_id = claiming->sandbox_id,
		.priority = (enum claim_priority)request->priority,
		.size = wish.size,
		.boot = vm_size_is_any(&boot) ? NULL : &boot,
	};
	claiming->at_pool = true;
	return pool_claim(slot_pool(claiming->slot), &wanted, on_claimed, claiming,
			  &claiming->ticket, err);
}

static void rpc_on_claim(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	_cleanup_(error_done) struct error err = {};
	struct claiming *claiming = xnew(struct claiming);

	claiming->factory = userdata;
	claiming->call = call;
	claiming->begun_ns = clock_monotonic_ns();
	claiming->span = trace_begin();
	struct trace_context outer = trace_enter(&claiming->span.self);
	int r = claim_begin(claiming, (const void *)message, &err);
	(void)trace_enter(&outer);
	if (r < 0) {
		log_warning(claiming->sandbox_id, "claim refused: %s", error_message(&err));
		if (!claiming->at_pool)
			metrics_count(claiming_metrics(claiming), COUNTER_CLAIMS_FAILED, "refused");
		ttrpc_call_fail(call, &err);
		trace_failure(claiming, error_message(&err));
		claiming_free(claiming);
		return;
	}
	ttrpc_call_on_cancel(call, on_claim_cancelled, claiming);
}

/* ---------------------------------------------------------------- Confirm, Release */

static struct pool_member *find_claimed_or_fail(struct ttrpc_call *call, struct factory *factory,
						const char *id, struct slot **ret_slot)
{
	struct slot *slot = NULL;

	while ((slot = factory_next_slot(factory, slot))) {
		struct pool_member *member = pool_find(slot_pool(slot), id);
		if (member && vm_state(pool_member_vm(member)) == VM_CLAIMED) {
			*ret_slot = slot;
			return member;
		}
	}
	ttrpc_call_fail_code(call, TTRPC_NOT_FOUND, "no claimed machine is named \"%.64s\"", id);
	return NULL;
}

static void rpc_on_confirm(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Kiln__Factory__V1__ConfirmRequest *request = (const void *)message;
	Kiln__Factory__V1__ConfirmResponse response = KILN__FACTORY__V1__CONFIRM_RESPONSE__INIT;
	struct slot *slot = NULL;
	struct pool_member *member = find_claimed_or_fail(call, userdata, request->vm_id, &slot);

	if (!member)
		return;
	FAULT_POINT("confirm.received");
	lease_to_caller(pool_member_vm(member), call);
	pool_confirm(member);
	ttrpc_call_reply(call, &response.base);
}

/* Whoever takes a machine over says so: the lease is the caller's from now on. */
static void rpc_on_renew(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Kiln__Factory__V1__RenewRequest *request = (const void *)message;
	Kiln__Factory__V1__RenewResponse response = KILN__FACTORY__V1__RENEW_RESPONSE__INIT;
	struct slot *slot = NULL;
	struct pool_member *member = find_claimed_or_fail(call, userdata, request->vm_id, &slot);

	if (!member)
		return;
	struct audit_lease *lease = pool_member_lease(member);
	struct vm *vm = pool_member_vm(member);
	struct peer by = AUDIT_NOBODY;
	if (ttrpc_call_peer(call, &by) == 0) {
		audit_renew(vm_sandbox_id(vm), vm_id(vm), lease, &by);
		lease->claimer = by;
	}
	lease_to_caller(vm, call);
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
	struct slot *slot = NULL;
	struct pool_member *member = find_claimed_or_fail(call, userdata, request->vm_id, &slot);

	if (!member)
		return;
	FAULT_POINT("release.received");
	(void)ttrpc_call_peer(call, &pool_member_lease(member)->releaser);
	if (pool_release(member, "released", on_released, call) < 0) {
		ttrpc_call_fail_code(call, TTRPC_FAILED_PRECONDITION,
				     "machine %s is being released already", request->vm_id);
		return;
	}
	metrics_count(slot_metrics(slot), COUNTER_RELEASES, "");
}

static void rpc_on_hello(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
			 void *userdata _unused_)
{
	Kiln__Factory__V1__HelloResponse response = KILN__FACTORY__V1__HELLO_RESPONSE__INIT;

	response.version = (char *)KILN_VERSION;
	ttrpc_call_reply(call, &response.base);
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

void service_audit(const struct ttrpc_call *call, const char *verb, const char *template_name,
		   uint32_t count)
{
	struct peer by = AUDIT_NOBODY;

	(void)ttrpc_call_peer(call, &by);
	audit_order(verb, template_name, count, &by);
}

struct slot *service_find_slot(struct ttrpc_call *call, struct factory *factory, const char *name)
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
	service_audit(call, "init", request->template_, 0);
	if (str_empty(request->template_)) {
		factory_init_all(userdata, reply_to_init, call);
		return;
	}
	struct slot *slot = service_find_slot(call, userdata, request->template_);
	if (slot)
		slot_make_ready(slot, reply_to_init, call);
}

static void rpc_on_destroy(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Kiln__Factory__V1__DestroyRequest *request = (const void *)message;
	service_audit(call, "destroy", request->template_, 0);
	if (str_empty(request->template_)) {
		factory_destroy_all(userdata, reply_to_destroy, call);
		return;
	}
	if (orphans_remove(factory_orphans(userdata), request->template_, reply_to_destroy, call))
		return;
	struct slot *slot = service_find_slot(call, userdata, request->template_);
	if (slot)
		slot_destroy(slot, reply_to_destroy, call);
}

/* ---------------------------------------------------------------- Status */

struct asking {
	struct factory *factory;
	struct ttrpc_call *call;
};

static void status_answer(int number _unused_, const struct error *err _unused_, void *userdata)
{
	_cleanup_free_ struct asking *asking = userdata;
	Kiln__Factory__V1__StatusResponse *report = report_status(
		asking->factory, factory_footprint(asking->factory));

	ttrpc_call_reply(asking->call, &report->base);
	protobuf_c_message_free_unpacked(&report->base, NULL);
}

static void rpc_on_status(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
			  void *userdata)
{
	struct factory *factory = userdata;
	struct asking *asking = xnew(struct asking);

	*asking = (struct asking){ .factory = factory, .call = call };
	footprint_measure(factory_footprint(factory), status_answer, asking);
}

static void rpc_on_latencies(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
			     void *userdata)
{
	Kiln__Factory__V1__LatenciesResponse *report = report_latencies(userdata);

	ttrpc_call_reply(call, &report->base);
	protobuf_c_message_free_unpacked(&report->base, NULL);
}

/* ---------------------------------------------------------------- List */

static void roots_report(const char *dir, Kiln__Factory__V1__VmStatus *report)
{
	_cleanup_(root_notes_done) struct root_notes notes = {};

	root_notes_load(dir, &notes);
	report->roots = xnew_array(Kiln__Factory__V1__ContainerRoot *, notes.count + 1);
	for (size_t i = 0; i < notes.count; i++) {
		Kiln__Factory__V1__ContainerRoot *root = xnew(Kiln__Factory__V1__ContainerRoot);
		kiln__factory__v1__container_root__init(root);
		root->container_id = steal_ptr(notes.items[i].container_id);
		root->root = (char *)root_kind_to_string(notes.items[i].kind);
		report->roots[report->n_roots++] = root;
	}
}

static void vm_report_free(Kiln__Factory__V1__VmStatus *report)
{
	for (size_t i = 0; i < report->n_roots; i++) {
		free(report->roots[i]->container_id);
		free(report->roots[i]);
	}
	free(report->roots);
	free(report);
}

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
	report->guest_cid = vm_guest_cid(vm);
	report->sandbox_id = (char *)vm_sandbox_id(vm);
	report->age_ms = (clock_monotonic_ns() - vm_spawned_ns(vm)) / 1000000;
	report->origin = (char *)pool_member_origin(member);
	if (!str_empty(report->sandbox_id))
		roots_report(vm_dir(vm), report);
	return report;
}

static void orphans_report(const struct orphans *orphans, Kiln__Factory__V1__ListResponse *response)
{
	const struct template_manifest *manifest = NULL;

	while ((manifest = orphans_next(orphans, manifest))) {
		Kiln__Factory__V1__StoredTemplate *report = xnew(Kiln__Factory__V1__StoredTemplate);
		kiln__factory__v1__stored_template__init(report);
		report->name = manifest->name;
		report->id = (char *)manifest->id;
		report->baked_at = manifest->baked_at;
		report->memory_allocated_bytes = manifest->memory_allocated_bytes;
		response->unconfigured = xrealloc_array(response->unconfigured,
							response->n_unconfigured + 1,
							sizeof(*response->unconfigured));
		response->unconfigured[response->n_unconfigured++] = report;
	}
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
	orphans_report(factory_orphans(userdata), &response);
	ttrpc_call_reply(call, &response.base);
	for (size_t i = 0; i < response.n_vms; i++)
		vm_report_free(response.vms[i]);
	for (size_t i = 0; i < response.n_unconfigured; i++)
		free(response.unconfigured[i]);
	free(response.vms);
	free(response.unconfigured);
}

/* ---------------------------------------------------------------- the service */

static const struct ttrpc_method factory_methods[] = {
	{ "Claim", rpc_on_claim },
	{ "Confirm", rpc_on_confirm },
	{ "Release", rpc_on_release },
	{ "Status", rpc_on_status },
	{ "Latencies", rpc_on_latencies },
	{ "List", rpc_on_list },
	{ "Init", rpc_on_init },
	{ "Destroy", rpc_on_destroy },
	{ "Warm", rpc_on_warm },
	{ "Drain", rpc_on_drain },
	{ "Pause", rpc_on_pause },
	{ "Resume", rpc_on_resume },
	{ "Inspect", rpc_on_inspect },
	{ "Rebuild", rpc_on_rebuild },
	{ "Verify", rpc_on_verify },
	{ "Console", rpc_on_console },
	{ "Renew", rpc_on_renew },
	{ "Hello", rpc_on_hello },
	{ "PrepareImage", rpc_on_prepare_image },
	{ "ListImages", rpc_on_list_images },
	{ "RemoveImage", rpc_on_remove_image },
	{ "PruneImages", rpc_on_prune_images },
};

static void on_refuse(const struct peer *peer, const char *why, void *userdata)
{
	access_refused(factory_access(userdata), peer, why);
}

static int on_accept(int fd, const struct peer *peer, void *userdata)
{
	return access_check(factory_access(userdata), fd, peer);
}

static void on_conn_end(struct ttrpc_conn *conn, void *userdata)
{
	struct slot *slot = NULL;

	while ((slot = factory_next_slot(userdata, slot)))
		pool_conn_ended(slot_pool(slot), conn);
}

struct ttrpc_server *service_new(struct loop *loop, struct factory *factory)
{
	struct ttrpc_server_options options = { .userdata = factory,
						.on_accept = on_accept,
						.max_conns_of_user = CONNS_OF_USER,
						.on_refuse = on_refuse,
						.on_conn_end = on_conn_end };
	struct ttrpc_service service = {
		.descriptor = &kiln__factory__v1__factory__descriptor,
		.methods = factory_methods,
		.nmethods = ARRAY_SIZE(factory_methods),
	};
	struct ttrpc_server *server = ttrpc_server_new(loop, &options);

	ttrpc_server_add(server, &service);
	return server;
}
