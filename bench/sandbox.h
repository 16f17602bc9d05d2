/* One sandbox, step by step, each call waited for: what the shim does, without containerd. */
#pragma once

#include "bench/bench.h"
#include "factory/client/claim.h"

/* Claims a machine; the caller ends it with sandbox_release(). A factory that is not there is an
 * error here: nothing is cloned behind its back. */
_must_check_ int sandbox_claim(struct bench *bench, const char *address, struct claim **ret_claim,
			       struct error *err);

/* A request of the agent's protocol, by its name; what is answered is dropped. */
_must_check_ int sandbox_call(struct bench *bench, struct ttrpc_client *agent, const char *method,
			      const ProtobufCMessage *request, struct error *err);

/* CreateSandbox on the claimed guest. */
_must_check_ int sandbox_create(struct bench *bench, struct ttrpc_client *agent, struct error *err);

/* Creates and starts a container of the guest image that prints a line; its root filesystem is
 * in the guest already. */
_must_check_ int sandbox_start_container(struct bench *bench, struct ttrpc_client *agent,
					 struct error *err);

/* Waits until that container's program has ended, and removes it. */
_must_check_ int sandbox_remove_container(struct bench *bench, struct ttrpc_client *agent,
					  struct error *err);

/* Returns with the first bytes the container wrote. */
_must_check_ int sandbox_read_output(struct bench *bench, struct ttrpc_client *agent,
				     struct error *err);

/* What a container's first process writes until it ends, at most max bytes (-EFBIG); stream is
 * ReadStdout or ReadStderr. Terminated, the caller frees it. */
_must_check_ int sandbox_read_all(struct bench *bench, struct ttrpc_client *agent, const char *id,
				  const char *stream, size_t max, char **ret_output,
				  struct error *err);

/* Takes the claim; returns when the factory has destroyed the machine. */
_must_check_ int sandbox_release(struct bench *bench, const char *address, struct claim *claim,
				 struct error *err);
