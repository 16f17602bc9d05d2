/* A guest of which the test plays one service, and the shim's link to it. */
#pragma once

#include "fake_agent.h"

#include "base/loop.h"
#include "shim/agent_link.h"

struct played_guest {
	struct loop *loop;
	struct ttrpc_server *server;
	struct ttrpc_conn *conn;
	struct ttrpc_client *client;
	struct agent_link *link;
};

/* userdata is the service's methods'. */
static inline void played_guest_start(struct played_guest *guest,
				      const struct ttrpc_service *service, void *userdata)
{
	int pair[2];

	guest->loop = loop_new();
	guest->server = ttrpc_server_new(guest->loop,
					 &(struct ttrpc_server_options){ .userdata = userdata });
	ttrpc_server_add(guest->server, service);
	assert_int_equal(socket_pair(pair), 0);
	assert_int_equal(ttrpc_server_serve(guest->server, pair[1], false, &guest->conn), 0);
	guest->client = ttrpc_client_new(guest->loop, pair[0],
					 &(struct ttrpc_client_options){ .first_stream = 1 });
	guest->link = agent_link_new(guest->loop, guest->client, NULL, NULL);
}

static inline void played_guest_end(struct played_guest *guest)
{
	agent_link_set(guest->link, NULL);
	ttrpc_client_free(guest->client);
	agent_link_free(guest->link);
	ttrpc_server_free(guest->server);
	loop_free(guest->loop);
}
