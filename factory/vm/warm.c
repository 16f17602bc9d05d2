#include "factory/vm/warm.h"

#include <ctype.h>
#include <string.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "factory/guest/guest_root.h"
#include "factory/guest/guest_share.h"
#include "factory/guest/network_cards.h"
#include "factory/vm/host.h"
#include "factory/vm/rehearsal.h"
#include "proto/agent.pb-c.h"
#include "proto/guest.pb-c.h"
#include "proto/health.pb-c.h"

enum {
	STEP_TIMEOUT_MS = 30 * 1000,
	TRIM_TIMEOUT_MS = 120 * 1000, /* touches all of the guest's memory */
	FIRST_TRY_MS = 500,           /* doubled with each try */
	RESEED_BYTES = 512,
	VERSION_MAX = 64,
	OUTPUT_CHUNK = 4096,
	OUTPUT_READS_MAX = 64, /* --version prints a line; a guest that goes on is broken */
};

/* What a step's answer means. */
enum warm_verdict { WARM_NEXT, WARM_AGAIN };

struct warm {
	struct warm_options options; /* object is owned here */
	const struct warm_plan *plan;
	size_t at;               /* index into the plan */
	uint64_t first_until_ms; /* CLOCK_MONOTONIC; end of all tries of the first step */
	unsigned first_tries;
	struct ttrpc_pending *call; /* of the step; NULL: none is in flight */
	bool freed;                 /* by its owner, from a callback of ours */
	unsigned reads;
	unsigned cards; /* that have their address */
	char version[VERSION_MAX + 1];
};

/* send builds the request on its stack and gives it to warm_call(). check looks at a good
 * answer, failed at a bad one; they return a verdict or a negative errno with err. NULL: a good
 * answer is enough, a bad one is the error. */
struct warm_step {
	const char *name;
	const ProtobufCServiceDescriptor *service;
	const char *method;
	int (*send)(struct warm *warm, const struct warm_step *step, struct error *err);
	int (*check)(struct warm *warm, const ProtobufCMessage *response, struct error *err);
	int (*failed)(struct warm *warm, const struct ttrpc_reply *reply, struct error *err);
	uint64_t timeout_ms;
};

/* The steps to go, in order. */
struct warm_plan {
	const struct warm_step *const *steps;
	size_t count;
};

static void warm_on_reply(const struct ttrpc_reply *reply, void *userdata);

/* The first call is repeated. When the host side of a virtio-serial port changes, data and the
 * note of the change reach the guest by different queues: a request can arrive while the agent
 * still closes the port for the old side, and is dropped with it. */
static uint64_t first_timeout(struct warm *warm)
{
	uint64_t now = clock_monotonic_ms();
	uint64_t left = warm->first_until_ms > now ? warm->first_until_ms - now : 1;
	uint64_t this_try = (uint64_t)FIRST_TRY_MS << warm->first_tries;
	return this_try < left ? this_try : left;
}

static int warm_call(struct warm *warm, const struct warm_step *step,
		     const ProtobufCMessage *request)
{
	uint64_t timeout = warm->at == 0 ? first_timeout(warm)
					 : step->timeout_ms * warm->options.patience;

	warm->call = ttrpc_client_call(warm->options.agent, &(struct ttrpc_call_options){
								    .service = step->service,
								    .method = step->method,
								    .request = request,
								    .timeout_ms = timeout,
								    .on_reply = warm_on_reply,
								    .userdata = warm,
							    });
	return 0;
}

/* ---- the steps */

static int send_check(struct warm *warm, const struct warm_step *step, struct error *err _unused_)
{
	Grpc__CheckRequest request = GRPC__CHECK_REQUEST__INIT;
	return warm_call(warm, step, &request.base);
}

static int check_failed(struct warm *warm, const struct ttrpc_reply *reply, struct error *err)
{
	if (reply->code != TTRPC_DEADLINE_EXCEEDED)
		return ttrpc_reply_error(reply, err);
	if (clock_monotonic_ms() >= warm->first_until_ms)
		return error_set(err, ETIMEDOUT, "the agent does not answer (%u tries)",
				 warm->first_tries + 1);
	warm->first_tries++;
	log_debug(warm->options.object, "no answer from the agent yet: asking again");
	return WARM_AGAIN;
}

static int check_serving(struct warm *warm _unused_, const ProtobufCMessage *response,
			 struct error *err)
{
	const Grpc__HealthCheckResponse *health = (const Grpc__HealthCheckResponse *)response;
	if (health->status != GRPC__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING)
		return error_set(err, EPROTO, "the agent says that it is not serving");
	return WARM_NEXT;
}

