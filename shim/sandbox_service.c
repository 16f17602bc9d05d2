#include "shim/sandbox_service.h"

#include <sys/utsname.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/strings.h"
#include "proto/guest.pb-c.h"
#include "proto/sandbox.pb-c.h"
#include "proto/ttrpc_server.h"
#include "shim/pod.h"
#include "shim/shim.h"
#include "shim/stats.h"
#include "shim/timestamp.h"

/* Of the generated names, which are long. */
#define SANDBOX(name) Containerd__Runtime__Sandbox__V1__##name

/* ---------------------------------------------------------------- its life */

static void on_pod_created(int number, const struct error *err, void *userdata)
{
	SANDBOX(CreateSandboxResponse)
	response = CONTAINERD__RUNTIME__SANDBOX__V1__CREATE_SANDBOX_RESPONSE__INIT;

	if (number < 0)
		ttrpc_call_fail(userdata, err);
	else
		ttrpc_call_reply(userdata, &response.base);
}

static void on_create(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	_cleanup_(error_done) struct error err = {};

	if (pod_create(shim_pod(userdata), (const SANDBOX(CreateSandboxRequest) *)message,
		       on_pod_created, call, &err) < 0)
		ttrpc_call_fail(call, &err);
}

static void on_start(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
		     void *userdata)
{
	SANDBOX(StartSandboxResponse)
	response = CONTAINERD__RUNTIME__SANDBOX__V1__START_SANDBOX_RESPONSE__INIT;
	struct pod *pod = shim_pod(userdata);
	_cleanup_(error_done) struct error err = {};
	Google__Protobuf__Timestamp created;

	if (pod_start(pod, &err) < 0) {
		ttrpc_call_fail(call, &err);
		return;
	}
	created = timestamp_from_ns(pod_created_ns(pod));
	response.pid = pod_pid(pod);
	response.created_at = &created;
	ttrpc_call_reply(call, &response.base);
}

static void on_stop(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
		    void *userdata)
{
	SANDBOX(StopSandboxResponse)
	response = CONTAINERD__RUNTIME__SANDBOX__V1__STOP_SANDBOX_RESPONSE__INIT;

	shim_end_pod(userdata);
	ttrpc_call_reply(call, &response.base);
}

static void on_shutdown(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
			void *userdata)
{
	SANDBOX(ShutdownSandboxResponse)
	response = CONTAINERD__RUNTIME__SANDBOX__V1__SHUTDOWN_SANDBOX_RESPONSE__INIT;

	ttrpc_call_reply(call, &response.base);
	shim_end(userdata);
}

struct wait {
	struct ttrpc_call *call;
	struct pod *pod; /* outlives the call: the shim ends it first */
};

static void on_ended(int number _unused_, const struct error *err _unused_, void *userdata)
{
	SANDBOX(WaitSandboxResponse)
	response = CONTAINERD__RUNTIME__SANDBOX__V1__WAIT_SANDBOX_RESPONSE__INIT;
	_cleanup_free_ struct wait *wait = userdata;
	Google__Protobuf__Timestamp exited = timestamp_from_ns(pod_exited_ns(wait->pod));

	response.exit_status = pod_exit_status(wait->pod);
	response.exited_at = &exited;
	ttrpc_call_reply(wait->call, &response.base);
}

static void on_wait_cancelled(struct ttrpc_call *call, void *userdata)
{
	_cleanup_free_ struct wait *wait = userdata;

	pod_wait_cancel(wait->pod, wait);
	ttrpc_call_drop(call);
}

static void on_wait(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
		    void *userdata)
{
	struct wait *wait = xnew(struct wait);

	*wait = (struct wait){ call, shim_pod(userdata) };
	if (pod_state(wait->pod) != POD_ENDED)
		ttrpc_call_on_cancel(call, on_wait_cancelled, wait);
	pod_wait(wait->pod, on_ended, wait);
}

/* ---------------------------------------------------------------- questions */

enum { INFOS_MAX = 3, NUMBER_SIZE = 16 };

typedef SANDBOX(SandboxStatusResponse__InfoEntry) info_entry;

static void add_info(SANDBOX(SandboxStatusResponse) * response, const char *key, const char *value)
{
	info_entry *entry = response->info[response->n_info++];

	containerd__runtime__sandbox__v1__sandbox_status_response__info_entry__init(entry);
	entry->key = (char *)key;
	entry->value = (char *)value;
}

/* The arrays are the answer's memory. netns NULL: it has none. */
static void add_infos(SANDBOX(SandboxStatusResponse) * response, const char *netns,
		      info_entry entries[INFOS_MAX], info_entry *list[INFOS_MAX],
		      char number[NUMBER_SIZE])
{
	snprintf(number, NUMBER_SIZE, "%u", response->pid);
	for (size_t i = 0; i < INFOS_MAX; i++)
		list[i] = &entries[i];
	response->info = list;
	add_info(response, "pid", number);
	add_info(response, "state", response->state);
	if (netns)
		add_info(response, "networkSandboxPath", netns);
}

