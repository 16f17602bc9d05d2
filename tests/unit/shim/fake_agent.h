/* The guest's end of the wire, scripted: an agent that does what the test says and remembers what
 * it was asked. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/socket.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "google/protobuf/empty.pb-c.h"
#include "proto/agent.pb-c.h"
#include "proto/guest.pb-c.h"
#include "proto/health.pb-c.h"
#include "proto/ttrpc_server.h"

#define DEADLINE_MS 20000
#define WAITS_MAX   1200
#define CHECKS_MAX  16
#define READS_MAX   8

/* What the first process writes (an exec writes nothing, and its output ends at once unless it
 * stays open); reads are held while there is nothing and no end. */
struct fake_stream {
	const uint8_t *data;
	size_t len;
	size_t off;
	bool ended;
	struct ttrpc_call *held[READS_MAX]; /* in their order */
	size_t nheld;
	size_t reads;
	size_t too_much; /* in one answer, whatever was asked for; 0: as asked for */
};

struct fake_wait {
	struct ttrpc_call *call;
	char *exec_id;
};

struct fake_agent {
	struct loop *loop;
	struct ttrpc_server *server;
	struct ttrpc_conn *conn;
	struct strbuf calls; /* "CreateSandbox CreateContainer ..." without the streams' */
	const char *fail_method;
	enum ttrpc_code fail_code;
	const char *hold_method;
	struct ttrpc_call *held;
	struct fake_wait waits[WAITS_MAX];
	struct fake_stream out, err;
	bool execs_stay_open;              /* an exec's stdout does not end by itself */
	struct fake_stream exec_out;       /* ditto: its reads */
	unsigned drop_stdout, drop_stderr; /* of CloseOutput, so many had them */
	struct strbuf in;
	size_t in_max; /* bytes taken of one WriteStdin; 0: all */
	bool in_closed;
	struct ttrpc_call *checks[CHECKS_MAX]; /* those not answered */
	size_t nchecks;
	bool answers_checks;
	uint32_t last_signal;
	bool die_by_signal; /* answers the first wait with 128 + signal */
	Grpc__Spec *spec;   /* of the last CreateContainer; owned */
	bool sandbox_pidns; /* ditto */
	char pids_of[64];   /* ditto: pidns_container */
};

static inline void fake_reply_empty(struct ttrpc_call *call)
{
	Google__Protobuf__Empty response = GOOGLE__PROTOBUF__EMPTY__INIT;

	ttrpc_call_reply(call, &response.base);
}

static inline void fake_reply_wait(struct ttrpc_call *call, int32_t status)
{
	Grpc__WaitProcessResponse response = GRPC__WAIT_PROCESS_RESPONSE__INIT;

	response.status = status;
	ttrpc_call_reply(call, &response.base);
}

/* True: the script has answered the call. */
static inline bool fake_refuses(struct fake_agent *agent, struct ttrpc_call *call)
{
	const char *method = ttrpc_call_method(call);

	if (!str_equal(agent->fail_method, method))
		return false;
	ttrpc_call_fail_code(call, agent->fail_code, "scripted failure of %s", method);
	return true;
}

/* False: the script has answered or holds the call. */
static inline bool fake_note(struct fake_agent *agent, struct ttrpc_call *call)
{
	const char *method = ttrpc_call_method(call);

	/* The clock is set again where the answer took long, as on a busy host: noted once. */
	if (!str_equal(method, "SetGuestDateTime") || !strstr(strbuf_text(&agent->calls), method))
		strbuf_addf(&agent->calls, "%s%s", agent->calls.len ? " " : "", method);
	if (fake_refuses(agent, call))
		return false;
	if (str_equal(agent->hold_method, method)) {
		agent->held = call;
		return false;
	}
	return true;
}

static inline void fake_simple(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
			       void *userdata)
{
	if (fake_note(userdata, call))
		fake_reply_empty(call);
}

