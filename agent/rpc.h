/* The handlers of the agent's services and the table that names them.
 *
 * A handler checks the request, calls the domain (sandbox, container, process, guest) and
 * ends the call, or leaves that to the domain. Methods without a handler are answered
 * UNIMPLEMENTED by the server.
 */
#pragma once

#include "agent/agent.h"
#include "proto/ttrpc_server.h"

/* Adds grpc.Health, grpc.AgentService and kiln.guest.v1.Guest to the agent's server. */
void rpc_register(struct agent *agent);

/* For the handlers: the container or process a request names. On failure the call has been
 * answered NOT_FOUND, and NULL is returned. No container's id: of the debug console
 * (agent/console.h). */
struct container *rpc_container(struct agent *agent, struct ttrpc_call *call,
				const char *container_id);
struct process *rpc_process(struct agent *agent, struct ttrpc_call *call, const char *container_id,
			    const char *exec_id);

/* Answers OK, or err where r is negative. */
void rpc_finish(struct ttrpc_call *call, int r, const struct error *err);

/* The server's on_call: asks the policy. */
bool rpc_is_allowed(struct ttrpc_call *call, const ProtobufCMessage *request, void *userdata);

/* The handlers: rpc_health.c, rpc_sandbox.c, rpc_container.c, rpc_process.c, rpc_host.c,
 * rpc_guest.c. userdata is the struct agent. */
#define RPC_HANDLER(name)                                                                          \
	void rpc_##name(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)

RPC_HANDLER(health_check);
RPC_HANDLER(health_version);
RPC_HANDLER(get_guest_details);
RPC_HANDLER(reseed_random_dev);
RPC_HANDLER(online_cpu_mem);
RPC_HANDLER(set_guest_date_time);
RPC_HANDLER(list_interfaces);
RPC_HANDLER(update_interface);
RPC_HANDLER(list_routes);
RPC_HANDLER(update_routes);
RPC_HANDLER(add_arp_neighbors);
RPC_HANDLER(create_sandbox);
RPC_HANDLER(destroy_sandbox);
RPC_HANDLER(create_container);
RPC_HANDLER(start_container);
RPC_HANDLER(remove_container);
RPC_HANDLER(pause_container);
RPC_HANDLER(resume_container);
RPC_HANDLER(update_container);
RPC_HANDLER(stats_container);
RPC_HANDLER(get_oom_event);
RPC_HANDLER(list_processes);
RPC_HANDLER(stats_guest);
RPC_HANDLER(exec_process);
RPC_HANDLER(wait_process);
RPC_HANDLER(signal_process);
RPC_HANDLER(read_stdout);
RPC_HANDLER(read_stderr);
RPC_HANDLER(write_stdin);
RPC_HANDLER(close_stdin);
RPC_HANDLER(close_output);
RPC_HANDLER(tty_win_resize);
RPC_HANDLER(get_volume_stats);
RPC_HANDLER(resize_volume);
RPC_HANDLER(copy_file);
RPC_HANDLER(update_ephemeral_mounts);
RPC_HANDLER(get_metrics);
RPC_HANDLER(get_diagnostic_data);
RPC_HANDLER(add_swap);
RPC_HANDLER(add_swap_path);
RPC_HANDLER(mem_hotplug_by_probe);
RPC_HANDLER(set_policy);
RPC_HANDLER(get_iptables);
RPC_HANDLER(set_iptables);
RPC_HANDLER(mem_agent);
RPC_HANDLER(remove_stale_shares);
RPC_HANDLER(trim);
RPC_HANDLER(take_trace);
RPC_HANDLER(find_disk);
RPC_HANDLER(leave_disk);
RPC_HANDLER(find_card);
RPC_HANDLER(set_scratch_room);
