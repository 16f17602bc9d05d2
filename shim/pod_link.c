#include "shim/pod_link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/trace.h"
#include "base/waiters.h"
#include "base/worker.h"
#include "shim/card_plug.h"
#include "shim/netns.h"
#include "shim/pod_network.h"
#include "shim/slots.h"

enum {
	FIRST_LOOK_MS = 1000, /* after it is joined */
	NEXT_LOOK_MS = 200,   /* after a change: one is made in several steps */
	JOBS_MAX = 2 /* joining, looking or making a tap, and leaving behind it */,
	NETLINK_DATA_MAX = 8192,
	TIMEOUT_MS = 30000,
	QMP_TIMEOUT_MS = 5000
};

struct pod_link {
	char *sandbox_id;
	char *netns;
	char *vm_id; /* NULL: it has no machine yet */
	enum network_model model;
	struct worker_pool *pool; /* owned */
	pod_link_fn on_done;
	void *userdata;
	bool busy;                       /* reading, or joining */
	size_t cards;                    /* of the machine */
	size_t cards_max;                /* that it can have */
	struct card_plug *plug;          /* NULL: none is being plugged in */
	struct pod_link_machine machine; /* vmm_pidfd is owned */

	/* Looking at what came later: */
	struct loop *loop;
	struct loop_timer *timer;
	struct loop_watch *watch; /* of `changes`; NULL: not yet */
	char *complaint;          /* owned; what was logged last; NULL: nothing */
	struct error plug_error;  /* why the machine gets no more cards */
	bool is_left;             /* the guest is told nothing more */
	bool is_looking;          /* of looks there is one at a time */
	bool is_open;             /* new, and nobody has settled it */
	struct waiters settlers;  /* who wants to know what its engine has made of it */
	bool looks_again;         /* for them: the look under way had begun before */

	/* The worker's while it is at work: */
	struct netns_keeper *keeper; /* owned; NULL: the namespace is another's */
	struct pod_network *pod;     /* owned; NULL before it was read */
	struct pod_network
		*previous;       /* owned; what it was before it was looked at; NULL: the same */
	int changes;             /* owned; netlink; -EBADF: not opened yet */
	struct error error;      /* the first failure */
	struct error late_error; /* of what came later */

	void (*on_left)(void *userdata);
	void *left_userdata;
	bool freed;             /* its owner waits for the worker */
	struct trace_span span; /* of what the worker does */
};

static void look_again(void *userdata);
static void on_looked(void *data, void *owner);

static void read_pod(void *data)
{
	struct pod_link *link = data;

	(void)!pod_network_read(link->netns, link->model, &link->pod, &link->error);
}

/* From its beginning on it is listened to, so that whether it was filled costs a start nothing. */
static void make_netns(void *data)
{
	struct pod_link *link = data;

	if (netns_keep(NULL, &link->keeper, &link->error) < 0)
		return;
	link->netns = netns_keeper_path(link->keeper);
	if (pod_network_read(link->netns, link->model, &link->pod, &link->error) < 0 ||
	    pod_network_assign(link->pod, link->cards, &link->error) < 0)
		return;
	(void)!pod_network_watch(link->pod, &link->changes, &link->error);
}

static void join_pod(void *data)
{
	struct pod_link *link = data;

	(void)!pod_network_join(link->pod, link->machine.vmm_pidfd, &link->error);
}

static void on_done(void *data, _unused_ void *owner)
{
	struct pod_link *link = data;

	trace_end(TRACE_NETWORK, NULL, &link->span);
	link->busy = false;
	if (link->freed)
		return;
	if (link->machine.agent && !link->error.number && !link->is_left)
		loop_timer_start(link->timer, FIRST_LOOK_MS);
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
	link->span = trace_begin();
	submit(link, run, on_done);
}

struct pod_link *pod_link_new(const struct pod_link_options *options)
{
	struct pod_link *link = xnew(struct pod_link);

	link->sandbox_id = xstrdup(options->sandbox_id);
	link->netns = xstrdup(options->netns);
	link->model = options->model;
	link->is_open = !link->netns;
	link->on_done = options->on_done;
	link->userdata = options->userdata;
	link->loop = options->loop;
	link->timer = loop_timer_new(link->loop, look_again, link);
	link->changes = link->machine.vmm_pidfd = -EBADF;
	link->cards_max = NETWORK_CARDS_MAX;
	link->pool = worker_pool_new(link->loop, 1, JOBS_MAX);
	if (link->netns)
		begin(link, read_pod);
	return link;
}

