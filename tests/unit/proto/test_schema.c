/* The schema, field by field, against the published interfaces it must match: Kata Containers'
 * agent and containerd's shim. The tables are the facts; the descriptors are what protoc made
 * of proto/. They are rendered to the same notation and compared as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <protobuf-c/protobuf-c.h>

#include "base/strbuf.h"
#include "base/strings.h"
#include "proto/agent.pb-c.h"
#include "proto/events.pb-c.h"
#include "proto/events_ttrpc.pb-c.h"
#include "proto/factory.pb-c.h"
#include "proto/health.pb-c.h"
#include "proto/pbjson_field.h"
#include "proto/runtimeoptions.pb-c.h"
#include "proto/task.pb-c.h"

struct message_fact {
	const ProtobufCMessageDescriptor *descriptor;
	const char *fields; /* "number:name type; ..." by number */
};

struct service_fact {
	const ProtobufCServiceDescriptor *descriptor;
	const char *methods; /* "name input output; ..." in any order */
};

struct enum_fact {
	const ProtobufCEnumDescriptor *descriptor;
	const char *values; /* "number=name; ..." by number */
};

static const struct message_fact messages[] = {
	{ &grpc__spec__descriptor,
	  "1:Version string; 2:Process grpc.Process; 3:Root grpc.Root; "
	  "4:Hostname string; 5:Mounts repeated grpc.Mount; 6:Hooks grpc.Hooks; "
	  "7:Annotations map<string,string>; 8:Linux grpc.Linux; "
	  "9:Solaris grpc.Solaris; 10:Windows grpc.Windows; 100:Domainname string" },
	{ &grpc__process__descriptor,
	  "1:Terminal bool; 2:ConsoleSize grpc.Box; 3:User grpc.User; "
	  "4:Args repeated string; 5:Env repeated string; 6:Cwd string; "
	  "7:Capabilities grpc.LinuxCapabilities; "
	  "8:Rlimits repeated grpc.POSIXRlimit; 9:NoNewPrivileges bool; "
	  "10:ApparmorProfile string; 11:OOMScoreAdj int64; "
	  "12:SelinuxLabel string; 100:IOPriority grpc.LinuxIOPriority; "
	  "101:Scheduler grpc.Scheduler; 102:ExecCPUAffinity grpc.CPUAffinity" },
	{ &grpc__box__descriptor, "1:Height uint32; 2:Width uint32" },
	{ &grpc__user__descriptor, "1:UID uint32; 2:GID uint32; 3:AdditionalGids repeated uint32; "
				   "4:Username string; 100:umask oneof uint32" },
	{ &grpc__linux_capabilities__descriptor,
	  "1:Bounding repeated string; 2:Effective repeated string; "
	  "3:Inheritable repeated string; 4:Permitted repeated string; "
	  "5:Ambient repeated string" },
	{ &grpc__posixrlimit__descriptor, "1:Type string; 2:Hard uint64; 3:Soft uint64" },
	{ &grpc__mount__descriptor,
	  "1:destination string; 2:source string; 3:type string; "
	  "4:options repeated string; 100:UIDMappings repeated grpc.LinuxIDMapping; "
	  "101:GIDMappings repeated grpc.LinuxIDMapping" },
	{ &grpc__root__descriptor, "1:Path string; 2:Readonly bool" },
	{ &grpc__hooks__descriptor,
	  "1:Prestart repeated grpc.Hook; 2:Poststart repeated grpc.Hook; "
	  "3:Poststop repeated grpc.Hook; 4:CreateRuntime repeated grpc.Hook; "
	  "5:CreateContainer repeated grpc.Hook; "
	  "6:StartContainer repeated grpc.Hook" },
	{ &grpc__hook__descriptor, "1:Path string; 2:Args repeated string; 3:Env repeated string; "
				   "4:Timeout int64" },
	{ &grpc__linux__descriptor,
	  "1:UIDMappings repeated grpc.LinuxIDMapping; "
	  "2:GIDMappings repeated grpc.LinuxIDMapping; "
	  "3:Sysctl map<string,string>; 4:Resources grpc.LinuxResources; "
	  "5:CgroupsPath string; 6:Namespaces repeated grpc.LinuxNamespace; "
	  "7:Devices repeated grpc.LinuxDevice; 8:Seccomp grpc.LinuxSeccomp; "
	  "9:RootfsPropagation string; 10:MaskedPaths repeated string; "
	  "11:ReadonlyPaths repeated string; 12:MountLabel string; "
	  "13:IntelRdt grpc.LinuxIntelRdt; "
	  "100:TimeOffsets map<string,grpc.LinuxTimeOffset>; "
	  "101:Personality grpc.LinuxPersonality" },
	{ &grpc__windows__descriptor, "1:dummy string" },
	{ &grpc__solaris__descriptor, "1:dummy string" },
	{ &grpc__linux_idmapping__descriptor,
	  "1:HostID uint32; 2:ContainerID uint32; 3:Size uint32" },
	{ &grpc__linux_namespace__descriptor, "1:Type string; 2:Path string" },
	{ &grpc__linux_device__descriptor,
	  "1:Path string; 2:Type string; 3:Major int64; 4:Minor int64; "
	  "5:FileMode uint32; 6:UID uint32; 7:GID uint32" },
	{ &grpc__linux_resources__descriptor,
	  "1:Devices repeated grpc.LinuxDeviceCgroup; 2:Memory grpc.LinuxMemory; "
	  "3:CPU grpc.LinuxCPU; 4:Pids grpc.LinuxPids; "
	  "5:BlockIO grpc.LinuxBlockIO; "
	  "6:HugepageLimits repeated grpc.LinuxHugepageLimit; "
	  "7:Network grpc.LinuxNetwork; 100:Unified map<string,string>; 101:Rdma map<string,grpc.LinuxRdma>" },
	{ &grpc__linux_memory__descriptor,
	  "1:Limit int64; 2:Reservation int64; 3:Swap int64; 4:Kernel int64; "
	  "5:KernelTCP int64; 6:Swappiness uint64; 7:DisableOOMKiller bool; 100:CheckBeforeUpdate bool" },
	{ &grpc__linux_cpu__descriptor,
	  "1:Shares uint64; 2:Quota int64; 3:Period uint64; "
	  "4:RealtimeRuntime int64; 5:RealtimePeriod uint64; 6:Cpus string; "
	  "7:Mems string; 100:Burst uint64; 101:Idle int64" },
	{ &grpc__linux_weight_device__descriptor,
	  "1:Major int64; 2:Minor int64; 3:Weight uint32; 4:LeafWeight uint32" },
	{ &grpc__linux_throttle_device__descriptor, "1:Major int64; 2:Minor int64; 3:Rate uint64" },
	{ &grpc__linux_block_io__descriptor,
	  "1:Weight uint32; 2:LeafWeight uint32; "
	  "3:WeightDevice repeated grpc.LinuxWeightDevice; "
	  "4:ThrottleReadBpsDevice repeated grpc.LinuxThrottleDevice; "
	  "5:ThrottleWriteBpsDevice repeated grpc.LinuxThrottleDevice; "
	  "6:ThrottleReadIOPSDevice repeated grpc.LinuxThrottleDevice; "
	  "7:ThrottleWriteIOPSDevice repeated grpc.LinuxThrottleDevice" },
	{ &grpc__linux_pids__descriptor, "1:Limit int64" },
	{ &grpc__linux_device_cgroup__descriptor,
	  "1:Allow bool; 2:Type string; 3:Major int64; 4:Minor int64; "
	  "5:Access string" },
	{ &grpc__linux_network__descriptor,
	  "1:ClassID uint32; 2:Priorities repeated grpc.LinuxInterfacePriority" },
	{ &grpc__linux_hugepage_limit__descriptor, "1:Pagesize string; 2:Limit uint64" },
	{ &grpc__linux_interface_priority__descriptor, "1:Name string; 2:Priority uint32" },
	{ &grpc__linux_seccomp__descriptor,
	  "1:DefaultAction string; 2:Architectures repeated string; "
	  "3:Flags repeated string; 4:Syscalls repeated grpc.LinuxSyscall; "
	  /* Kiln's own, beyond Kata's: */
	  "100:defaulterrnoret oneof uint32; 101:ListenerPath string; "
	  "102:ListenerMetadata string; 103:Compiled grpc.CompiledSeccomp" },
	{ &grpc__linux_seccomp_arg__descriptor,
	  "1:Index uint64; 2:Value uint64; 3:ValueTwo uint64; 4:Op string" },
	{ &grpc__linux_syscall__descriptor,
	  "1:Names repeated string; 2:Action string; 3:errnoret oneof uint32; "
	  "4:Args repeated grpc.LinuxSeccompArg" },
	{ &grpc__linux_intel_rdt__descriptor, "1:L3CacheSchema string" },
	{ &grpc__volume_stats_response__descriptor, "1:usage repeated grpc.VolumeUsage; "
						    "2:volume_condition grpc.VolumeCondition" },
	{ &grpc__volume_usage__descriptor, "1:available uint64; 2:total uint64; 3:used uint64; "
					   "4:unit grpc.VolumeUsage.Unit" },
	{ &grpc__volume_condition__descriptor, "1:abnormal bool; 2:message string" },
	{ &types__ipaddress__descriptor,
	  "1:family types.IPFamily; 2:address string; 3:mask string" },
	{ &types__interface__descriptor, "1:device string; 2:name string; "
					 "3:IPAddresses repeated types.IPAddress; 4:mtu uint64; "
					 "5:hwAddr string; 6:devicePath string; 7:type string; "
					 "8:raw_flags uint32" },
	{ &types__route__descriptor,
	  "1:dest string; 2:gateway string; 3:device string; 4:source string; "
	  "5:scope uint32; 6:family types.IPFamily; 7:flags uint32; 8:mtu uint32; "
	  "1000:metric uint32" /* our own */ },
	{ &types__arpneighbor__descriptor,
	  "1:toIPAddress types.IPAddress; 2:device string; 3:lladdr string; "
	  "4:state int32; 5:flags int32" },
	{ &grpc__create_container_request__descriptor,
	  "1:container_id string; 2:exec_id string; "
	  "3:string_user grpc.StringUser; 4:devices repeated grpc.Device; "
	  "5:storages repeated grpc.Storage; 6:OCI grpc.Spec; "
	  "7:sandbox_pidns bool; 8:shared_mounts repeated grpc.SharedMount; "
	  "9:stdin_port uint32; 10:stdout_port uint32; 11:stderr_port uint32; "
	  /* Kiln's own, beyond Kata's: */
	  "100:no_stdin bool; 101:pidns_container string" },
	{ &grpc__start_container_request__descriptor, "1:container_id string" },
	{ &grpc__remove_container_request__descriptor, "1:container_id string; 2:timeout uint32" },
	{ &grpc__exec_process_request__descriptor,
	  "1:container_id string; 2:exec_id string; "
	  "3:string_user grpc.StringUser; 4:process grpc.Process; "
	  "5:stdin_port uint32; 6:stdout_port uint32; 7:stderr_port uint32; "
	  /* Kiln's own, beyond Kata's: */
	  "100:no_stdin bool" },
	{ &grpc__signal_process_request__descriptor,
	  "1:container_id string; 2:exec_id string; 3:signal uint32" },
	{ &grpc__wait_process_request__descriptor, "1:container_id string; 2:exec_id string" },
	{ &grpc__wait_process_response__descriptor, "1:status int32" },
	{ &grpc__update_container_request__descriptor,
	  "1:container_id string; 2:resources grpc.LinuxResources" },
	{ &grpc__stats_container_request__descriptor, "1:container_id string" },
	{ &grpc__pause_container_request__descriptor, "1:container_id string" },
	{ &grpc__resume_container_request__descriptor, "1:container_id string" },
	{ &grpc__cpu_usage__descriptor,
	  "1:total_usage uint64; 2:percpu_usage repeated uint64; "
	  "3:usage_in_kernelmode uint64; 4:usage_in_usermode uint64" },
	{ &grpc__throttling_data__descriptor,
	  "1:periods uint64; 2:throttled_periods uint64; 3:throttled_time uint64" },
	{ &grpc__cpu_stats__descriptor,
	  "1:cpu_usage grpc.CpuUsage; 2:throttling_data grpc.ThrottlingData" },
	{ &grpc__pids_stats__descriptor, "1:current uint64; 2:limit uint64" },
	{ &grpc__memory_data__descriptor,
	  "1:usage uint64; 2:max_usage uint64; 3:failcnt uint64; 4:limit uint64" },
	{ &grpc__memory_stats__descriptor,
	  "1:cache uint64; 2:usage grpc.MemoryData; "
	  "3:swap_usage grpc.MemoryData; 4:kernel_usage grpc.MemoryData; "
	  "5:use_hierarchy bool; 6:stats map<string,uint64>" },
	{ &grpc__blkio_stats_entry__descriptor,
	  "1:major uint64; 2:minor uint64; 3:op string; 4:value uint64" },
	{ &grpc__blkio_stats__descriptor,
	  "1:io_service_bytes_recursive repeated grpc.BlkioStatsEntry; "
	  "2:io_serviced_recursive repeated grpc.BlkioStatsEntry; "
	  "3:io_queued_recursive repeated grpc.BlkioStatsEntry; "
	  "4:io_service_time_recursive repeated grpc.BlkioStatsEntry; "
	  "5:io_wait_time_recursive repeated grpc.BlkioStatsEntry; "
	  "6:io_merged_recursive repeated grpc.BlkioStatsEntry; "
	  "7:io_time_recursive repeated grpc.BlkioStatsEntry; "
	  "8:sectors_recursive repeated grpc.BlkioStatsEntry" },
	{ &grpc__hugetlb_stats__descriptor,
	  "1:usage uint64; 2:max_usage uint64; 3:failcnt uint64" },
	{ &grpc__cgroup_stats__descriptor,
	  "1:cpu_stats grpc.CpuStats; 2:memory_stats grpc.MemoryStats; "
	  "3:pids_stats grpc.PidsStats; 4:blkio_stats grpc.BlkioStats; "
	  "5:hugetlb_stats map<string,grpc.HugetlbStats>" },
	{ &grpc__network_stats__descriptor,
	  "1:name string; 2:rx_bytes uint64; 3:rx_packets uint64; "
	  "4:rx_errors uint64; 5:rx_dropped uint64; 6:tx_bytes uint64; "
	  "7:tx_packets uint64; 8:tx_errors uint64; 9:tx_dropped uint64" },
	{ &grpc__stats_container_response__descriptor,
	  "1:cgroup_stats grpc.CgroupStats; "
	  "2:network_stats repeated grpc.NetworkStats" },
	{ &grpc__write_stream_request__descriptor,
	  "1:container_id string; 2:exec_id string; 3:data bytes" },
	{ &grpc__write_stream_response__descriptor, "1:len uint32" },
	{ &grpc__read_stream_request__descriptor,
	  "1:container_id string; 2:exec_id string; 3:len uint32" },
	{ &grpc__read_stream_response__descriptor, "1:data bytes" },
	{ &grpc__close_stdin_request__descriptor, "1:container_id string; 2:exec_id string" },
	{ &grpc__tty_win_resize_request__descriptor,
	  "1:container_id string; 2:exec_id string; 3:row uint32; 4:column uint32" },
	{ &grpc__kernel_module__descriptor, "1:name string; 2:parameters repeated string" },
	{ &grpc__create_sandbox_request__descriptor,
	  "1:hostname string; 2:dns repeated string; "
	  "3:storages repeated grpc.Storage; 4:sandbox_pidns bool; "
	  "5:sandbox_id string; 6:guest_hook_path string; "
	  "7:kernel_modules repeated grpc.KernelModule" },
	{ &grpc__destroy_sandbox_request__descriptor, "" },
	{ &grpc__remove_stale_virtiofs_share_mounts_request__descriptor, "" },
	{ &grpc__interfaces__descriptor, "1:Interfaces repeated types.Interface" },
	{ &grpc__routes__descriptor, "1:Routes repeated types.Route" },
	{ &grpc__update_interface_request__descriptor, "1:interface types.Interface" },
	{ &grpc__update_routes_request__descriptor, "1:routes grpc.Routes" },
	{ &grpc__update_ephemeral_mounts_request__descriptor, "1:storages repeated grpc.Storage" },
	{ &grpc__list_interfaces_request__descriptor, "" },
	{ &grpc__list_routes_request__descriptor, "" },
	{ &grpc__arpneighbors__descriptor, "1:ARPNeighbors repeated types.ARPNeighbor" },
	{ &grpc__add_arpneighbors_request__descriptor, "1:neighbors grpc.ARPNeighbors" },
	{ &grpc__get_iptables_request__descriptor, "1:is_ipv6 bool" },
	{ &grpc__get_iptables_response__descriptor, "1:data bytes" },
	{ &grpc__set_iptables_request__descriptor, "1:is_ipv6 bool; 2:data bytes" },
	{ &grpc__set_iptables_response__descriptor, "1:data bytes" },
	{ &grpc__online_cpumem_request__descriptor,
	  "1:wait bool; 2:nb_cpus uint32; 3:cpu_only bool" },
	{ &grpc__reseed_random_dev_request__descriptor, "2:data bytes" },
	{ &grpc__agent_details__descriptor,
	  "1:version string; 2:init_daemon bool; "
	  "3:device_handlers repeated string; "
	  "4:storage_handlers repeated string; 5:supports_seccomp bool; "
	  "6:extra_features repeated string" },
	{ &grpc__guest_details_request__descriptor,
	  "1:mem_block_size bool; 2:mem_hotplug_probe bool" },
	{ &grpc__guest_details_response__descriptor,
	  "1:mem_block_size_bytes uint64; 2:agent_details grpc.AgentDetails; "
	  "3:support_mem_hotplug_probe bool" },
	{ &grpc__mem_hotplug_by_probe_request__descriptor,
	  "1:memHotplugProbeAddr repeated uint64" },
	{ &grpc__set_guest_date_time_request__descriptor, "1:Sec int64; 2:Usec int64" },
	{ &grpc__fsgroup__descriptor,
	  "2:group_id uint32; 3:group_change_policy types.FSGroupChangePolicy" },
	{ &grpc__shared_mount__descriptor,
	  "1:name string; 2:src_ctr string; 3:src_path string; 4:dst_ctr string; "
	  "5:dst_path string" },
	{ &grpc__storage__descriptor,
	  "1:driver string; 2:driver_options repeated string; 3:source string; "
	  "4:fstype string; 5:options repeated string; 6:mount_point string; "
	  "7:fs_group grpc.FSGroup; 8:shared bool" },
	{ &grpc__device__descriptor, "1:id string; 2:type string; 3:vm_path string; "
				     "4:container_path string; 5:options repeated string" },
	{ &grpc__string_user__descriptor,
	  "1:uid string; 2:gid string; 3:additionalGids repeated string" },
	{ &grpc__copy_file_request__descriptor,
	  "1:path string; 2:file_size int64; 3:file_mode uint32; "
	  "4:dir_mode uint32; 5:uid int32; 6:gid int32; 7:offset int64; "
	  "8:data bytes" },
	{ &grpc__get_oomevent_request__descriptor, "" },
	{ &grpc__oomevent__descriptor, "1:container_id string" },
	{ &grpc__add_swap_request__descriptor, "1:PCIPath repeated uint32" },
	{ &grpc__add_swap_path_request__descriptor, "1:path string" },
	{ &grpc__get_metrics_request__descriptor, "" },
	{ &grpc__metrics__descriptor, "1:metrics string" },
	{ &grpc__volume_stats_request__descriptor, "1:volume_guest_path string" },
	{ &grpc__resize_volume_request__descriptor, "1:volume_guest_path string; 2:size uint64" },
	{ &grpc__set_policy_request__descriptor, "1:policy string" },
	{ &grpc__get_diagnostic_data_request__descriptor,
	  "1:log_type string; 2:container_id string" },
	{ &grpc__get_diagnostic_data_response__descriptor, "1:data string" },
	{ &grpc__mem_agent_memcg_config__descriptor,
	  "1:disabled optional bool; 2:swap optional bool; "
	  "3:swappiness_max optional uint32; 4:period_secs optional uint64; "
	  "5:period_psi_percent_limit optional uint32; "
	  "6:eviction_psi_percent_limit optional uint32; "
	  "7:eviction_run_aging_count_min optional uint64" },
	{ &grpc__mem_agent_compact_config__descriptor,
	  "1:disabled optional bool; 2:period_secs optional uint64; "
	  "3:period_psi_percent_limit optional uint32; "
	  "4:compact_psi_percent_limit optional uint32; "
	  "5:compact_sec_max optional int64; 6:compact_order optional uint32; "
	  "7:compact_threshold optional uint64; "
	  "8:compact_force_times optional uint64" },
	{ &grpc__check_request__descriptor, "1:service string" },
	{ &grpc__health_check_response__descriptor,
	  "1:status grpc.HealthCheckResponse.ServingStatus" },
	{ &grpc__version_check_response__descriptor,
	  "1:grpc_version string; 2:agent_version string" },
	{ &containerd__types__mount__descriptor, "1:type string; 2:source string; 3:target string; "
						 "4:options repeated string" },
	{ &containerd__v1__types__process__descriptor,
	  "1:container_id string; 2:id string; 3:pid uint32; "
	  "4:status containerd.v1.types.Status; 5:stdin string; 6:stdout string; "
	  "7:stderr string; 8:terminal bool; 9:exit_status uint32; "
	  "10:exited_at google.protobuf.Timestamp" },
	{ &containerd__v1__types__process_info__descriptor,
	  "1:pid uint32; 2:info google.protobuf.Any" },
	{ &containerd__task__v2__create_task_request__descriptor,
	  "1:id string; 2:bundle string; "
	  "3:rootfs repeated containerd.types.Mount; 4:terminal bool; "
	  "5:stdin string; 6:stdout string; 7:stderr string; "
	  "8:checkpoint string; 9:parent_checkpoint string; "
	  "10:options google.protobuf.Any" },
	{ &containerd__task__v2__create_task_response__descriptor, "1:pid uint32" },
	{ &containerd__task__v2__delete_request__descriptor, "1:id string; 2:exec_id string" },
	{ &containerd__task__v2__delete_response__descriptor,
	  "1:pid uint32; 2:exit_status uint32; "
	  "3:exited_at google.protobuf.Timestamp" },
	{ &containerd__task__v2__exec_process_request__descriptor,
	  "1:id string; 2:exec_id string; 3:terminal bool; 4:stdin string; "
	  "5:stdout string; 6:stderr string; 7:spec google.protobuf.Any" },
	{ &containerd__task__v2__exec_process_response__descriptor, "" },
	{ &containerd__task__v2__resize_pty_request__descriptor,
	  "1:id string; 2:exec_id string; 3:width uint32; 4:height uint32" },
	{ &containerd__task__v2__state_request__descriptor, "1:id string; 2:exec_id string" },
	{ &containerd__task__v2__state_response__descriptor,
	  "1:id string; 2:bundle string; 3:pid uint32; "
	  "4:status containerd.v1.types.Status; 5:stdin string; 6:stdout string; "
	  "7:stderr string; 8:terminal bool; 9:exit_status uint32; "
	  "10:exited_at google.protobuf.Timestamp; 11:exec_id string" },
	{ &containerd__task__v2__kill_request__descriptor,
	  "1:id string; 2:exec_id string; 3:signal uint32; 4:all bool" },
	{ &containerd__task__v2__close_iorequest__descriptor,
	  "1:id string; 2:exec_id string; 3:stdin bool" },
	{ &containerd__task__v2__pids_request__descriptor, "1:id string" },
	{ &containerd__task__v2__pids_response__descriptor,
	  "1:processes repeated containerd.v1.types.ProcessInfo" },
	{ &containerd__task__v2__checkpoint_task_request__descriptor,
	  "1:id string; 2:path string; 3:options google.protobuf.Any" },
	{ &containerd__task__v2__update_task_request__descriptor,
	  "1:id string; 2:resources google.protobuf.Any; "
	  "3:annotations map<string,string>" },
	{ &containerd__task__v2__start_request__descriptor, "1:id string; 2:exec_id string" },
	{ &containerd__task__v2__start_response__descriptor, "1:pid uint32" },
	{ &containerd__task__v2__wait_request__descriptor, "1:id string; 2:exec_id string" },
	{ &containerd__task__v2__wait_response__descriptor,
	  "1:exit_status uint32; 2:exited_at google.protobuf.Timestamp" },
	{ &containerd__task__v2__stats_request__descriptor, "1:id string" },
	{ &containerd__task__v2__stats_response__descriptor, "1:stats google.protobuf.Any" },
	{ &containerd__task__v2__connect_request__descriptor, "1:id string" },
	{ &containerd__task__v2__connect_response__descriptor,
	  "1:shim_pid uint32; 2:task_pid uint32; 3:version string" },
	{ &containerd__task__v2__shutdown_request__descriptor, "1:id string; 2:now bool" },
	{ &containerd__task__v2__pause_request__descriptor, "1:id string" },
	{ &containerd__task__v2__resume_request__descriptor, "1:id string" },
	{ &containerd__events__task_create__descriptor,
	  "1:container_id string; 2:bundle string; "
	  "3:rootfs repeated containerd.types.Mount; "
	  "4:io containerd.events.TaskIO; 5:checkpoint string; 6:pid uint32" },
	{ &containerd__events__task_start__descriptor, "1:container_id string; 2:pid uint32" },
	{ &containerd__events__task_delete__descriptor,
	  "1:container_id string; 2:pid uint32; 3:exit_status uint32; "
	  "4:exited_at google.protobuf.Timestamp; 5:id string" },
	{ &containerd__events__task_io__descriptor,
	  "1:stdin string; 2:stdout string; 3:stderr string; 4:terminal bool" },
	{ &containerd__events__task_exit__descriptor,
	  "1:container_id string; 2:id string; 3:pid uint32; "
	  "4:exit_status uint32; 5:exited_at google.protobuf.Timestamp" },
	{ &containerd__events__task_oom__descriptor, "1:container_id string" },
	{ &containerd__events__task_exec_added__descriptor,
	  "1:container_id string; 2:exec_id string" },
	{ &containerd__events__task_exec_started__descriptor,
	  "1:container_id string; 2:exec_id string; 3:pid uint32" },
	{ &containerd__events__task_paused__descriptor, "1:container_id string" },
	{ &containerd__events__task_resumed__descriptor, "1:container_id string" },
	{ &containerd__events__task_checkpointed__descriptor,
	  "1:container_id string; 2:checkpoint string" },
	{ &containerd__types__envelope__descriptor,
	  "1:timestamp google.protobuf.Timestamp; 2:namespace string; "
	  "3:topic string; 4:event google.protobuf.Any" },
	{ &containerd__services__events__ttrpc__v1__forward_request__descriptor,
	  "1:envelope containerd.types.Envelope" },
	{ &runtimeoptions__v1__options__descriptor,
	  "1:type_url string; 2:config_path string; 3:config_body bytes" },
};

