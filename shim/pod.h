/* A pod that containerd 2.x has made by the Sandbox service: it has the machine, with or without
 * containers. Where containerd makes a pod's first container instead (its sandboxer "podsandbox",
 * and all before 2.0), there is none: NONE.
 *
 *   state     what it is                                       leaves by
 *   NONE      nobody has asked for it                          pod_create()
 *   CREATING  a machine is claimed                             its answer: CREATED, or NONE
 *   CREATED   the machine is there                             pod_start(), pod_end()
 *   READY     it is told to containerd as running              pod_end()
 *   ENDED     stopped, or its machine was lost; for good
 *
 * What pod_create() is asked decides about the machine, as config.json does for a container: the
 * runtime options that `start` got, the annotations, and of CRI's PodSandboxConfig the host name
 * and the limits. A pod that would have the host's network, pid or ipc namespace is refused.
 */
#pragma once

#include "base/state.h"
#include "base/strings.h"
#include "base/waiters.h"
#include "proto/sandbox.pb-c.h"
#include "shim/sandbox.h"

enum pod_state { POD_NONE, POD_CREATING, POD_CREATED, POD_READY, POD_ENDED };
DECLARE_STRING_TABLE(pod_state, enum pod_state);
extern const struct state_machine pod_states;

struct pod;

/* As Kubernetes has them; each NULL where CRI's PodSandboxConfig did not say it. */
struct pod_names {
	char *name, *ns, *uid; /* owned */
};

/* sandbox is borrowed. */
struct pod *pod_new(struct loop *loop, struct sandbox *sandbox);
void pod_free(struct pod *pod);

/* The runtime options of `start`, copied; NULL: none. */
void pod_set_options(struct pod *pod, const Google__Protobuf__Any *options);

/* fn is called once, from the loop, unless this fails: -EEXIST outside of NONE, -EOPNOTSUPP. */
_must_check_ int pod_create(struct pod *pod,
			    const Containerd__Runtime__Sandbox__V1__CreateSandboxRequest *request,
			    waiter_fn fn, void *userdata, struct error *err);

/* -EBUSY outside of CREATED. */
_must_check_ int pod_start(struct pod *pod, struct error *err);

/* In NONE and ENDED nothing happens. Who waits is answered. */
void pod_end(struct pod *pod, uint32_t exit_status);

/* fn is called once in ENDED, unless taken back; it may come before this returns. */
void pod_wait(struct pod *pod, waiter_fn fn, void *userdata);
void pod_wait_cancel(struct pod *pod, void *userdata);

enum pod_state pod_state(const struct pod *pod);
const struct pod_names *pod_names(const struct pod *pod);
bool pod_has_machine(const struct pod *pod);         /* or is about to have it */
struct agent_link *pod_agent(const struct pod *pod); /* always; borrowed */
uint32_t pod_pid(const struct pod *pod);             /* the VMM's */
const char *pod_netns(const struct pod *pod);        /* a path; NULL: it has no network */
uint64_t pod_created_ns(const struct pod *pod);      /* since the epoch; 0: not yet */
uint64_t pod_exited_ns(const struct pod *pod);       /* ditto */
uint32_t pod_exit_status(const struct pod *pod);