const char *pod_link_netns(const struct pod_link *link)
{
	return link->netns;
}

pid_t pod_link_pid(const struct pod_link *link)
{
	return link->keeper ? netns_keeper_id(link->keeper) : 0;
}

bool pod_link_must_settle(struct pod_link *link)
{
	struct pollfd changes = { .fd = link->changes, .events = POLLIN };

	if (link->is_open && !link->is_looking && !*link->pod->left_out &&
	    poll(&changes, 1, 0) == 0)
		link->is_open = false;
	return link->is_open;
}

bool pod_link_is_busy(const struct pod_link *link)
{
	return link->busy;
}

bool pod_link_is_plugging(const struct pod_link *link)
{
	return link->busy && link->plug;
}

int pod_link_assign(struct pod_link *link, size_t cards, struct error *err)
{
	if (link->error.number)
		return error_set(err, link->error.number, "%s", error_message(&link->error));
	link->cards = cards;
	return link->pod ? pod_network_assign(link->pod, cards, err) : 0;
}

/* ---------------------------------------------------------------- the guest */

static void set_card(const struct pod_link *link, size_t card, bool is_up)
{
	struct qmp *qmp = link->machine.slots ? slots_monitor(link->machine.slots) : NULL;
	_cleanup_free_ char *name = xasprintf(NETWORK_CARD_DEVICE, card);

	if (qmp)
		qmp_command(qmp, "set_link", json_pack("{s:s, s:b}", "name", name, "up", is_up),
			    QMP_TIMEOUT_MS, NULL, NULL);
}

static void call(const struct pod_link_machine *machine, const char *method,
		 const ProtobufCMessage *request)
{
	agent_call(machine->agent, method, request, TIMEOUT_MS, machine->on_reply,
		   machine->userdata);
}

