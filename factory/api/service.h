/* kiln.factory.v1.Factory, the calls on the factory's socket (proto/factory.proto): each
 * handler checks, calls the domain, replies. */
#pragma once

#include "factory/core/factory.h"
#include "proto/ttrpc_server.h"

/* The template of that name; NULL where there is none, and the call is answered. */
struct slot *service_find_slot(struct ttrpc_call *call, struct factory *factory, const char *name);

/* An operator asks for something: a line of the audit trail (base/audit.h). */
void service_audit(const struct ttrpc_call *call, const char *verb, const char *template_name,
		   uint32_t count);

struct ttrpc_server *service_new(struct loop *loop, struct factory *factory);