static const struct service_fact services[] = {
	{ &grpc__agent_service__descriptor,
	  "CreateContainer grpc.CreateContainerRequest google.protobuf.Empty; "
	  "StartContainer grpc.StartContainerRequest google.protobuf.Empty; "
	  "RemoveContainer grpc.RemoveContainerRequest google.protobuf.Empty; "
	  "ExecProcess grpc.ExecProcessRequest google.protobuf.Empty; "
	  "SignalProcess grpc.SignalProcessRequest google.protobuf.Empty; "
	  "WaitProcess grpc.WaitProcessRequest grpc.WaitProcessResponse; "
	  "UpdateContainer grpc.UpdateContainerRequest google.protobuf.Empty; "
	  "UpdateEphemeralMounts grpc.UpdateEphemeralMountsRequest google.protobuf.Empty; "
	  "StatsContainer grpc.StatsContainerRequest grpc.StatsContainerResponse; "
	  "PauseContainer grpc.PauseContainerRequest google.protobuf.Empty; "
	  "ResumeContainer grpc.ResumeContainerRequest google.protobuf.Empty; "
	  "RemoveStaleVirtiofsShareMounts grpc.RemoveStaleVirtiofsShareMountsRequest "
	  "google.protobuf.Empty; "
	  "GetDiagnosticData grpc.GetDiagnosticDataRequest grpc.GetDiagnosticDataResponse; "
	  "WriteStdin grpc.WriteStreamRequest grpc.WriteStreamResponse; "
	  "ReadStdout grpc.ReadStreamRequest grpc.ReadStreamResponse; "
	  "ReadStderr grpc.ReadStreamRequest grpc.ReadStreamResponse; "
	  "CloseStdin grpc.CloseStdinRequest google.protobuf.Empty; "
	  "TtyWinResize grpc.TtyWinResizeRequest google.protobuf.Empty; "
	  "UpdateInterface grpc.UpdateInterfaceRequest types.Interface; "
	  "UpdateRoutes grpc.UpdateRoutesRequest grpc.Routes; "
	  "ListInterfaces grpc.ListInterfacesRequest grpc.Interfaces; "
	  "ListRoutes grpc.ListRoutesRequest grpc.Routes; "
	  "AddARPNeighbors grpc.AddARPNeighborsRequest google.protobuf.Empty; "
	  "GetIPTables grpc.GetIPTablesRequest grpc.GetIPTablesResponse; "
	  "SetIPTables grpc.SetIPTablesRequest grpc.SetIPTablesResponse; "
	  "GetMetrics grpc.GetMetricsRequest grpc.Metrics; "
	  "MemAgentMemcgSet grpc.MemAgentMemcgConfig google.protobuf.Empty; "
	  "MemAgentCompactSet grpc.MemAgentCompactConfig google.protobuf.Empty; "
	  "CreateSandbox grpc.CreateSandboxRequest google.protobuf.Empty; "
	  "DestroySandbox grpc.DestroySandboxRequest google.protobuf.Empty; "
	  "OnlineCPUMem grpc.OnlineCPUMemRequest google.protobuf.Empty; "
	  "ReseedRandomDev grpc.ReseedRandomDevRequest google.protobuf.Empty; "
	  "GetGuestDetails grpc.GuestDetailsRequest grpc.GuestDetailsResponse; "
	  "MemHotplugByProbe grpc.MemHotplugByProbeRequest google.protobuf.Empty; "
	  "SetGuestDateTime grpc.SetGuestDateTimeRequest google.protobuf.Empty; "
	  "CopyFile grpc.CopyFileRequest google.protobuf.Empty; "
	  "GetOOMEvent grpc.GetOOMEventRequest grpc.OOMEvent; "
	  "AddSwap grpc.AddSwapRequest google.protobuf.Empty; "
	  "AddSwapPath grpc.AddSwapPathRequest google.protobuf.Empty; "
	  "GetVolumeStats grpc.VolumeStatsRequest grpc.VolumeStatsResponse; "
	  "ResizeVolume grpc.ResizeVolumeRequest google.protobuf.Empty; "
	  "SetPolicy grpc.SetPolicyRequest google.protobuf.Empty" },
	{ &grpc__health__descriptor, "Check grpc.CheckRequest grpc.HealthCheckResponse; "
				     "Version grpc.CheckRequest grpc.VersionCheckResponse" },
	{ &containerd__task__v2__task__descriptor,
	  "State containerd.task.v2.StateRequest containerd.task.v2.StateResponse; "
	  "Create containerd.task.v2.CreateTaskRequest containerd.task.v2.CreateTaskResponse; "
	  "Start containerd.task.v2.StartRequest containerd.task.v2.StartResponse; "
	  "Delete containerd.task.v2.DeleteRequest containerd.task.v2.DeleteResponse; "
	  "Pids containerd.task.v2.PidsRequest containerd.task.v2.PidsResponse; "
	  "Pause containerd.task.v2.PauseRequest google.protobuf.Empty; "
	  "Resume containerd.task.v2.ResumeRequest google.protobuf.Empty; "
	  "Checkpoint containerd.task.v2.CheckpointTaskRequest google.protobuf.Empty; "
	  "Kill containerd.task.v2.KillRequest google.protobuf.Empty; "
	  "Exec containerd.task.v2.ExecProcessRequest google.protobuf.Empty; "
	  "ResizePty containerd.task.v2.ResizePtyRequest google.protobuf.Empty; "
	  "CloseIO containerd.task.v2.CloseIORequest google.protobuf.Empty; "
	  "Update containerd.task.v2.UpdateTaskRequest google.protobuf.Empty; "
	  "Wait containerd.task.v2.WaitRequest containerd.task.v2.WaitResponse; "
	  "Stats containerd.task.v2.StatsRequest containerd.task.v2.StatsResponse; "
	  "Connect containerd.task.v2.ConnectRequest containerd.task.v2.ConnectResponse; "
	  "Shutdown containerd.task.v2.ShutdownRequest google.protobuf.Empty" },
	{ &containerd__services__events__ttrpc__v1__events__descriptor,
	  "Forward containerd.services.events.ttrpc.v1.ForwardRequest google.protobuf.Empty" },
};