static void on_status(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const SANDBOX(
		SandboxStatusRequest) *request = (const SANDBOX(SandboxStatusRequest) *)message;
	SANDBOX(SandboxStatusResponse)
	response = CONTAINERD__RUNTIME__SANDBOX__V1__SANDBOX_STATUS_RESPONSE__INIT;
	info_entry entries[INFOS_MAX], *list[INFOS_MAX];
	char number[NUMBER_SIZE];
	const struct pod *pod = shim_pod(userdata);
	Google__Protobuf__Timestamp created = timestamp_from_ns(pod_created_ns(pod));
	Google__Protobuf__Timestamp exited = timestamp_from_ns(pod_exited_ns(pod));

	if (pod_state(pod) == POD_NONE) {
		ttrpc_call_fail_code(call, TTRPC_NOT_FOUND, "sandbox %s: not found",
				     request->sandbox_id);
		return;
	}
	response.sandbox_id = request->sandbox_id;
	response.pid = pod_pid(pod);
	response.state = (char *)(pod_state(pod) == POD_READY ? "SANDBOX_READY"
							      : "SANDBOX_NOTREADY");
	if (pod_created_ns(pod))
		response.created_at = &created;
	if (pod_exited_ns(pod))
		response.exited_at = &exited;
	if (request->verbose)
		add_infos(&response, pod_netns(pod), entries, list, number);
	ttrpc_call_reply(call, &response.base);
}

static void on_ping(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const SANDBOX(PingRequest) *request = (const SANDBOX(PingRequest) *)message;
	SANDBOX(PingResponse) response = CONTAINERD__RUNTIME__SANDBOX__V1__PING_RESPONSE__INIT;

	if (pod_has_machine(shim_pod(userdata)))
		ttrpc_call_reply(call, &response.base);
	else
		ttrpc_call_fail_code(call, TTRPC_NOT_FOUND, "sandbox %s: not running",
				     request->sandbox_id);
}

enum { METRICS_TIMEOUT_MS = 10000 };

struct metrics {
	struct ttrpc_call *call;
	char *id; /* owned; of the sandbox */
};

static void reply_metrics(const struct metrics *metrics, const Grpc__StatsContainerResponse *stats)
{
	SANDBOX(SandboxMetricsResponse)
	response = CONTAINERD__RUNTIME__SANDBOX__V1__SANDBOX_METRICS_RESPONSE__INIT;
	Containerd__Types__Metric metric = CONTAINERD__TYPES__METRIC__INIT;
	Google__Protobuf__Timestamp now = timestamp_from_ns(clock_realtime_ns());
	Google__Protobuf__Any data;

	stats_convert(stats, stats_host_is_unified(), true, &data);
	metric.timestamp = &now;
	metric.id = metrics->id;
	metric.data = &data;
	response.metrics = &metric;
	ttrpc_call_reply(metrics->call, &response.base);
	free(data.value.data);
}

static void on_guest_stats(const struct ttrpc_reply *reply, void *userdata)
{
	_cleanup_(error_done) struct error err = {};
	struct metrics *metrics = userdata;

	if (ttrpc_reply_error(reply, &err) < 0)
		ttrpc_call_fail(metrics->call, &err);
	else
		reply_metrics(metrics, (const Grpc__StatsContainerResponse *)reply->response);
	free(metrics->id);
	free(metrics);
}

static void on_metrics(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const SANDBOX(
		SandboxMetricsRequest) *request = (const SANDBOX(SandboxMetricsRequest) *)message;
	Kiln__Guest__V1__StatsGuestRequest stats = KILN__GUEST__V1__STATS_GUEST_REQUEST__INIT;
	const struct pod *pod = shim_pod(userdata);
	struct metrics *metrics;

	if (!pod_has_machine(pod)) {
		ttrpc_call_fail_code(call, TTRPC_NOT_FOUND, "sandbox %s: not running",
				     request->sandbox_id);
		return;
	}
	metrics = xnew(struct metrics);
	metrics->call = call;
	metrics->id = xstrdup(request->sandbox_id);
	agent_call_service(pod_agent(pod), &kiln__guest__v1__guest__descriptor, "StatsGuest",
			   &stats.base, METRICS_TIMEOUT_MS, on_guest_stats, metrics);
}

/* By Go's names. */
static const char *architecture(const struct utsname *host)
{
	static const char *const names[][2] = { { "x86_64", "amd64" }, { "aarch64", "arm64" } };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (str_equal(host->machine, names[i][0]))
			return names[i][1];
	return host->machine;
}

/* A guest is of its host's kind. */
static void on_platform(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
			void *userdata _unused_)
{
	SANDBOX(PlatformResponse)
	response = CONTAINERD__RUNTIME__SANDBOX__V1__PLATFORM_RESPONSE__INIT;
	Containerd__Types__Platform platform = CONTAINERD__TYPES__PLATFORM__INIT;
	struct utsname host = {};

	(void)uname(&host);
	platform.os = (char *)"linux";
	platform.architecture = (char *)architecture(&host);
	response.platform = &platform;
	ttrpc_call_reply(call, &response.base);
}

static const struct ttrpc_method methods[] = {
	{ "CreateSandbox", on_create },   { "StartSandbox", on_start },
	{ "StopSandbox", on_stop },       { "ShutdownSandbox", on_shutdown },
	{ "WaitSandbox", on_wait },       { "SandboxStatus", on_status },
	{ "PingSandbox", on_ping },       { "Platform", on_platform },
	{ "SandboxMetrics", on_metrics },
};

static const struct ttrpc_service service = {
	.descriptor = &containerd__runtime__sandbox__v1__sandbox__descriptor,
	.methods = methods,
	.nmethods = ARRAY_SIZE(methods),
};

void sandbox_service_add(struct ttrpc_server *server)
{
	ttrpc_server_add(server, &service);
}
