#include "shim/pod_link.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/trace.h"
#include "base/worker.h"
#include "shim/pod_network.h"

enum {
	JOBS_MAX = 2 /* joining, and leaving behind it */,
	TIMEOUT_MS = 30000,
	QMP_TIMEOUT_MS = 5000
};

struct pod_link {
	char *sandbox_id;
	char *netns;
	struct worker_pool *pool; /* owned */
	pod_link_fn on_done;
	void *userdata;
	bool busy; /* reading, or joining */

	/* The worker's while it is busy: */
	struct pod_network *pod; /* owned; NULL before it was read */
	int vmm_pidfd;
	struct error error; /* the first failure */

	void (*on_left)(void *userdata);
	void *left_userdata;
	bool freed; /* its owner waits for the worker */
	uint64_t begun_ns;
};

static void read_pod(void *data)
{
	struct pod_link *link = data;

	(void)!pod_network_read(link->netns, &link->pod, &link->error);
}

static void join_pod(void *data)
{
	struct pod_link *link = data;

	(void)!pod_network_join(link->pod, link->vmm_pidfd, &link->error);
}

static void on_done(void *data, _unused_ void *owner)
{
	struct pod_link *link = data;

	trace_end(TRACE_NETWORK, NULL, link->begun_ns);
	link->busy = false;
	if (!link->freed)
		link->on_done(-link->error.number, &link->error, link->userdata);
}

/* The queue has room for all that is ever in it. */
static void submit(struct pod_link *link, void (*run)(void *data),
		   void (*done)(void *data, void *owner))
{
	const struct worker_job job = { .run = run, .done = done, .data = link };

	if (worker_submit(link->pool, &job) < 0)
		abort();
}

static void begin(struct pod_link *link, void (*run)(void *data))
{
	link->busy = true;
	link->begun_ns = trace_begin();
	submit(link, run, on_done);
}

struct pod_link *pod_link_new(struct loop *loop, const char *sandbox_id, const char *netns,
			      pod_link_fn on_done_, void *userdata)
{
	struct pod_link *link = xnew(struct pod_link);

	link->sandbox_id = xstrdup(sandbox_id);
	link->netns = xstrdup(netns);
	link->on_done = on_done_;
	link->userdata = userdata;
	link->pool = worker_pool_new(loop, 1, JOBS_MAX);
	begin(link, read_pod);
	return link;
}

const char *pod_link_netns(const struct pod_link *link)
{
	return link->netns;
}

bool pod_link_is_busy(const struct pod_link *link)
{
	return link->busy;
}

int pod_link_assign(struct pod_link *link, size_t cards, struct error *err)
{
	if (link->error.number)
		return error_set(err, link->error.number, "%s", error_message(&link->error));
	return pod_network_assign(link->pod, cards, err);
}

/* ---------------------------------------------------------------- the guest */

static void raise_card(struct qmp *qmp, size_t card)
{
	_cleanup_free_ char *name = xasprintf(NETWORK_CARD_DEVICE, card);

	if (qmp)
		qmp_command(qmp, "set_link", json_pack("{s:s, s:b}", "name", name, "up", 1),
			    QMP_TIMEOUT_MS, NULL, NULL);
}

static void call(const struct pod_link_machine *machine, const char *method,
		 const ProtobufCMessage *request)
{
	agent_call(machine->agent, method, request, TIMEOUT_MS, machine->on_reply,
		   machine->userdata);
}

static void tell_guest(const struct pod_link *link, const struct pod_link_machine *machine)
{
	const struct pod_network *pod = link->pod;
	Grpc__UpdateRoutesRequest routes = GRPC__UPDATE_ROUTES_REQUEST__INIT;
	Grpc__AddARPNeighborsRequest neighbours = GRPC__ADD_ARPNEIGHBORS_REQUEST__INIT;

	for (size_t i = 0; i < pod->count; i++) {
		Grpc__UpdateInterfaceRequest request = GRPC__UPDATE_INTERFACE_REQUEST__INIT;

		raise_card(machine->qmp, pod->cards[i]);
		request.interface = pod->interfaces->interfaces[i];
		call(machine, "UpdateInterface", &request.base);
	}
	routes.routes = pod->routes;
	if (pod->routes->n_routes > 0)
		call(machine, "UpdateRoutes", &routes.base);
	neighbours.neighbors = pod->neighbours;
	if (pod->neighbours->n_arpneighbors > 0)
		call(machine, "AddARPNeighbors", &neighbours.base);
	log_debug(link->sandbox_id,
		  "the guest is told of %zu interfaces, %zu routes, %zu neighbours", pod->count,
		  pod->routes->n_routes, pod->neighbours->n_arpneighbors);
}

void pod_link_start(struct pod_link *link, const struct pod_link_machine *machine)
{
	tell_guest(link, machine);
	link->vmm_pidfd = machine->vmm_pidfd;
	if (link->pod->count > 0)
		begin(link, join_pod);
}

/* ---------------------------------------------------------------- its end */

static void leave_pod(void *data)
{
	const struct pod_link *link = data;

	if (link->pod)
		pod_network_leave(link->pod);
}

static void on_left(void *data, _unused_ void *owner)
{
	struct pod_link *link = data;

	if (!link->freed)
		link->on_left(link->left_userdata);
}

void pod_link_leave(struct pod_link *link, void (*fn)(void *userdata), void *userdata)
{
	link->on_left = fn;
	link->left_userdata = userdata;
	submit(link, leave_pod, on_left);
}

void pod_link_free(struct pod_link *link)
{
	if (!link)
		return;
	link->freed = true;
	worker_pool_free(link->pool);
	pod_network_free(link->pod);
	error_done(&link->error);
	free(link->sandbox_id);
	free(link->netns);
	free(link);
}
