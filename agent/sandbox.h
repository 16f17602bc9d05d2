/* The sandbox this guest serves: one at a time, and after DestroySandbox as if there had been
 * none (a template's rehearsal depends on it).
 *
 *   NONE -CreateSandbox-> READY -DestroySandbox-> DESTROYING -last container gone-> NONE
 *                         READY -CreateSandbox fails half-way-> NONE
 */
#pragma once

#include "agent/agent.h"
#include "agent/container.h"
#include "agent/storage.h"
#include "base/state.h"
#include "base/strings.h"
#include "proto/agent.pb-c.h"
#include "proto/ttrpc_server.h"

#define SANDBOX_DEFAULT_HOSTNAME "kiln"

enum sandbox_state { SANDBOX_NONE, SANDBOX_READY, SANDBOX_DESTROYING };
DECLARE_STRING_TABLE(sandbox_state, enum sandbox_state); /* "none", "ready", "destroying" */
extern const struct state_machine sandbox_states;

struct sandbox *sandbox_new(struct agent *agent);

/* Ends everything and then calls fn, once, at once or later. */
void sandbox_shut_down(struct sandbox *sandbox, void (*fn)(void *userdata), void *userdata);

/* Gives up what is left, without waiting for it. */
void sandbox_free(struct sandbox *sandbox);

/* -EEXIST where there is one. */
_must_check_ int sandbox_create(struct sandbox *sandbox, const Grpc__CreateSandboxRequest *request,
				struct error *err);

/* Ends the call when everything is gone. No sandbox: at once. */
void sandbox_destroy(struct sandbox *sandbox, struct ttrpc_call *call);

/* Ends the call when the container is created or has failed. */
void sandbox_create_container(struct sandbox *sandbox, struct ttrpc_call *call,
			      const Grpc__CreateContainerRequest *request);

/* NULL where there is none. Borrowed. */
struct container *sandbox_find(const struct sandbox *sandbox, const char *container_id);

/* All of them, and how many; borrowed until one comes or goes. */
size_t sandbox_containers(const struct sandbox *sandbox, struct container *const **ret);

/* UpdateEphemeralMounts: storage_update() of one of any container or of the sandbox. */
_must_check_ int sandbox_update_storage(struct sandbox *sandbox, const Grpc__Storage *request,
					struct error *err);

/* GetOOMEvent: answered with the next container that was, or has been, out of memory. */
void sandbox_get_oom_event(struct sandbox *sandbox, struct ttrpc_call *call);

/* Lets what waits for the end of processes go on: for the reaper, after each round. */
void sandbox_step(struct sandbox *sandbox);