/* What it does not know yet; all routes and neighbours with it. */
static void tell_guest(const struct pod_link *link, const struct pod_link_machine *machine)
{
	struct pod_network *pod = link->pod;
	Grpc__UpdateRoutesRequest routes = GRPC__UPDATE_ROUTES_REQUEST__INIT;
	Grpc__AddARPNeighborsRequest neighbours = GRPC__ADD_ARPNEIGHBORS_REQUEST__INIT;

	for (size_t i = 0; i < pod->count; i++) {
		Grpc__UpdateInterfaceRequest request = GRPC__UPDATE_INTERFACE_REQUEST__INIT;

		if (pod->is_told[i] || (link->previous && !pod->is_joined[i]))
			continue;
		set_card(link, pod->cards[i], true);
		request.interface = pod->interfaces->interfaces[i];
		call(machine, "UpdateInterface", &request.base);
		pod->is_told[i] = true;
		snprintf(pod->guest_names[pod->cards[i]], IFNAMSIZ, "%s", pod->links[i]->name);
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

/* ---------------------------------------------------------------- cards and joining */

static bool needs_cards(const struct pod_link *link)
{
	return pod_network_cards(link->pod) > link->cards;
}

static int make_tap(size_t card, void *userdata, int *ret_tap, struct error *err)
{
	const struct pod_link *link = userdata;
	const struct pod_network_machine machine = { link->machine.vmm_pidfd, link->vm_id };

	return pod_network_make_tap(link->pod, &machine, card, ret_tap, err);
}

static void plug_cards(struct pod_link *link, card_plug_fn fn)
{
	link->plug = card_plug_new(&(struct card_plug_options){
		.pool = link->pool,
		.slots = link->machine.slots,
		.disks = link->machine.disks,
		.agent = link->machine.agent,
		.sandbox_id = link->sandbox_id,
		.have = link->cards,
		.want = pod_network_cards(link->pod),
		.vhost_net = link->machine.vhost_net,
		.make = make_tap,
		.fn = fn,
		.userdata = link,
	});
}

static void tell_and_join(struct pod_link *link)
{
	tell_guest(link, &link->machine);
	if (link->pod->count > 0)
		begin(link, join_pod);
	else
		loop_timer_start(link->timer, FIRST_LOOK_MS);
}

/* The guest is told of none before all are there: until a card has its name it may have the one
 * that an interface is to have. */
static void on_plugged(size_t have, const struct error *err, void *userdata)
{
	struct pod_link *link = userdata;

	link->plug = NULL;
	link->cards = have;
	if (err->number) {
		(void)error_set(&link->error, err->number, "%s", error_message(err));
		on_done(link, NULL);
		return;
	}
	tell_and_join(link);
}

void pod_link_start(struct pod_link *link, const struct pod_link_machine *machine)
{
	link->machine = *machine;
	link->machine.vmm_pidfd = fcntl(machine->vmm_pidfd, F_DUPFD_CLOEXEC, 3);
	link->machine.vm_id = link->vm_id = xstrdup(machine->vm_id);
	if (!link->pod) {
		begin(link, make_netns);
	} else if (needs_cards(link)) {
		link->busy = true;
		link->span = trace_begin();
		plug_cards(link, on_plugged);
	} else {
		tell_and_join(link);
	}
}

/* ---------------------------------------------------------------- what comes later */

/* What was heard of is read with all the rest. */
static void drain(int fd)
{
	char data[NETLINK_DATA_MAX];

	while (recv(fd, data, sizeof(data), MSG_DONTWAIT) > 0 || errno == ENOBUFS)
		;
}

static void join_late(void *data)
{
	struct pod_link *link = data;

	(void)!pod_network_join(link->pod, link->machine.vmm_pidfd, &link->late_error);
}

static void look(void *data)
{
	struct pod_link *link = data;
	struct pod_network *now = NULL;
	int r = 0;

	if (link->changes < 0)
		r = pod_network_watch(link->pod, &link->changes, &link->late_error);
	if (r == 0)
		drain(link->changes);
	if (r == 0)
		r = pod_network_read_again(link->pod, link->cards_max, &now, &link->late_error);
	if (r < 0)
		return;
	if (!pod_network_has_changed(link->pod, now)) {
		pod_network_free(now);
		return;
	}
	link->previous = link->pod;
	link->pod = now;
	if (!needs_cards(link))
		join_late(link);
}

static void find_left_out(struct pod_link *link)
{
	bool failed = link->plug_error.number;

	if (link->late_error.number || !*link->pod->left_out)
		return;
	(void)error_set(&link->late_error, EOPNOTSUPP,
			"there is no card for interface %s: the machine has %zu%s%s",
			link->pod->left_out, link->cards,
			failed ? " and can have no more: " : ", and no machine can have more",
			failed ? error_message(&link->plug_error) : "");
}

/* Once, and again after another one. */
static void complain(struct pod_link *link)
{
	_cleanup_free_ char *text = NULL;

	if (link->late_error.number)
		text = xstrdup(error_message(&link->late_error));
	error_done(&link->late_error);
	if (text && !str_equal(text, link->complaint))
		log_warning(link->sandbox_id, "what came later to the pod's network: %s", text);
	replace_string(&link->complaint, text);
}

/* Who waits is told of a look that began after he had asked. False: nobody waits. */
static bool settle(struct pod_link *link)
{
	if (waiters_empty(&link->settlers))
		return false;
	if (link->looks_again && !link->is_left) {
		link->looks_again = false;
		error_done(&link->late_error);
		look_again(link);
		return true;
	}
	link->is_open = false;
	waiters_answer(&link->settlers, -link->late_error.number, &link->late_error);
	error_done(&link->late_error);
	return true;
}

static bool has_card(const struct pod_network *pod, size_t card)
{
	for (size_t i = 0; i < pod->count; i++)
		if (pod->cards[i] == card)
			return true;
	return false;
}

static void on_late_reply(const struct ttrpc_reply *reply, void *userdata _unused_)
{
	_cleanup_(error_done) struct error err = {};

	if (ttrpc_reply_error(reply, &err) < 0)
		log_warning(NULL, "cannot give the guest what came later to the pod's network: %s",
			    error_message(&err));
}

static void tell_changes(struct pod_link *link)
{
	const struct pod_link_machine machine = { .agent = link->machine.agent,
						  .on_reply = on_late_reply };

	for (size_t i = 0; i < link->previous->count; i++)
		if (!has_card(link->pod, link->previous->cards[i]))
			set_card(link, link->previous->cards[i], false);
	tell_guest(link, &machine);
}

static void on_change(int fd _unused_, unsigned events _unused_, void *userdata)
{
	struct pod_link *link = userdata;

	loop_watch_set(link->watch, 0);
	loop_timer_start(link->timer, NEXT_LOOK_MS);
}

/* Without a card what needs one is left out; the rest of what came is read again. */
static void on_late_plugged(size_t have, const struct error *err, void *userdata)
{
	struct pod_link *link = userdata;

	link->plug = NULL;
	link->cards = have;
	if (!err->number) {
		submit(link, join_late, on_looked);
		return;
	}
	(void)error_set(&link->plug_error, err->number, "%s", error_message(err));
	link->cards_max = have;
	pod_network_free(link->pod);
	link->pod = steal_ptr(link->previous);
	link->is_looking = false;
	look_again(link);
}

/* Where cards are wanted first, what was seen is joined when they are there. */
static void on_looked(void *data, _unused_ void *owner)
{
	struct pod_link *link = data;
	bool has_guest = !link->freed && !link->is_left;

	if (has_guest && link->previous && needs_cards(link)) {
		plug_cards(link, on_late_plugged);
		return;
	}
	link->is_looking = false;
	if (has_guest && link->previous)
		tell_changes(link);
	pod_network_free(steal_ptr(link->previous));
	if (link->freed)
		return;
	find_left_out(link);
	if (link->watch && !link->is_left)
		loop_watch_set(link->watch, LOOP_READ);
	else if (link->changes >= 0 && !link->is_left)
		link->watch = loop_watch_new(link->loop, link->changes, LOOP_READ, on_change, link);
	if (!settle(link))
		complain(link);
}

/* What happens meanwhile is heard of after it. */
static void look_again(void *userdata)
{
	struct pod_link *link = userdata;

	loop_timer_stop(link->timer);
	if (link->is_looking)
		return;
	link->is_looking = true;
	submit(link, look, on_looked);
}

void pod_link_settle(struct pod_link *link, pod_link_fn fn, void *userdata)
{
	waiters_add(&link->settlers, fn, userdata);
	if (link->is_looking)
		link->looks_again = true;
	else
		look_again(link);
}

/* ---------------------------------------------------------------- its end */

static void leave_pod(void *data)
{
	const struct pod_link *link = data;

	if (link->pod)
		pod_network_leave(link->pod, link->vm_id);
}

static void on_left(void *data, _unused_ void *owner)
{
	struct pod_link *link = data;

	if (link->busy)
		on_done(link, NULL); /* of what was cancelled */
	if (link->freed)
		return;
	(void)settle(link); /* ditto */
	link->on_left(link->left_userdata);
}

void pod_link_leave(struct pod_link *link, void (*fn)(void *userdata), void *userdata)
{
	link->is_left = true;
	if (link->plug && link->busy)
		(void)error_set(&link->error, ECANCELED, "the machine is being released");
	card_plug_cancel(steal_ptr(link->plug));
	loop_timer_stop(link->timer);
	if (link->watch)
		loop_watch_set(link->watch, 0);
	link->on_left = fn;
	link->left_userdata = userdata;
	submit(link, leave_pod, on_left);
}

static void cancel_settlers(struct pod_link *link)
{
	_cleanup_(error_done) struct error err = {};

	(void)error_set(&err, ECANCELED, "the sandbox is being released");
	waiters_answer(&link->settlers, -err.number, &err);
}

void pod_link_free(struct pod_link *link)
{
	if (!link)
		return;
	link->freed = true;
	cancel_settlers(link);
	card_plug_cancel(link->plug);
	worker_pool_free(link->pool);
	loop_timer_free(link->timer);
	loop_watch_free(link->watch);
	close_fd(link->changes);
	close_fd(link->machine.vmm_pidfd);
	free(link->vm_id);
	pod_network_free(link->pod);
	error_done(&link->error);
	error_done(&link->late_error);
	error_done(&link->plug_error);
	pod_network_free(link->previous);
	netns_keeper_free(link->keeper);
	free(link->complaint);
	free(link->sandbox_id);
	free(link->netns);
	free(link);
}
