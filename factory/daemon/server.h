/* The factory at work: what it owns (factory/core/factory.h), and what it answers on its socket
 * (factory/api/service.h) and over HTTP (factory/api/pages.h). */
#pragma once

#include "base/loop.h"
#include "factory/core/factory.h"

struct server;

/* Starts the factory, serves the sockets, and has the templates baked where the configuration says
 * so. Blocks. config is taken, also on failure, and of means what is used. */
_must_check_ int server_new(struct loop *loop, struct factory_config *config,
			    struct factory_means *means, struct server **ret_server,
			    struct error *err);

struct factory *server_factory(struct server *server);

/* Nobody is listened to any more, and the factory ends (factory_stop()). */
void server_stop(struct server *server);

void server_free(struct server *server);
DEFINE_CLEANUP(struct server *, server_free)