/* The text is the guest's: it ends up in logs and manifests, so nothing odd gets through. */
static int check_version(struct warm *warm, const ProtobufCMessage *response, struct error *err)
{
	const char *version = ((const Grpc__VersionCheckResponse *)response)->agent_version;
	if (str_empty(version) || strlen(version) > VERSION_MAX)
		return error_set(err, EPROTO,
				 "the agent's version has %zu bytes (1 to %d are good)",
				 strlen(version), VERSION_MAX);
	for (const char *c = version; *c; c++)
		if (!isgraph((unsigned char)*c))
			return error_set(err, EPROTO, "the agent's version has odd characters");
	memcpy(warm->version, version, strlen(version) + 1);
	if (warm->options.on_answer)
		warm->options.on_answer(warm, warm->version, warm->options.userdata);
	return WARM_NEXT;
}

static int send_reseed(struct warm *warm, const struct warm_step *step, struct error *err _unused_)
{
	uint8_t fresh[RESEED_BYTES];
	random_bytes(fresh, sizeof(fresh));
	Grpc__ReseedRandomDevRequest request = GRPC__RESEED_RANDOM_DEV_REQUEST__INIT;
	request.data.data = fresh;
	request.data.len = sizeof(fresh);
	int r = warm_call(warm, step, &request.base);
	explicit_bzero(fresh, sizeof(fresh));
	return r;
}

static int reseed_failed(struct warm *warm _unused_, const struct ttrpc_reply *reply,
			 struct error *err)
{
	return error_set(err, ENOTRECOVERABLE, "the guest cannot be reseeded: %s: %s",
			 ttrpc_code_to_string(reply->code), reply->message);
}

static int send_clock(struct warm *warm, const struct warm_step *step, struct error *err _unused_)
{
	uint64_t now = clock_realtime_ns();
	Grpc__SetGuestDateTimeRequest request = GRPC__SET_GUEST_DATE_TIME_REQUEST__INIT;
	request.sec = (int64_t)(now / 1000000000);
	request.usec = (int64_t)(now / 1000 % 1000000);
	return warm_call(warm, step, &request.base);
}

/* A clone's cards still have the template's address: each gets one of its own, locally
 * administered. Its link is down, so nobody has seen the other. */
static int send_mac(struct warm *warm, const struct warm_step *step, struct error *err _unused_)
{
	Types__Interface interface = TYPES__INTERFACE__INIT;
	Grpc__UpdateInterfaceRequest request = GRPC__UPDATE_INTERFACE_REQUEST__INIT;
	uint8_t mac[6];
	char text[18];

	random_bytes(mac, sizeof(mac));
	mac[0] = (uint8_t)((mac[0] & 0xfc) | 0x02);
	snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	_cleanup_free_ char *device = xasprintf(NETWORK_CARD_GUEST, (size_t)warm->cards);
	interface.device = device;
	interface.hwaddr = text;
	request.interface = &interface;
	return warm_call(warm, step, &request.base);
}

static int check_mac(struct warm *warm, const ProtobufCMessage *response _unused_,
		     struct error *err _unused_)
{
	if (++warm->cards < warm->options.network_cards)
		return WARM_AGAIN;
	warm->cards = 0;
	return WARM_NEXT;
}

static int mac_failed(struct warm *warm, const struct ttrpc_reply *reply, struct error *err)
{
	if (reply->code != TTRPC_NOT_FOUND)
		return ttrpc_reply_error(reply, err);
	log_debug(warm->options.object, "the machine has no network card");
	return WARM_NEXT;
}

static int send_create_sandbox(struct warm *warm, const struct warm_step *step, struct error *err)
{
	_cleanup_(storages_done) struct storages storages = {};
	Grpc__CreateSandboxRequest request = GRPC__CREATE_SANDBOX_REQUEST__INIT;
	if (warm->options.share_dir) {
		int r = host_rehearse(warm->options.jailer, warm->options.object,
				      warm->options.share_dir, true, err);
		if (r < 0)
			return r;
		guest_share_add(&storages, GUEST_SHARE_TAG);
		guest_root_add_lower_share(&storages);
	}
	request.storages = storages.items;
	request.n_storages = storages.count;
	request.sandbox_id = (char *)REHEARSAL_ID;
	request.hostname = (char *)REHEARSAL_ID;
	return warm_call(warm, step, &request.base);
}