static inline void fake_create(struct ttrpc_call *call, const ProtobufCMessage *message,
			       void *userdata)
{
	const Grpc__CreateContainerRequest *request = (const void *)message;
	struct fake_agent *agent = userdata;
	size_t len = grpc__spec__get_packed_size(request->oci);
	_cleanup_free_ uint8_t *data = xcalloc(1, len + 1);

	grpc__spec__pack(request->oci, data);
	if (agent->spec)
		grpc__spec__free_unpacked(agent->spec, NULL);
	agent->spec = grpc__spec__unpack(NULL, len, data);
	agent->sandbox_pidns = request->sandbox_pidns;
	snprintf(agent->pids_of, sizeof(agent->pids_of), "%s", request->pidns_container);
	if (fake_note(agent, call))
		fake_reply_empty(call);
}

/* Status of the end of a process; "" is the container's first. False: nobody waits yet. */
static inline bool fake_agent_exit(struct fake_agent *agent, const char *exec_id, int32_t status)
{
	for (size_t i = 0; i < WAITS_MAX; i++) {
		struct fake_wait *wait = &agent->waits[i];
		if (!wait->call || !str_equal(wait->exec_id, exec_id))
			continue;
		free(steal_ptr(wait->exec_id));
		fake_reply_wait(steal_ptr(wait->call), status);
		return true;
	}
	return false;
}

static inline void fake_signal(struct ttrpc_call *call, const ProtobufCMessage *message,
			       void *userdata)
{
	const Grpc__SignalProcessRequest *request = (const void *)message;
	struct fake_agent *agent = userdata;

	if (!fake_note(agent, call))
		return;
	agent->last_signal = request->signal;
	fake_reply_empty(call);
	/* A first process is named by its container. */
	const char *exec_id = str_equal(request->exec_id, request->container_id) ? ""
										 : request->exec_id;
	if (agent->die_by_signal)
		(void)fake_agent_exit(agent, exec_id, 128 + (int32_t)request->signal);
}

static inline void fake_wait(struct ttrpc_call *call, const ProtobufCMessage *message,
			     void *userdata)
{
	const Grpc__WaitProcessRequest *request = (const void *)message;
	struct fake_agent *agent = userdata;

	if (!fake_note(agent, call))
		return;
	for (size_t i = 0; i < WAITS_MAX; i++) {
		if (agent->waits[i].call)
			continue;
		agent->waits[i].call = call;
		agent->waits[i].exec_id = xstrdup(request->exec_id);
		return;
	}
	abort();
}

static inline struct ttrpc_call *fake_stream_take(struct fake_stream *stream)
{
	struct ttrpc_call *call = stream->held[0];

	memmove(stream->held, stream->held + 1, --stream->nheld * sizeof(stream->held[0]));
	return call;
}

static inline void fake_stream_answer(struct fake_stream *stream, size_t max)
{
	max = stream->too_much > 0 ? stream->too_much : max;
	while (stream->nheld > 0) {
		Grpc__ReadStreamResponse response = GRPC__READ_STREAM_RESPONSE__INIT;
		size_t n = stream->len - stream->off < max ? stream->len - stream->off : max;

		if (n == 0 && !stream->ended)
			return;
		response.data.data = (uint8_t *)stream->data + stream->off;
		response.data.len = n;
		stream->off += n;
		stream->reads++;
		ttrpc_call_reply(fake_stream_take(stream), &response.base);
	}
}

static inline void fake_read(struct ttrpc_call *call, const ProtobufCMessage *message,
			     void *userdata)
{
	const Grpc__ReadStreamRequest *request = (const void *)message;
	struct fake_agent *agent = userdata;
	bool is_stdout = str_equal(ttrpc_call_method(call), "ReadStdout");
	struct fake_stream *stream = is_stdout ? &agent->out : &agent->err;
	struct fake_stream empty = { .held = { call }, .nheld = 1, .ended = true };

	if (fake_refuses(agent, call))
		return;
	if (*request->exec_id && is_stdout && agent->execs_stay_open) {
		stream = &agent->exec_out;
	} else if (*request->exec_id) {
		fake_stream_answer(&empty, request->len);
		return;
	}
	assert_true(stream->nheld < READS_MAX);
	stream->held[stream->nheld++] = call;
	fake_stream_answer(stream, request->len);
}

