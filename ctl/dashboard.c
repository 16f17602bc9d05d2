#include "ctl/dashboard.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "ctl/dashboard_page.h"
#include "ctl/message.h"
#include "ctl/serve.h"
#include "factory/client/factory_rpc.h"

enum page_kind { PAGE_FOLLOWING, PAGE_STILL, PAGE_KINDS };

struct dashboard {
	struct loop *loop;
	const char *socket, *traces;
	char host[256];
	struct serve_readers readers[PAGE_KINDS];
	/* The question under way. */
	struct ttrpc_client *factory; /* NULL: there is none */
	unsigned awaited;             /* answers */
	Kiln__Factory__V1__StatusResponse *status;
	Kiln__Factory__V1__LatenciesResponse *latencies;
	struct error error; /* why there is no status */
	/* What came of the last one. */
	struct strbuf pages[PAGE_KINDS];
	int page_status;   /* of HTTP; 0: there was none yet */
	uint64_t taken_ms; /* CLOCK_MONOTONIC */
};

static void forget_answers(struct dashboard *dashboard)
{
	if (dashboard->status)
		protobuf_c_message_free_unpacked(&dashboard->status->base, NULL);
	if (dashboard->latencies)
		protobuf_c_message_free_unpacked(&dashboard->latencies->base, NULL);
	dashboard->status = NULL;
	dashboard->latencies = NULL;
	error_done(&dashboard->error);
}

/* ---------------------------------------------------------------- answers */

/* Of a folder that is not there yet, nothing was traced. */
static void read_traces(const struct dashboard *dashboard, struct traces *ret)
{
	_cleanup_(error_done) struct error err = {};

	if (dashboard->traces && traces_read_newest(dashboard->traces, ret, &err) < 0 &&
	    err.number != ENOENT)
		log_warning(NULL, "%s", error_message(&err));
}

static void draw(struct dashboard *dashboard)
{
	_cleanup_(traces_done) struct traces traces = {};
	struct dashboard_look look = {
		.host = dashboard->host,
		.taken_s = clock_realtime_ns() / 1000000000,
		.obstacle = error_message(&dashboard->error),
		.status = dashboard->status,
		.latencies = dashboard->latencies,
		.traces = dashboard->traces ? &traces : NULL,
	};

	read_traces(dashboard, &traces);
	for (enum page_kind kind = 0; kind < PAGE_KINDS; kind++) {
		strbuf_done(&dashboard->pages[kind]);
		look.still = kind == PAGE_STILL;
		dashboard_page_write(&look, &dashboard->pages[kind]);
	}
	dashboard->page_status = dashboard->status ? 200 : 503;
	dashboard->taken_ms = clock_monotonic_ms();
}

static void answer_all(struct dashboard *dashboard)
{
	for (enum page_kind kind = 0; kind < PAGE_KINDS; kind++)
		serve_readers_answer(&dashboard->readers[kind], dashboard->page_status, HTTP_HTML,
				     strbuf_text(&dashboard->pages[kind]));
}

static void on_all_answered(void *userdata)
{
	struct dashboard *dashboard = userdata;

	ttrpc_client_free(steal_ptr(dashboard->factory));
	draw(dashboard);
	forget_answers(dashboard);
	answer_all(dashboard);
}

static void on_answer(struct dashboard *dashboard)
{
	if (--dashboard->awaited == 0)
		loop_defer(dashboard->loop, on_all_answered, dashboard);
}

static void on_status(const struct ttrpc_reply *reply, void *userdata)
{
	struct dashboard *dashboard = userdata;
	ProtobufCMessage *status;

	if (message_of_reply(reply, &status, &dashboard->error) == 0)
		dashboard->status = (Kiln__Factory__V1__StatusResponse *)status;
	on_answer(dashboard);
}

/* A factory of an older version knows no such call. */
static void on_latencies(const struct ttrpc_reply *reply, void *userdata)
{
	struct dashboard *dashboard = userdata;
	ProtobufCMessage *latencies;

	if (message_of_reply(reply, &latencies, NULL) == 0)
		dashboard->latencies = (Kiln__Factory__V1__LatenciesResponse *)latencies;
	on_answer(dashboard);
}

