#include "shim/health_watch.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "proto/health.pb-c.h"

struct health_watch {
	struct agent_link *agent;
	char *sandbox_id;
	struct loop_timer *timer; /* runs while no Check is under way */
	uint64_t interval_ms;
	uint64_t misses, max_misses;
	struct agent_call *call; /* under way; NULL: none */
};

static void on_checked(const struct ttrpc_reply *reply, void *userdata)
{
	struct health_watch *watch = userdata;

	watch->call = NULL;
	if (reply->code == TTRPC_UNAVAILABLE || reply->code == TTRPC_CANCELLED)
		return; /* there is nobody to ask any more */
	if (reply->code == TTRPC_OK) {
		watch->misses = 0;
	} else if (reply->code != TTRPC_DEADLINE_EXCEEDED) {
		/* Not sent, as where too many calls are under way, or an answer: no silence. */
		log_debug(watch->sandbox_id, "the guest was not checked: %s", reply->message);
	} else if (++watch->misses < watch->max_misses) {
		log_warning(watch->sandbox_id, "the guest's agent is silent (%lu of %lu): %s",
			    (unsigned long)watch->misses, (unsigned long)watch->max_misses,
			    reply->message);
	} else {
		agent_link_give_up(watch->agent);
		return;
	}
	/* A Check that was not answered has lasted for the interval. */
	loop_timer_start(watch->timer,
			 reply->code == TTRPC_DEADLINE_EXCEEDED ? 0 : watch->interval_ms);
}

static void check(void *userdata)
{
	Grpc__CheckRequest request = GRPC__CHECK_REQUEST__INIT;
	struct health_watch *watch = userdata;

	watch->call = agent_call_service(watch->agent, &grpc__health__descriptor, "Check",
					 &request.base, watch->interval_ms, on_checked, watch);
}

struct health_watch *health_watch_new(const struct health_watch_options *options)
{
	struct health_watch *watch;

	if (options->interval_s == 0)
		return NULL;
	watch = xnew(struct health_watch);
	*watch = (struct health_watch){
		.agent = options->agent,
		.sandbox_id = xstrdup(options->sandbox_id),
		.interval_ms = options->interval_s * 1000,
		.max_misses = options->misses,
	};
	watch->timer = loop_timer_new(options->loop, check, watch);
	loop_timer_start(watch->timer, watch->interval_ms);
	return watch;
}

void health_watch_free(struct health_watch *watch)
{
	if (!watch)
		return;
	agent_call_cancel(watch->call);
	loop_timer_free(watch->timer);
	free(watch->sandbox_id);
	free(watch);
}
