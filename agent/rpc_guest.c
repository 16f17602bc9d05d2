/* Kiln's own calls. */
#include <stdlib.h>

#include "agent/cgroup.h"
#include "agent/cgroup_stats.h"
#include "agent/disk_calls.h"
#include "agent/finders.h"
#include "agent/network_stats.h"
#include "agent/rpc.h"
#include "agent/scratch_room.h"
#include "agent/trim.h"
#include "base/memory.h"
#include "base/trace.h"
#include "proto/guest.pb-c.h"

RPC_HANDLER(trim)
{
	struct agent *agent = userdata;

	(void)message;
	if (agent->is_init)
		trim_start(agent, call);
	else
		ttrpc_call_fail_code(call, TTRPC_FAILED_PRECONDITION,
				     "only a guest can be trimmed, and this agent is not in one");
}

RPC_HANDLER(take_trace)
{
	Kiln__Guest__V1__TakeTraceResponse response = KILN__GUEST__V1__TAKE_TRACE_RESPONSE__INIT;
	const struct trace_record *records;
	size_t n = trace_take(&records);
	_cleanup_free_ Kiln__Guest__V1__TraceStep *steps = xnew_array(Kiln__Guest__V1__TraceStep,
								      n + 1);
	_cleanup_free_ Kiln__Guest__V1__TraceStep **list = xnew_array(Kiln__Guest__V1__TraceStep *,
								      n + 1);

	(void)message;
	(void)userdata;
	trace_keep();
	for (size_t i = 0; i < n; i++) {
		kiln__guest__v1__trace_step__init(&steps[i]);
		steps[i].name = (char *)trace_step_to_string(records[i].step);
		steps[i].end_ns = records[i].end_ns;
		steps[i].dur_ns = records[i].dur_ns;
		steps[i].caller = records[i].caller;
		list[i] = &steps[i];
	}
	response.steps = list;
	response.n_steps = n;
	response.now_ns = clock_monotonic_ns();
	ttrpc_call_reply(call, &response.base);
}

RPC_HANDLER(find_disk)
{
	struct agent *agent = userdata;

	disk_calls_find(agent->disks, call, (const Kiln__Guest__V1__FindDiskRequest *)message);
}

RPC_HANDLER(leave_disk)
{
	struct agent *agent = userdata;

	disk_calls_leave(agent->disks, call, (const Kiln__Guest__V1__LeaveDiskRequest *)message);
}

RPC_HANDLER(find_card)
{
	struct agent *agent = userdata;

	finders_add(agent->cards, call, message);
}

RPC_HANDLER(set_scratch_room)
{
	const Kiln__Guest__V1__SetScratchRoomRequest *request = (const void *)message;
	Kiln__Guest__V1__SetScratchRoomResponse response =
		KILN__GUEST__V1__SET_SCRATCH_ROOM_RESPONSE__INIT;
	struct agent *agent = userdata;
	_cleanup_(error_done) struct error err = {};

	if (!agent->is_init)
		ttrpc_call_fail_code(
			call, TTRPC_FAILED_PRECONDITION,
			"only a guest has a scratch disk, and this agent is not in one");
	else if (scratch_room_set(request->bytes, &err) < 0)
		ttrpc_call_fail(call, &err);
	else
		ttrpc_call_reply(call, &response.base);
}

RPC_HANDLER(stats_guest)
{
	_cleanup_(error_done) struct error err = {};
	Grpc__StatsContainerResponse *response;

	(void)message;
	(void)userdata;
	cgroup_count_block_io();
	if (cgroup_stats_read_guest(&response, &err) < 0) {
		ttrpc_call_fail(call, &err);
		return;
	}
	network_stats_add(response);
	ttrpc_call_reply(call, &response->base);
	grpc__stats_container_response__free_unpacked(response, NULL);
}