/* ---------------------------------------------------------------- questions */

/* A connection for each: the factory may have been restarted. */
static void ask(struct dashboard *dashboard)
{
	const Kiln__Factory__V1__StatusRequest status = KILN__FACTORY__V1__STATUS_REQUEST__INIT;
	const Kiln__Factory__V1__LatenciesRequest latencies =
		KILN__FACTORY__V1__LATENCIES_REQUEST__INIT;

	if (factory_rpc_connect(dashboard->loop, dashboard->socket, &dashboard->factory,
				&dashboard->error) < 0) {
		draw(dashboard);
		forget_answers(dashboard);
		answer_all(dashboard);
		return;
	}
	dashboard->awaited = 2;
	(void)factory_rpc_call(dashboard->factory, "Status", &status.base, DASHBOARD_TIMEOUT_MS,
			       on_status, dashboard);
	(void)factory_rpc_call(dashboard->factory, "Latencies", &latencies.base,
			       DASHBOARD_TIMEOUT_MS, on_latencies, dashboard);
}

static void give(struct dashboard *dashboard, struct http_request *request, enum page_kind kind)
{
	bool fresh = dashboard->page_status != 0 &&
		     clock_monotonic_ms() - dashboard->taken_ms < DASHBOARD_FRESH_MS;

	if (fresh && !dashboard->factory)
		http_reply(request, dashboard->page_status, HTTP_HTML,
			   strbuf_text(&dashboard->pages[kind]));
	else if (serve_readers_add(&dashboard->readers[kind], request) && !dashboard->factory)
		ask(dashboard);
}

static void on_page(struct http_request *request, void *userdata)
{
	give(userdata, request, PAGE_FOLLOWING);
}

static void on_still(struct http_request *request, void *userdata)
{
	give(userdata, request, PAGE_STILL);
}

static void on_style(struct http_request *request, void *userdata _unused_)
{
	http_reply(request, 200, HTTP_CSS, dashboard_style);
}

static void on_icon(struct http_request *request, void *userdata _unused_)
{
	http_reply(request, 200, HTTP_SVG, dashboard_icon);
}

static void on_health(struct http_request *request, void *userdata _unused_)
{
	http_reply(request, 200, HTTP_TEXT, "ok\n");
}

static const struct http_page served[] = {
	{ "/", on_page },         { "/still", on_still },    { "/style.css", on_style },
	{ "/icon.svg", on_icon }, { "/healthz", on_health },
};

/* ---------------------------------------------------------------- its life */

/* Calls under way are answered CANCELLED in here; what comes of them finds no readers. */
static void end(void *userdata)
{
	struct dashboard *dashboard = userdata;

	ttrpc_client_free(steal_ptr(dashboard->factory));
	for (enum page_kind kind = 0; kind < PAGE_KINDS; kind++)
		serve_readers_answer(&dashboard->readers[kind], 503, HTTP_TEXT, "it ends\n");
}

int dashboard_serve(const struct dashboard_options *options, struct error *err)
{
	struct dashboard dashboard = { .socket = options->socket, .traces = options->traces };
	int fd, r = http_listen_loopback(options->port, &fd, err);

	if (r < 0)
		return r;
	dashboard.loop = loop_new();
	if (gethostname(dashboard.host, sizeof(dashboard.host) - 1) < 0)
		strcpy(dashboard.host, "this host");
	printf("http://127.0.0.1:%u/\n", options->port);
	fflush(stdout);
	serve_run(dashboard.loop, &(struct serve_options){
					  .fd = fd,
					  .pages = served,
					  .npages = ARRAY_SIZE(served),
					  .loopback = true,
					  .end = end,
					  .userdata = &dashboard,
				  });
	loop_free(dashboard.loop);
	forget_answers(&dashboard);
	for (enum page_kind kind = 0; kind < PAGE_KINDS; kind++)
		strbuf_done(&dashboard.pages[kind]);
	return 0;
}
