#include "shim/guest_trace.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/trace.h"
#include "proto/guest.pb-c.h"

#define TIMEOUT_MS 1000

struct fetch {
	void (*fn)(void *userdata);
	void *userdata;
};

static void call(struct agent_link *agent, ttrpc_reply_fn fn, void *userdata)
{
	Kiln__Guest__V1__TakeTraceRequest request = KILN__GUEST__V1__TAKE_TRACE_REQUEST__INIT;

	agent_call_service(agent, &kiln__guest__v1__guest__descriptor, "TakeTrace", &request.base,
			   TIMEOUT_MS, fn, userdata);
}

void guest_trace_begin(struct agent_link *agent)
{
	if (trace_on)
		call(agent, NULL, NULL);
}

static void write_steps(const Kiln__Guest__V1__TakeTraceResponse *response)
{
	struct trace_record records[TRACE_RECORDS_MAX];
	size_t n = 0;

	for (size_t i = 0; i < response->n_steps && i < TRACE_RECORDS_MAX; i++) {
		const Kiln__Guest__V1__TraceStep *step = response->steps[i];
		int known = trace_step_from_string(step->name);

		if (known < 0 || step->end_ns > response->now_ns)
			continue; /* a guest may say anything */
		records[n++] = (struct trace_record){
			.step = (enum trace_step)known,
			.end_ns = step->end_ns,
			.dur_ns = step->dur_ns,
			.caller = step->caller,
		};
	}
	trace_write_foreign("agent", records, n, response->now_ns);
}

static void on_taken(const struct ttrpc_reply *reply, void *userdata)
{
	struct fetch *fetch = userdata;

	if (reply->code == TTRPC_OK)
		write_steps((const Kiln__Guest__V1__TakeTraceResponse *)reply->response);
	else
		log_debug(NULL, "the agent's steps are not there: %s", reply->message);
	fetch->fn(fetch->userdata);
	free(fetch);
}

void guest_trace_end(struct agent_link *agent, void (*fn)(void *userdata), void *userdata)
{
	struct fetch *fetch = xnew(struct fetch);

	fetch->fn = fn;
	fetch->userdata = userdata;
	call(agent, on_taken, fetch);
}
