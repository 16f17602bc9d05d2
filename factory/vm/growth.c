#include "factory/vm/growth.h"

#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "proto/agent.pb-c.h"

#define DEVICE_PATH "/machine/peripheral/" GROWTH_DEVICE

enum { LOOK_MS = 5 }; /* the event of a changed size comes once a second at most */

enum growth_step {
	GROWTH_CPUS = 1 << 0,   /* OnlineCPUMem for vCPUs */
	GROWTH_MEMORY = 1 << 1, /* until the blocks are online and the size is looked at again */
};

struct growth {
	struct growth_options options; /* object is owned here */
	unsigned left;                 /* steps, enum growth_step */
	bool onlined;                  /* the agent has seen the blocks online */
	uint64_t size;                 /* of the device, as last seen */
	struct loop_timer *look;
	struct loop_timer *deadline;
	struct ttrpc_pending *cpus, *blocks; /* calls to the agent; NULL: none is in flight */
	struct qmp_pending *command;
};

/* No answer is of interest any more. */
static void growth_cancel(struct growth *growth)
{
	loop_timer_stop(growth->look);
	loop_timer_stop(growth->deadline);
	ttrpc_pending_cancel(steal_ptr(growth->cpus));
	ttrpc_pending_cancel(steal_ptr(growth->blocks));
	qmp_pending_cancel(steal_ptr(growth->command));
}

/* The owner may free it meanwhile: nothing of it is touched afterwards. */
static void growth_finish(struct growth *growth, int number, const struct error *err)
{
	growth_cancel(growth);
	growth->options.on_done(growth, number, err, growth->options.userdata);
}

static void growth_step_done(struct growth *growth, enum growth_step step)
{
	growth->left &= ~(unsigned)step;
	if (growth->left == 0)
		growth_finish(growth, 0, NULL);
}

static void growth_fail(struct growth *growth, int number, const char *message, const char *what)
{
	_cleanup_(error_done) struct error err = {};

	(void)error_set(&err, number, "the guest does not grow: %s: %s", what, message);
	growth_finish(growth, number < 0 ? number : -number, &err);
}

static unsigned growth_deadline_ms(const struct growth *growth)
{
	return growth->options.deadline_ms ? growth->options.deadline_ms : GROWTH_DEADLINE_MS;
}

static void on_deadline(void *userdata)
{
	_cleanup_(error_done) struct error err = {};
	struct growth *growth = userdata;
	const struct growth_options *o = &growth->options;

	(void)error_set(&err, ETIMEDOUT,
			"the guest does not grow: after %u ms %s, and %" PRIu64 " of %" PRIu64
			" MiB are added",
			growth_deadline_ms(growth),
			growth->left & GROWTH_CPUS ? "its vCPUs are not online"
						   : "its vCPUs are online",
			growth->size >> 20, o->memory_bytes >> 20);
	growth_finish(growth, -ETIMEDOUT, &err);
}

/* ---- the agent */

static struct ttrpc_pending *online(struct growth *growth, uint32_t vcpus, ttrpc_reply_fn fn)
{
	Grpc__OnlineCPUMemRequest request = GRPC__ONLINE_CPUMEM_REQUEST__INIT;

	request.wait = true;
	request.nb_cpus = vcpus;
	request.cpu_only = vcpus > 0;
	return ttrpc_client_call(growth->options.agent,
				 &(struct ttrpc_call_options){
					 .service = &grpc__agent_service__descriptor,
					 .method = "OnlineCPUMem",
					 .request = &request.base,
					 .timeout_ms = 2 * GROWTH_DEADLINE_MS,
					 .on_reply = fn,
					 .userdata = growth,
				 });
}

static void on_vcpus(const struct ttrpc_reply *reply, void *userdata)
{
	struct growth *growth = userdata;

	growth->cpus = NULL;
	if (reply->code != TTRPC_OK)
		growth_fail(growth, ttrpc_code_to_errno(reply->code), reply->message, "its vCPUs");
	else
		growth_step_done(growth, GROWTH_CPUS);
}

/* ---- the device */

static void look_now(void *userdata);

static void on_blocks(const struct ttrpc_reply *reply, void *userdata)
{
	struct growth *growth = userdata;

	growth->blocks = NULL;
	if (reply->code != TTRPC_OK) {
		growth_fail(growth, ttrpc_code_to_errno(reply->code), reply->message,
			    "its memory is not online");
		return;
	}
	growth->onlined = true;
	look_now(growth);
}

static void on_size(int number, json_t *result, const struct error *err, void *userdata)
{
	struct growth *growth = userdata;

	growth->command = NULL;
	if (number < 0) {
		growth_fail(growth, number, error_message(err), "its memory device");
		return;
	}
	growth->size = (uint64_t)json_integer_value(result);
	if (growth->size != growth->options.memory_bytes)
		loop_timer_start(growth->look, LOOK_MS);
	else if (growth->onlined)
		growth_step_done(growth, GROWTH_MEMORY);
	else
		growth->blocks = online(growth, 0, on_blocks);
}

static void look_now(void *userdata)
{
	struct growth *growth = userdata;

	growth->command = qmp_command(
		growth->options.qmp, "qom-get",
		json_pack("{s:s, s:s}", "path", DEVICE_PATH, "property", "size"), 0, on_size,
		growth);
}

static void on_requested(int number, json_t *result _unused_, const struct error *err,
			 void *userdata)
{
	struct growth *growth = userdata;

	growth->command = NULL;
	if (number < 0)
		growth_fail(growth, number, error_message(err), "its memory device");
	else
		look_now(growth);
}

static void request_memory(struct growth *growth)
{
	growth->command = qmp_command(growth->options.qmp, "qom-set",
				      json_pack("{s:s, s:s, s:I}", "path", DEVICE_PATH, "property",
						"requested-size", "value",
						(json_int_t)growth->options.memory_bytes),
				      0, on_requested, growth);
}

/* ---- the whole */

struct growth *growth_start(const struct growth_options *options)
{
	struct growth *growth = xnew(struct growth);

	growth->options = *options;
	growth->options.object = xstrdup(options->object);
	growth->look = loop_timer_new(options->loop, look_now, growth);
	growth->deadline = loop_timer_new(options->loop, on_deadline, growth);
	loop_timer_start(growth->deadline, growth_deadline_ms(growth));
	log_debug(options->object, "growing by %u vCPUs and %" PRIu64 " MiB", options->vcpus,
		  options->memory_bytes >> 20);
	if (options->memory_bytes > 0) {
		growth->left |= GROWTH_MEMORY;
		request_memory(growth);
	}
	if (options->vcpus > 0) {
		growth->left |= GROWTH_CPUS;
		growth->cpus = online(growth, options->vcpus, on_vcpus);
	}
	return growth;
}

void growth_free(struct growth *growth)
{
	if (!growth)
		return;
	growth_cancel(growth);
	loop_timer_free(growth->look);
	loop_timer_free(growth->deadline);
	free((char *)growth->options.object);
	free(growth);
}
