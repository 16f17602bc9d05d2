/* kiln.factory.v1.Factory, the calls on the factory's socket (proto/factory.proto): each
 * handler checks, calls the domain, replies. */
#pragma once

#include "factory/factory.h"
#include "proto/ttrpc_server.h"

struct ttrpc_server *service_new(struct loop *loop, struct factory *factory);