static const struct enum_fact enums[] = {
	{ &grpc__volume_usage__unit__descriptor, "0=UNKNOWN; 1=BYTES; 2=INODES" },
	{ &types__ipfamily__descriptor, "0=v4; 1=v6" },
	{ &types__fsgroup_change_policy__descriptor, "0=Always; 1=OnRootMismatch" },
	{ &grpc__health_check_response__serving_status__descriptor,
	  "0=UNKNOWN; 1=SERVING; 2=NOT_SERVING" },
	{ &containerd__v1__types__status__descriptor,
	  "0=UNKNOWN; 1=CREATED; 2=RUNNING; 3=STOPPED; 4=PAUSED; 5=PAUSING" },
};

static const char *type_name(const ProtobufCFieldDescriptor *field)
{
	static const char *const names[] = {
		[PROTOBUF_C_TYPE_INT32] = "int32",   [PROTOBUF_C_TYPE_INT64] = "int64",
		[PROTOBUF_C_TYPE_UINT32] = "uint32", [PROTOBUF_C_TYPE_UINT64] = "uint64",
		[PROTOBUF_C_TYPE_BOOL] = "bool",     [PROTOBUF_C_TYPE_STRING] = "string",
		[PROTOBUF_C_TYPE_BYTES] = "bytes",
	};

	if (field->type == PROTOBUF_C_TYPE_MESSAGE)
		return ((const ProtobufCMessageDescriptor *)field->descriptor)->name;
	if (field->type == PROTOBUF_C_TYPE_ENUM)
		return ((const ProtobufCEnumDescriptor *)field->descriptor)->name;
	assert_true(field->type < ARRAY_SIZE(names) && names[field->type]);
	return names[field->type];
}

