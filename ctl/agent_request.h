/* A request to the agent as it is given on the command line: a method's name and JSON. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/error.h"

struct agent_request {
	const ProtobufCServiceDescriptor *service;
	const ProtobufCMethodDescriptor *method;
	ProtobufCMessage *message; /* owned; of the method's input type */
};

/* name is a method of grpc.AgentService, grpc.Health or kiln.guest.v1.Guest; json is an object,
 * "@FILE", "-" for stdin, or NULL for an empty message. -EINVAL names near requests or the
 * offending key. */
_must_check_ int agent_request_parse(const char *name, const char *json,
				     struct agent_request *ret_request, struct error *err);

/* The same for both in one string, as in 'CreateSandbox {"sandbox_id": "x"}'. */
_must_check_ int agent_request_parse_call(const char *call, struct agent_request *ret_request,
					  struct error *err);

/* True where word stands for a message and not for a request's name. */
bool agent_request_is_json(const char *word);

void agent_request_done(struct agent_request *request);

/* The name of the nth request of all services; NULL: there are fewer. */
const char *agent_request_name(size_t n);

/* Every request with the fields of its message. */
void agent_request_list(FILE *out);
