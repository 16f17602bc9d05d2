#include "agent/rpc.h"

#include "agent/console.h"
#include "agent/sandbox.h"
#include "base/strings.h"
#include "proto/agent.pb-c.h"
#include "proto/guest.pb-c.h"
#include "proto/health.pb-c.h"

static const struct ttrpc_method health_methods[] = {
	{ "Check", rpc_health_check },
	{ "Version", rpc_health_version },
};

static const struct ttrpc_method agent_methods[] = {
	{ "GetGuestDetails", rpc_get_guest_details },
	{ "ReseedRandomDev", rpc_reseed_random_dev },
	{ "OnlineCPUMem", rpc_online_cpu_mem },
	{ "SetGuestDateTime", rpc_set_guest_date_time },
	{ "ListInterfaces", rpc_list_interfaces },
	{ "UpdateInterface", rpc_update_interface },
	{ "ListRoutes", rpc_list_routes },
	{ "UpdateRoutes", rpc_update_routes },
	{ "AddARPNeighbors", rpc_add_arp_neighbors },
	{ "CreateSandbox", rpc_create_sandbox },
	{ "DestroySandbox", rpc_destroy_sandbox },
	{ "CreateContainer", rpc_create_container },
	{ "StartContainer", rpc_start_container },
	{ "RemoveContainer", rpc_remove_container },
	{ "PauseContainer", rpc_pause_container },
	{ "ResumeContainer", rpc_resume_container },
	{ "UpdateContainer", rpc_update_container },
	{ "StatsContainer", rpc_stats_container },
	{ "GetOOMEvent", rpc_get_oom_event },
	{ "ExecProcess", rpc_exec_process },
	{ "WaitProcess", rpc_wait_process },
	{ "SignalProcess", rpc_signal_process },
	{ "ReadStdout", rpc_read_stdout },
	{ "ReadStderr", rpc_read_stderr },
	{ "WriteStdin", rpc_write_stdin },
	{ "CloseStdin", rpc_close_stdin },
	{ "TtyWinResize", rpc_tty_win_resize },
	{ "GetVolumeStats", rpc_get_volume_stats },
	{ "ResizeVolume", rpc_resize_volume },
	{ "CopyFile", rpc_copy_file },
	{ "UpdateEphemeralMounts", rpc_update_ephemeral_mounts },
	{ "GetMetrics", rpc_get_metrics },
	{ "GetDiagnosticData", rpc_get_diagnostic_data },
	{ "AddSwap", rpc_add_swap },
	{ "AddSwapPath", rpc_add_swap_path },
	{ "MemHotplugByProbe", rpc_mem_hotplug_by_probe },
	{ "SetPolicy", rpc_set_policy },
	{ "GetIPTables", rpc_get_iptables },
	{ "SetIPTables", rpc_set_iptables },
	{ "MemAgentMemcgSet", rpc_mem_agent },
	{ "MemAgentCompactSet", rpc_mem_agent },
	{ "RemoveStaleVirtiofsShareMounts", rpc_remove_stale_shares },
};

static const struct ttrpc_method guest_methods[] = {
	{ "Trim", rpc_trim },
	{ "TakeTrace", rpc_take_trace },
	{ "FindDisk", rpc_find_disk },
	{ "LeaveDisk", rpc_leave_disk },
	{ "FindCard", rpc_find_card },
	{ "SetScratchRoom", rpc_set_scratch_room },
	{ "ListProcesses", rpc_list_processes },
	{ "CloseOutput", rpc_close_output },
	{ "StatsGuest", rpc_stats_guest },
};

static const struct ttrpc_service services[] = {
	{ &grpc__health__descriptor, health_methods, ARRAY_SIZE(health_methods) },
	{ &grpc__agent_service__descriptor, agent_methods, ARRAY_SIZE(agent_methods) },
	{ &kiln__guest__v1__guest__descriptor, guest_methods, ARRAY_SIZE(guest_methods) },
};

void rpc_register(struct agent *agent)
{
	for (size_t i = 0; i < ARRAY_SIZE(services); i++)
		ttrpc_server_add(agent->server, &services[i]);
}

struct container *rpc_container(struct agent *agent, struct ttrpc_call *call,
				const char *container_id_)
{
	struct container *container = sandbox_find(agent->sandbox, container_id_);

	if (!container)
		ttrpc_call_fail_code(call, TTRPC_NOT_FOUND, "there is no container \"%.128s\"",
				     container_id_);
	return container;
}

struct process *rpc_process(struct agent *agent, struct ttrpc_call *call, const char *container_id_,
			    const char *exec_id)
{
	struct container *container;
	struct process *process;

	if (str_empty(container_id_)) {
		process = console_find(agent->console, exec_id);
		if (!process)
			ttrpc_call_fail_code(call, TTRPC_NOT_FOUND,
					     "there is no program \"%.128s\" of the debug console",
					     exec_id);
		return process;
	}
	container = rpc_container(agent, call, container_id_);
	if (!container)
		return NULL;
	process = container_process(container, exec_id);
	if (!process)
		ttrpc_call_fail_code(call, TTRPC_NOT_FOUND,
				     "there is no process \"%.128s\" in container %s", exec_id,
				     container_id_);
	return process;
}

void rpc_finish(struct ttrpc_call *call, int r, const struct error *err)
{
	Google__Protobuf__Empty empty = GOOGLE__PROTOBUF__EMPTY__INIT;

	if (r < 0)
		ttrpc_call_fail(call, err);
	else
		ttrpc_call_reply(call, &empty.base);
}
