#include "shim/oom_events.h"

#include <sys/param.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "proto/agent.pb-c.h"

struct oom_events {
	struct agent_link *agent; /* borrowed */
	struct agent_call *call;  /* under way; NULL: in a pause, or the guest has no more to say */
	struct loop_timer *pause; /* owned */
	uint64_t allowance;       /* of events, before a pause */
	uint64_t earned_ms;       /* until when it has been counted */
	void (*fn)(const char *container_id, void *userdata);
	void *userdata;
};

/* containerd writes a file for each, in one thread for all pods. */
static bool may_ask(struct oom_events *events)
{
	uint64_t earned = (clock_monotonic_ms() - events->earned_ms) / OOM_PACE_MS;

	events->allowance = MIN(events->allowance + earned, OOM_BURST);
	events->earned_ms += earned * OOM_PACE_MS;
	if (events->allowance == 0)
		return false;
	events->allowance--;
	return true;
}

static void on_event(const struct ttrpc_reply *reply, void *userdata);

static void ask(void *userdata)
{
	Grpc__GetOOMEventRequest request = GRPC__GET_OOMEVENT_REQUEST__INIT;
	struct oom_events *events = userdata;

	if (may_ask(events))
		events->call = agent_call(events->agent, "GetOOMEvent", &request.base, 0, on_event,
					  events);
	else
		loop_timer_start(events->pause, OOM_PACE_MS);
}

/* An agent that does not know the call is not asked again, nor is one that is gone. */
static void on_event(const struct ttrpc_reply *reply, void *userdata)
{
	struct oom_events *events = userdata;
	const Grpc__OOMEvent *event = (const Grpc__OOMEvent *)reply->response;

	events->call = NULL;
	if (!event) {
		log_debug(NULL, "the guest tells of no containers out of memory: %s",
			  reply->message);
		return;
	}
	events->fn(event->container_id, events->userdata);
	ask(events);
}

struct oom_events *oom_events_new(struct loop *loop, struct agent_link *agent,
				  void (*fn)(const char *container_id, void *userdata),
				  void *userdata)
{
	struct oom_events *events = xnew(struct oom_events);

	events->agent = agent;
	events->pause = loop_timer_new(loop, ask, events);
	events->allowance = OOM_BURST;
	events->earned_ms = clock_monotonic_ms();
	events->fn = fn;
	events->userdata = userdata;
	ask(events);
	return events;
}

void oom_events_free(struct oom_events *events)
{
	if (!events)
		return;
	agent_call_cancel(events->call);
	loop_timer_free(events->pause);
	free(events);
}