/* The addresses are those of examples; they go with the sandbox, and the link is down meanwhile. */
static int send_interface(struct warm *warm, const struct warm_step *step,
			  struct error *err _unused_)
{
	Types__IPAddress four = TYPES__IPADDRESS__INIT, six = TYPES__IPADDRESS__INIT;
	Types__IPAddress *addresses[] = { &four, &six };
	Types__Interface interface = TYPES__INTERFACE__INIT;
	Grpc__UpdateInterfaceRequest request = GRPC__UPDATE_INTERFACE_REQUEST__INIT;
	_cleanup_free_ char *device = xasprintf(NETWORK_CARD_GUEST, (size_t)0);

	four.address = (char *)"192.0.2.2";
	four.mask = (char *)"24";
	six.family = TYPES__IPFAMILY__v6;
	six.address = (char *)"2001:db8::2";
	six.mask = (char *)"64";
	interface.device = interface.name = device;
	interface.ipaddresses = addresses;
	interface.n_ipaddresses = ARRAY_SIZE(addresses);
	request.interface = &interface;
	return warm_call(warm, step, &request.base);
}

static int send_routes(struct warm *warm, const struct warm_step *step, struct error *err _unused_)
{
	_cleanup_free_ char *device = xasprintf(NETWORK_CARD_GUEST, (size_t)0);
	Types__Route four = TYPES__ROUTE__INIT, six = TYPES__ROUTE__INIT;
	Types__Route *list[] = { &four, &six };
	Grpc__Routes routes = GRPC__ROUTES__INIT;
	Grpc__UpdateRoutesRequest request = GRPC__UPDATE_ROUTES_REQUEST__INIT;

	four.device = six.device = device;
	four.gateway = (char *)"192.0.2.1";
	six.family = TYPES__IPFAMILY__v6;
	six.gateway = (char *)"2001:db8::1";
	routes.routes = list;
	routes.n_routes = ARRAY_SIZE(list);
	request.routes = &routes;
	return warm_call(warm, step, &request.base);
}

/* Of a machine without a card there is no network to rehearse, of another agent than ours perhaps
 * none to be had. */
static int network_failed(struct warm *warm, const struct ttrpc_reply *reply, struct error *err)
{
	if (reply->code != TTRPC_NOT_FOUND && reply->code != TTRPC_UNIMPLEMENTED)
		return ttrpc_reply_error(reply, err);
	log_debug(warm->options.object, "no network is rehearsed");
	return WARM_NEXT;
}

static int send_create_container(struct warm *warm, const struct warm_step *step, struct error *err)
{
	_cleanup_(storages_done) struct storages storages = {};
	Grpc__Spec *spec = NULL;
	int r = rehearsal_make(warm->options.image, warm->options.share_dir, &spec, &storages, err);
	if (r < 0)
		return r;
	Grpc__CreateContainerRequest request = GRPC__CREATE_CONTAINER_REQUEST__INIT;
	request.container_id = (char *)REHEARSAL_ID;
	request.exec_id = (char *)REHEARSAL_ID;
	request.oci = spec;
	request.storages = storages.items;
	request.n_storages = storages.count;
	r = warm_call(warm, step, &request.base);
	grpc__spec__free_unpacked(spec, NULL);
	return r;
}

static int send_start_container(struct warm *warm, const struct warm_step *step,
				struct error *err _unused_)
{
	Grpc__StartContainerRequest request = GRPC__START_CONTAINER_REQUEST__INIT;
	request.container_id = (char *)REHEARSAL_ID;
	return warm_call(warm, step, &request.base);
}

static int send_wait_process(struct warm *warm, const struct warm_step *step,
			     struct error *err _unused_)
{
	Grpc__WaitProcessRequest request = GRPC__WAIT_PROCESS_REQUEST__INIT;
	request.container_id = (char *)REHEARSAL_ID;
	request.exec_id = (char *)REHEARSAL_ID;
	return warm_call(warm, step, &request.base);
}

static int check_exit_status(struct warm *warm _unused_, const ProtobufCMessage *response,
			     struct error *err)
{
	int status = ((const Grpc__WaitProcessResponse *)response)->status;
	if (status != 0)
		return error_set(err, EPROTO, "the throwaway container ended with status %d",
				 status);
	return WARM_NEXT;
}

static int send_read_stdout(struct warm *warm, const struct warm_step *step,
			    struct error *err _unused_)
{
	Grpc__ReadStreamRequest request = GRPC__READ_STREAM_REQUEST__INIT;
	request.container_id = (char *)REHEARSAL_ID;
	request.exec_id = (char *)REHEARSAL_ID;
	request.len = OUTPUT_CHUNK;
	return warm_call(warm, step, &request.base);
}

