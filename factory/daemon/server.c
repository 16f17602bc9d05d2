#include "factory/daemon/server.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/socket.h"
#include "factory/api/pages.h"
#include "factory/api/service.h"

struct server {
	struct factory *factory;
	struct pages *pages;
	struct ttrpc_server *service;
	char *socket; /* that we have made and remove; NULL: the service manager's */
};

static int make_socket(struct server *server, int *ret_fd, struct error *err)
{
	const char *path = factory_config(server->factory)->socket;
	int r = socket_listen_unix(path, 0600, ret_fd, err);

	if (r < 0)
		return r;
	server->socket = xstrdup(path);
	return access_apply(factory_access(server->factory), path, err);
}

static int serve(struct server *server, struct loop *loop, int *socket_fd, struct error *err)
{
	struct factory *factory = server->factory;
	int r = pages_new(loop, factory, factory_footprint(factory), &server->pages, err);

	if (r == 0 && *socket_fd < 0)
		r = make_socket(server, socket_fd, err);
	if (r == 0)
		r = factory_leave_note(factory, err);
	if (r < 0)
		return r;
	server->service = service_new(loop, factory);
	ttrpc_server_listen(server->service, steal_fd(socket_fd));
	log_info(NULL, "serving %s, accelerator %s, %s",
		 server->socket ? server->socket : "the service manager's socket",
		 accelerator_to_string(factory_host(factory)->accelerator),
		 factory_host(factory)->qemu_version);
	if (factory_config(factory)->init_on_start)
		factory_init_all(factory, NULL, NULL);
	return 0;
}

int server_new(struct loop *loop, struct factory_config *config, int socket_fd,
	       struct server **ret_server, struct error *err)
{
	_cleanup_(server_free_cleanup) struct server *server = xnew(struct server);
	_cleanup_close_ int fd = socket_fd;
	int r = factory_new(loop, config, socket_fd >= 0, &server->factory, err);

	if (r == 0)
		r = serve(server, loop, &fd, err);
	if (r < 0)
		return r;
	*ret_server = steal_ptr(server);
	return 0;
}

struct factory *server_factory(struct server *server)
{
	return server->factory;
}

void server_stop(struct server *server)
{
	ttrpc_server_stop_listening(server->service);
	factory_stop(server->factory);
}

/* The calls that still wait are answered as the factory ends, so the service is the last. */
void server_free(struct server *server)
{
	if (!server)
		return;
	pages_free(server->pages);
	factory_free(server->factory);
	ttrpc_server_free(server->service);
	if (server->socket)
		unlink(server->socket);
	free(server->socket);
	free(server);
}
