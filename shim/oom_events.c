#include "shim/oom_events.h"

#include "base/log.h"
#include "base/memory.h"
#include "proto/agent.pb-c.h"

struct oom_events {
	struct agent_link *agent; /* borrowed */
	struct agent_call *call;  /* under way; NULL: the guest has nothing more to say */
	void (*fn)(const char *container_id, void *userdata);
	void *userdata;
};

static void ask(struct oom_events *events);

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

static void ask(struct oom_events *events)
{
	Grpc__GetOOMEventRequest request = GRPC__GET_OOMEVENT_REQUEST__INIT;

	events->call = agent_call(events->agent, "GetOOMEvent", &request.base, 0, on_event, events);
}

struct oom_events *oom_events_new(struct agent_link *agent,
				  void (*fn)(const char *container_id, void *userdata),
				  void *userdata)
{
	struct oom_events *events = xnew(struct oom_events);

	events->agent = agent;
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
	free(events);
}
