#include "factory/daemon/server.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "factory/api/pages.h"
#include "factory/api/service.h"
#include "factory/api/trace_export.h"
#include "factory/base/collector.h"
#include "factory/base/layout.h"

struct server {
	struct factory *factory;
	struct pages *pages;
	struct trace_export *traces; /* NULL: there is no collector */
	struct ttrpc_server *service;
};

static int export_traces(struct server *server, struct loop *loop, struct error *err)
{
	const struct factory_config *config = factory_config(server->factory);
	struct collector collector = {};

	if (!config->trace_collector)
		return 0;
	_cleanup_free_ char *path = xasprintf(LAYOUT_TRACE_SOCKET, config->run_dir);
	int r = collector_parse(config->trace_collector, &collector, err);
	return r < 0 ? r
		     : trace_export_new(loop, path, &collector, factory_metrics(server->factory),
					&server->traces, err);
}

static int serve(struct server *server, struct loop *loop, struct factory_means *means,
		 struct error *err)
{
	struct factory *factory = server->factory;
	int r = pages_new(loop, factory, factory_footprint(factory), steal_fd(&means->http_fd),
			  &server->pages, err);

	if (r < 0)
		return r;
	r = export_traces(server, loop, err);
	if (r < 0)
		return r;
	server->service = service_new(loop, factory);
	ttrpc_server_listen(server->service, steal_fd(&means->socket_fd));
	const struct template_host *host = factory_look_at_host(factory);
	log_info(NULL, "serving %s, accelerator %s, %s",
		 means->activated ? "the service manager's socket"
				  : factory_config(factory)->socket,
		 accelerator_to_string(host->accelerator), host->qemu_version);
	if (host->kvm_obstacle)
		log_warning(NULL,
			    "machines are emulated, which is slow, though the processor has what "
			    "KVM needs: %s (load kvm_intel or kvm_amd; the factory's user must be "
			    "in the group of /dev/kvm)",
			    host->kvm_obstacle);
	if (factory_config(factory)->init_on_start)
		factory_init_all(factory, NULL, NULL);
	return 0;
}

int server_new(struct loop *loop, struct factory_config *config, struct factory_means *means,
	       struct server **ret_server, struct error *err)
{
	_cleanup_(server_free_cleanup) struct server *server = xnew(struct server);
	int r = factory_new(loop, config, means, &server->factory, err);

	if (r == 0)
		r = serve(server, loop, means, err);
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

/* The pages and calls that still wait are answered as the factory ends, so those who answer end
 * after it; and the service tells the factory of each connection that ends, so its memory is the
 * last. A machine that was not confirmed on one stays: whether its claimer has it, the next start
 * finds out.
 */
void server_free(struct server *server)
{
	if (!server)
		return;
	trace_export_free(server->traces);
	factory_end(server->factory);
	pages_free(server->pages);
	ttrpc_server_free(server->service);
	factory_free(server->factory);
	free(server);
}