static void render_field(struct strbuf *b, const ProtobufCFieldDescriptor *field)
{
	const ProtobufCMessageDescriptor *entry = pbjson_map_entry(field);

	strbuf_addf(b, "%s%u:%s ", b->len > 0 ? "; " : "", field->id, field->name);
	if (entry) {
		strbuf_addf(b, "map<%s,%s>", type_name(&entry->fields[0]),
			    type_name(&entry->fields[1]));
		return;
	}
	if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		strbuf_adds(b, "oneof ");
	else if (field->label == PROTOBUF_C_LABEL_REPEATED)
		strbuf_adds(b, "repeated ");
	else if (field->label == PROTOBUF_C_LABEL_OPTIONAL && !field_is_pointer(field))
		strbuf_adds(b, "optional ");
	strbuf_adds(b, type_name(field));
}

static void test_messages(void **state _unused_)
{
	for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
		const ProtobufCMessageDescriptor *descriptor = messages[i].descriptor;
		_cleanup_(strbuf_done) struct strbuf b = {};
		for (unsigned n = 0; n < descriptor->n_fields; n++)
			render_field(&b, &descriptor->fields[n]);
		if (!str_equal(strbuf_text(&b), messages[i].fields))
			print_error("%s\n", descriptor->name);
		assert_string_equal(strbuf_text(&b), messages[i].fields);
	}
}