static int check_output(struct warm *warm, const ProtobufCMessage *response, struct error *err)
{
	if (((const Grpc__ReadStreamResponse *)response)->data.len == 0) {
		warm->reads = 0;
		return WARM_NEXT;
	}
	if (++warm->reads > OUTPUT_READS_MAX)
		return error_set(err, EPROTO, "the throwaway container's output does not end");
	return WARM_AGAIN;
}

static int send_remove_container(struct warm *warm, const struct warm_step *step,
				 struct error *err _unused_)
{
	Grpc__RemoveContainerRequest request = GRPC__REMOVE_CONTAINER_REQUEST__INIT;
	request.container_id = (char *)REHEARSAL_ID;
	return warm_call(warm, step, &request.base);
}

static int send_destroy_sandbox(struct warm *warm, const struct warm_step *step,
				struct error *err _unused_)
{
	Grpc__DestroySandboxRequest request = GRPC__DESTROY_SANDBOX_REQUEST__INIT;
	return warm_call(warm, step, &request.base);
}

static int check_destroyed(struct warm *warm, const ProtobufCMessage *response _unused_,
			   struct error *err)
{
	int r = warm->options.share_dir ? host_rehearse(warm->options.jailer, warm->options.object,
							warm->options.share_dir, false, err)
					: 0;
	return r < 0 ? r : WARM_NEXT;
}

static int send_trim(struct warm *warm, const struct warm_step *step, struct error *err _unused_)
{
	Kiln__Guest__V1__TrimRequest request = KILN__GUEST__V1__TRIM_REQUEST__INIT;
	if (warm->options.on_trim)
		warm->options.on_trim(warm, warm->options.userdata);
	return warm_call(warm, step, &request.base);
}

static int check_trim(struct warm *warm, const ProtobufCMessage *response,
		      struct error *err _unused_)
{
	const Kiln__Guest__V1__TrimResponse *trim = (const Kiln__Guest__V1__TrimResponse *)response;
	log_debug(warm->options.object, "the guest has %llu MiB free, %llu MiB before trimming",
		  (unsigned long long)trim->free_after_bytes >> 20,
		  (unsigned long long)trim->free_before_bytes >> 20);
	return WARM_NEXT;
}

/* Another agent than ours knows Kata's services only; its guest is frozen as it is. */
static int trim_failed(struct warm *warm, const struct ttrpc_reply *reply, struct error *err)
{
	if (reply->code != TTRPC_UNIMPLEMENTED)
		return ttrpc_reply_error(reply, err);
	log_info(warm->options.object, "the guest's agent cannot trim its memory");
	return WARM_NEXT;
}

#define HEALTH &grpc__health__descriptor
#define AGENT  &grpc__agent_service__descriptor
#define GUEST  &kiln__guest__v1__guest__descriptor
/* clang-format off */
#define TIMED_STEP(...) (&(const struct warm_step){ __VA_ARGS__ })
#define STEP(...) TIMED_STEP(__VA_ARGS__, STEP_TIMEOUT_MS)
#define FIRST_STEPS                                                                                \
	STEP("check", HEALTH, "Check", send_check, check_serving, check_failed),                   \
	STEP("version", HEALTH, "Version", send_check, check_version, NULL)
#define IDENTITY_STEPS                                                                             \
	STEP("reseed", AGENT, "ReseedRandomDev", send_reseed, NULL, reseed_failed),                \
	STEP("clock", AGENT, "SetGuestDateTime", send_clock, NULL, NULL),                          \
	STEP("mac", AGENT, "UpdateInterface", send_mac, check_mac, mac_failed)
#define NETWORK_STEPS                                                                              \
	STEP("rehearse interface", AGENT, "UpdateInterface", send_interface, NULL, network_failed), \
	STEP("rehearse routes", AGENT, "UpdateRoutes", send_routes, NULL, network_failed)
#define BEGIN_SANDBOX                                                                              \
	STEP("rehearse sandbox", AGENT, "CreateSandbox", send_create_sandbox, NULL, NULL)
#define END_SANDBOX                                                                                \
	STEP("rehearse end", AGENT, "DestroySandbox", send_destroy_sandbox, check_destroyed, NULL)
#define REHEARSAL_STEPS                                                                            \
	BEGIN_SANDBOX,                                                                             \
	STEP("rehearse create", AGENT, "CreateContainer", send_create_container, NULL, NULL),      \
	STEP("rehearse start", AGENT, "StartContainer", send_start_container, NULL, NULL),         \
	STEP("rehearse wait", AGENT, "WaitProcess", send_wait_process, check_exit_status, NULL),   \
	STEP("rehearse output", AGENT, "ReadStdout", send_read_stdout, check_output, NULL),        \
	STEP("rehearse remove", AGENT, "RemoveContainer", send_remove_container, NULL, NULL),      \
	END_SANDBOX

