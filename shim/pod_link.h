/* A sandbox's network (shim/pod_network.h), read, joined and left by a thread beside the loop, and
 * told to its guest. What takes long happens while the guest is busy with its sandbox and
 * container:
 *
 *   pod_link_new()     while a machine is claimed, the pod's namespace is read -> on_done
 *   pod_link_assign()  the machine is there: its cards are chosen
 *   pod_link_start()   all that its guest needs to know is sent and nothing awaited, and the
 *                          joining begins -> on_done. Where the pod has more interfaces than
 *                          the machine has cards, or they are to be macvtaps, they are plugged in
 *                          first (shim/card_plug.h).
 *                          A namespace that is to be new is made meanwhile -> on_done
 *   pod_link_settle()  of a namespace that is new: what its engine has made of it -> fn
 *   pod_link_leave()   what is left at the pod's interfaces is removed -> fn
 *
 * In between the namespace is watched, from a second after the joining on, so that no container's
 * start waits for it: what it gets later (an interface, an address, a route) is joined and told,
 * too. A failure there is logged, and the pod lives on with what it has.
 */
#pragma once

#include "base/loop.h"
#include "shim/agent_link.h"
#include "shim/pod_network.h"

struct disks;
struct slots;

struct pod_link;

/* Of reading and of joining; once each, from the loop. */
typedef void (*pod_link_fn)(int number, const struct error *err, void *userdata);

/* All are copied. */
struct pod_link_options {
	struct loop *loop;
	const char *sandbox_id;
	const char *netns; /* a path; NULL: a new one, for engines that fill that of the task's pid
			    * after its creation and before its start, as Docker does */
	enum network_model model;
	pod_link_fn on_done;
	void *userdata;
};

struct pod_link *pod_link_new(const struct pod_link_options *options);

const char *pod_link_netns(const struct pod_link *link);

/* Of a namespace that is new: a number for it (shim/netns.h). Else 0. */
pid_t pod_link_pid(const struct pod_link *link);

/* Before a start: it is new, and something was made of it for the first one, of which the guest
 * does not know yet. With the first start that it is asked at, that is over. */
bool pod_link_must_settle(struct pod_link *link);

/* Looks at it then: fn is called from the loop when what it has is joined and told. An interface
 * that there is no card for is a failure here. Not after it is left. */
void pod_link_settle(struct pod_link *link, pod_link_fn fn, void *userdata);

/* It is being read, made or joined. */
bool pod_link_is_busy(const struct pod_link *link);

/* Of that: cards are being plugged in, and the guest was told nothing yet. */
bool pod_link_is_plugging(const struct pod_link *link);

/* cards: that wait in the machine (factory/guest/network_cards.h). Why reading has failed. */
_must_check_ int pod_link_assign(struct pod_link *link, size_t cards, struct error *err);

/* The pidfd and the id are copied, the rest is borrowed until it is left. */
struct pod_link_machine {
	int vmm_pidfd;
	const char *vm_id;
	const struct slots
		*slots;      /* whose monitor takes the cards' links up; failures are logged */
	bool vhost_net;      /* for cards that are plugged in: factory/jail/tap.h */
	struct disks *disks; /* beside which cards are plugged in */
	struct agent_link *agent;
	ttrpc_reply_fn on_reply; /* of each call to the agent before it is joined */
	void *userdata;
};
void pod_link_start(struct pod_link *link, const struct pod_link_machine *machine);

/* fn is called once, from the loop, after on_done of what is under way. */
void pod_link_leave(struct pod_link *link, void (*fn)(void *userdata), void *userdata);

/* No callback follows. Waits for the thread where it is at work. Not from within a callback. NULL
 * is nothing. */
void pod_link_free(struct pod_link *link);