static void test_services(void **state _unused_)
{
	for (size_t i = 0; i < ARRAY_SIZE(services); i++) {
		const ProtobufCServiceDescriptor *descriptor = services[i].descriptor;
		_cleanup_(strbuf_done) struct strbuf b = {};
		for (unsigned n = 0; n < descriptor->n_methods; n++) {
			const ProtobufCMethodDescriptor *method = &descriptor->methods[n];
			strbuf_addf(&b, "%s%s %s %s", n > 0 ? "; " : "", method->name,
				    method->input->name, method->output->name);
		}
		assert_string_equal(strbuf_text(&b), services[i].methods);
	}
}

static void test_enums(void **state _unused_)
{
	for (size_t i = 0; i < ARRAY_SIZE(enums); i++) {
		const ProtobufCEnumDescriptor *descriptor = enums[i].descriptor;
		_cleanup_(strbuf_done) struct strbuf b = {};
		for (unsigned n = 0; n < descriptor->n_values; n++)
			strbuf_addf(&b, "%s%d=%s", n > 0 ? "; " : "", descriptor->values[n].value,
				    descriptor->values[n].name);
		assert_string_equal(strbuf_text(&b), enums[i].values);
	}
}

static void test_service_names(void **state _unused_)
{
	assert_string_equal(grpc__agent_service__descriptor.name, "grpc.AgentService");
	assert_string_equal(grpc__health__descriptor.name, "grpc.Health");
	assert_string_equal(containerd__task__v2__task__descriptor.name, "containerd.task.v2.Task");
	assert_string_equal(containerd__services__events__ttrpc__v1__events__descriptor.name,
			    "containerd.services.events.ttrpc.v1.Events");
	assert_string_equal(kiln__factory__v1__factory__descriptor.name, "kiln.factory.v1.Factory");
}

/* Bytes written down by hand, so that a mistake common to both directions is seen. */
static void test_wire_bytes(void **state _unused_)
{
	static const uint8_t expected[] = { 0x0a, 0x01, 'c', 0x12, 0x01, 'e', 0x18, 0x09 };
	Grpc__SignalProcessRequest request = GRPC__SIGNAL_PROCESS_REQUEST__INIT;
	uint8_t raw[32];

	request.container_id = (char *)(uintptr_t) "c";
	request.exec_id = (char *)(uintptr_t) "e";
	request.signal = 9;
	assert_int_equal(grpc__signal_process_request__get_packed_size(&request), sizeof(expected));
	grpc__signal_process_request__pack(&request, raw);
	assert_memory_equal(raw, expected, sizeof(expected));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages),   cmocka_unit_test(test_services),
		cmocka_unit_test(test_enums),      cmocka_unit_test(test_service_names),
		cmocka_unit_test(test_wire_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
