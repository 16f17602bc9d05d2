/* Kiln's own call: the steps the agent took, for whoever looks at a start's time. */
#include <stdlib.h>

#include "agent/rpc.h"
#include "base/memory.h"
#include "base/trace.h"
#include "proto/kiln_agent.pb-c.h"

RPC_HANDLER(trace_take)
{
	Kiln__Agent__V1__TakeResponse response = KILN__AGENT__V1__TAKE_RESPONSE__INIT;
	const struct trace_record *records;
	size_t n = trace_take(&records);
	_cleanup_free_ Kiln__Agent__V1__Step *steps = xnew_array(Kiln__Agent__V1__Step, n + 1);
	_cleanup_free_ Kiln__Agent__V1__Step **list = xnew_array(Kiln__Agent__V1__Step *, n + 1);

	(void)message;
	(void)userdata;
	trace_keep();
	for (size_t i = 0; i < n; i++) {
		kiln__agent__v1__step__init(&steps[i]);
		steps[i].name = (char *)trace_step_to_string(records[i].step);
		steps[i].end_ns = records[i].end_ns;
		steps[i].dur_ns = records[i].dur_ns;
		list[i] = &steps[i];
	}
	response.steps = list;
	response.n_steps = n;
	response.now_ns = clock_monotonic_ns();
	ttrpc_call_reply(call, &response.base);
}