/* The stream's next data; it must stay valid. end: nothing follows. */
static inline void fake_stream_set(struct fake_stream *stream, const void *data, size_t len,
				   bool end)
{
	stream->data = data;
	stream->len = len;
	stream->off = 0;
	stream->ended = end;
	fake_stream_answer(stream, 65536);
}

static inline void fake_write(struct ttrpc_call *call, const ProtobufCMessage *message,
			      void *userdata)
{
	const Grpc__WriteStreamRequest *request = (const void *)message;
	Grpc__WriteStreamResponse response = GRPC__WRITE_STREAM_RESPONSE__INIT;
	struct fake_agent *agent = userdata;
	size_t n = request->data.len;

	if (fake_refuses(agent, call))
		return;
	if (agent->in_max && n > agent->in_max)
		n = agent->in_max;
	strbuf_add(&agent->in, request->data.data, n);
	response.len = (uint32_t)n;
	ttrpc_call_reply(call, &response.base);
}

static inline void fake_close(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
			      void *userdata)
{
	struct fake_agent *agent = userdata;

	agent->in_closed = true;
	fake_reply_empty(call);
}

static inline void fake_check(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
			      void *userdata)
{
	Grpc__HealthCheckResponse response = GRPC__HEALTH_CHECK_RESPONSE__INIT;
	struct fake_agent *agent = userdata;

	assert_true(agent->nchecks < CHECKS_MAX);
	if (fake_refuses(agent, call))
		agent->checks[agent->nchecks] = NULL;
	else if (agent->answers_checks)
		ttrpc_call_reply(call, &response.base);
	else
		agent->checks[agent->nchecks] = call;
	agent->nchecks++;
}

/* Of a container, or of the guest. */
static inline void fake_stats(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
			      void *userdata)
{
	Grpc__StatsContainerResponse response = GRPC__STATS_CONTAINER_RESPONSE__INIT;
	Grpc__NetworkStats card = GRPC__NETWORK_STATS__INIT, *cards[] = { &card };

	card.name = (char *)"eth0";
	response.network_stats = cards;
	response.n_network_stats = ARRAY_SIZE(cards);
	if (fake_note(userdata, call))
		ttrpc_call_reply(call, &response.base);
}

static inline void fake_close_output(struct ttrpc_call *call, const ProtobufCMessage *message,
				     void *userdata)
{
	const Kiln__Guest__V1__CloseOutputRequest *request = (const void *)message;
	Kiln__Guest__V1__CloseOutputResponse response =
		KILN__GUEST__V1__CLOSE_OUTPUT_RESPONSE__INIT;
	struct fake_agent *agent = userdata;

	agent->drop_stdout += request->drop_stdout;
	agent->drop_stderr += request->drop_stderr;
	if (!fake_note(agent, call))
		return;
	fake_stream_set(&agent->exec_out, NULL, 0, true);
	ttrpc_call_reply(call, &response.base);
}

static const struct ttrpc_method fake_guest_methods[] = {
	{ "StatsGuest", fake_stats },
	{ "CloseOutput", fake_close_output },
};

static const struct ttrpc_service fake_guest_service = {
	.descriptor = &kiln__guest__v1__guest__descriptor,
	.methods = fake_guest_methods,
	.nmethods = ARRAY_SIZE(fake_guest_methods),
};

static const struct ttrpc_method fake_health_methods[] = { { "Check", fake_check } };

static const struct ttrpc_service fake_health_service = {
	.descriptor = &grpc__health__descriptor,
	.methods = fake_health_methods,
	.nmethods = ARRAY_SIZE(fake_health_methods),
};

#define FAKE_METRICS "kiln_guest_load{minutes=\"1\"} 0.50\n"

static inline void fake_metrics(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
				void *userdata)
{
	Grpc__Metrics response = GRPC__METRICS__INIT;

	response.metrics = (char *)FAKE_METRICS;
	if (fake_note(userdata, call))
		ttrpc_call_reply(call, &response.base);
}