/* A clone gets its identity last: meanwhile its kernel ends what the throwaway container left it
 * to do (a control group goes in several steps, each a grace period later), which would else be
 * done when the machine is claimed. */
static const struct warm_step *const clone_steps[] = {
	FIRST_STEPS, REHEARSAL_STEPS, IDENTITY_STEPS,
};
/* Identity comes again when the spare is used, with a clock that is right then. */
static const struct warm_step *const spare_steps[] = {
	FIRST_STEPS, BEGIN_SANDBOX, END_SANDBOX, IDENTITY_STEPS,
};
/* Of a network only the template has a rehearsal: what emulation translates of it would take more than
 * 2 MiB in each clone, which is one in twenty. */
static const struct warm_step *const template_steps[] = {
	FIRST_STEPS, IDENTITY_STEPS, NETWORK_STEPS, REHEARSAL_STEPS,
	TIMED_STEP("trim", GUEST, "Trim", send_trim, check_trim, trim_failed, TRIM_TIMEOUT_MS),
	REHEARSAL_STEPS,
};
static const struct warm_step *const probe_steps[] = { FIRST_STEPS };
/* clang-format on */

static const struct warm_plan plans[] = {
	[WARM_CLONE] = { clone_steps, ARRAY_SIZE(clone_steps) },
	[WARM_SPARE] = { spare_steps, ARRAY_SIZE(spare_steps) },
	[WARM_TEMPLATE] = { template_steps, ARRAY_SIZE(template_steps) },
	[WARM_PROBE] = { probe_steps, ARRAY_SIZE(probe_steps) },
};

/* ---- the sequence */

static const struct warm_step *warm_step(const struct warm *warm)
{
	return warm->plan->steps[warm->at];
}

static void warm_destroy(void *userdata)
{
	struct warm *warm = userdata;

	free((char *)warm->options.object);
	free((char *)warm->options.share_dir);
	free(warm);
}

static void warm_finish(struct warm *warm, int number, struct error *err)
{
	if (number < 0)
		number = error_wrap(err, "warming step \"%s\"", warm_step(warm)->name);
	warm->options.on_done(warm, number, number < 0 ? err : NULL, warm->options.userdata);
}

static int warm_send(struct warm *warm, struct error *err)
{
	const struct warm_step *step = warm_step(warm);
	log_debug(warm->options.object, "warming: %s", step->name);
	return step->send(warm, step, err);
}

static int warm_judge(struct warm *warm, const struct ttrpc_reply *reply, struct error *err)
{
	const struct warm_step *step = warm_step(warm);
	if (reply->code != TTRPC_OK)
		return step->failed ? step->failed(warm, reply, err)
				    : ttrpc_reply_error(reply, err);
	return step->check ? step->check(warm, reply->response, err) : WARM_NEXT;
}

static void warm_advance(struct warm *warm, const struct ttrpc_reply *reply)
{
	_cleanup_(error_done) struct error err = {};
	int r = warm_judge(warm, reply, &err);
	if (warm->freed)
		return;
	if (r == WARM_NEXT)
		warm->at++;
	bool done = warm->at == warm->plan->count;
	if (r >= 0 && !done)
		r = warm_send(warm, &err);
	if (r < 0 || done)
		warm_finish(warm, r < 0 ? r : 0, &err);
}

static void warm_on_reply(const struct ttrpc_reply *reply, void *userdata)
{
	struct warm *warm = userdata;

	warm->call = NULL;
	warm_advance(warm, reply);
}

struct warm *warm_start(const struct warm_options *options)
{
	struct warm *warm = xnew(struct warm);
	warm->options = *options;
	warm->options.object = xstrdup(options->object);
	warm->options.share_dir = xstrdup(options->share_dir);
	warm->options.patience = options->patience ? options->patience : 1;
	warm->plan = &plans[options->purpose];
	uint64_t first_ms = options->first_timeout_ms ? options->first_timeout_ms : STEP_TIMEOUT_MS;
	warm->first_until_ms = clock_monotonic_ms() + first_ms * warm->options.patience;
	if (warm_send(warm, NULL) < 0)
		abort(); /* all plans begin with a call, and that only is made here */
	return warm;
}

void warm_free(struct warm *warm)
{
	if (!warm)
		return;
	ttrpc_pending_cancel(steal_ptr(warm->call));
	warm->freed = true;
	loop_defer(warm->options.loop, warm_destroy, warm);
}
