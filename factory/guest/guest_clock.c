#include "factory/guest/guest_clock.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/trace.h"
#include "proto/agent.pb-c.h"

enum {
	TIMEOUT_MS = 30 * 1000,
	GOOD_MS = 50, /* half of what is promised: a call this quick is not repeated */
	BAD_MS = 100, /* one this slow, after all tries, is worth a line in the log */
	TRIES_MAX = 5,
};

/* One call under way. */
struct setting {
	struct ttrpc_client *agent; /* alive as long as it reports success */
	char *object;
	uint64_t sent_ms; /* CLOCK_MONOTONIC */
	unsigned tries;
	struct trace_span span;
};

static void setting_free(struct setting *setting)
{
	free(setting->object);
	free(setting);
}

static void setting_send(struct setting *setting);

static void on_set(const struct ttrpc_reply *reply, void *userdata)
{
	struct setting *setting = userdata;
	uint64_t took_ms = clock_monotonic_ms() - setting->sent_ms;

	if (reply->code == TTRPC_OK && took_ms > GOOD_MS && setting->tries < TRIES_MAX) {
		setting_send(setting);
		return;
	}
	trace_end(TRACE_CLOCK, NULL, &setting->span);
	if (reply->code == TTRPC_OK && took_ms > BAD_MS)
		log_warning(setting->object, "the guest's clock may be %lu ms behind",
			    (unsigned long)took_ms);
	else if (reply->code != TTRPC_OK && reply->code != TTRPC_CANCELLED)
		log_warning(setting->object, "the guest's clock is not set: %s: %s",
			    ttrpc_code_to_string(reply->code), reply->message);
	setting_free(setting);
}

static void setting_send(struct setting *setting)
{
	uint64_t now = clock_realtime_ns();
	Grpc__SetGuestDateTimeRequest request = GRPC__SET_GUEST_DATE_TIME_REQUEST__INIT;

	request.sec = (int64_t)(now / 1000000000);
	request.usec = (int64_t)(now / 1000 % 1000000);
	setting->tries++;
	setting->sent_ms = clock_monotonic_ms();
	ttrpc_client_call(setting->agent, &(struct ttrpc_call_options){
						  .service = &grpc__agent_service__descriptor,
						  .method = "SetGuestDateTime",
						  .request = &request.base,
						  .timeout_ms = TIMEOUT_MS,
						  .on_reply = on_set,
						  .userdata = setting,
					  });
}

void guest_clock_set(struct ttrpc_client *agent, const char *object)
{
	struct setting *setting = xnew(struct setting);

	setting->agent = agent;
	setting->object = xstrdup(object);
	setting->span = trace_begin();
	setting_send(setting);
}