/* Its answer is what was asked for. */
static inline void fake_diagnostic(struct ttrpc_call *call, const ProtobufCMessage *message,
				   void *userdata)
{
	Grpc__GetDiagnosticDataResponse response = GRPC__GET_DIAGNOSTIC_DATA_RESPONSE__INIT;

	response.data = ((const Grpc__GetDiagnosticDataRequest *)message)->log_type;
	if (fake_note(userdata, call))
		ttrpc_call_reply(call, &response.base);
}

static const struct ttrpc_method fake_agent_methods[] = {
	{ "CreateSandbox", fake_simple },   { "SetGuestDateTime", fake_simple },
	{ "CreateContainer", fake_create }, { "StartContainer", fake_simple },
	{ "ExecProcess", fake_simple },     { "RemoveContainer", fake_simple },
	{ "TtyWinResize", fake_simple },    { "SignalProcess", fake_signal },
	{ "WaitProcess", fake_wait },       { "ReadStdout", fake_read },
	{ "ReadStderr", fake_read },        { "WriteStdin", fake_write },
	{ "CloseStdin", fake_close },       { "StatsContainer", fake_stats },
	{ "GetMetrics", fake_metrics },     { "GetDiagnosticData", fake_diagnostic },
	{ "SetPolicy", fake_simple },       { "UpdateContainer", fake_simple },
};

static const struct ttrpc_service fake_agent_service = {
	.descriptor = &grpc__agent_service__descriptor,
	.methods = fake_agent_methods,
	.nmethods = ARRAY_SIZE(fake_agent_methods),
};

static inline void fake_agent_init(struct fake_agent *agent, struct loop *loop)
{
	struct ttrpc_server_options options = { .userdata = agent, .max_calls = 2 * WAITS_MAX };

	*agent = (struct fake_agent){ .loop = loop };
	agent->server = ttrpc_server_new(loop, &options);
	ttrpc_server_add(agent->server, &fake_agent_service);
	ttrpc_server_add(agent->server, &fake_health_service);
	ttrpc_server_add(agent->server, &fake_guest_service);
}

/* Our side's end of a fresh channel to it. */
static inline int fake_agent_connect(struct fake_agent *agent)
{
	int pair[2];

	assert_int_equal(socket_pair(pair), 0);
	assert_int_equal(ttrpc_server_serve(agent->server, pair[1], false, &agent->conn), 0);
	return pair[0];
}

static inline void fake_agent_done(struct fake_agent *agent)
{
	for (size_t i = 0; i < WAITS_MAX; i++) {
		if (agent->waits[i].call)
			ttrpc_call_drop(agent->waits[i].call);
		free(agent->waits[i].exec_id);
	}
	for (size_t i = 0; i < agent->nchecks; i++)
		if (agent->checks[i])
			ttrpc_call_drop(agent->checks[i]);
	while (agent->out.nheld > 0)
		ttrpc_call_drop(fake_stream_take(&agent->out));
	while (agent->err.nheld > 0)
		ttrpc_call_drop(fake_stream_take(&agent->err));
	while (agent->exec_out.nheld > 0)
		ttrpc_call_drop(fake_stream_take(&agent->exec_out));
	if (agent->held)
		ttrpc_call_drop(agent->held);
	ttrpc_server_free(agent->server);
	strbuf_done(&agent->calls);
	strbuf_done(&agent->in);
	if (agent->spec)
		grpc__spec__free_unpacked(agent->spec, NULL);
}

static inline void turn(struct loop *loop, unsigned ms)
{
	bool never = false;

	(void)loop_run_until(loop, &never, ms);
}

/* Runs the loop until cond holds; fails the test at the deadline. */
#define await(loop, cond)                                                                          \
	do {                                                                                       \
		for (unsigned waited_ = 0; !(cond); waited_++) {                                   \
			assert_true(waited_ < DEADLINE_MS);                                        \
			turn(loop, 1);                                                             \
		}                                                                                  \
	} while (0)
