#include "shim/process_events.h"

#include "proto/events.pb-c.h"
#include "shim/process.h"
#include "shim/timestamp.h"

void process_publish_start(struct events *events, const struct process *process,
			   const char *container_id)
{
	Containerd__Events__TaskExecStarted exec = CONTAINERD__EVENTS__TASK_EXEC_STARTED__INIT;
	Containerd__Events__TaskStart init = CONTAINERD__EVENTS__TASK_START__INIT;

	if (*process_exec_id(process)) {
		exec.container_id = (char *)container_id;
		exec.exec_id = (char *)process_exec_id(process);
		exec.pid = process_pid(process);
		events_publish(events, &exec.base);
	} else {
		init.container_id = (char *)container_id;
		init.pid = process_pid(process);
		events_publish(events, &init.base);
	}
}

void process_publish_exit(struct events *events, const struct process *process,
			  const char *container_id)
{
	Containerd__Events__TaskExit exit = CONTAINERD__EVENTS__TASK_EXIT__INIT;
	Google__Protobuf__Timestamp time = timestamp_from_ns(process_exited_ns(process));
	const char *exec_id = process_exec_id(process);

	exit.container_id = (char *)container_id;
	exit.id = (char *)(*exec_id ? exec_id : container_id);
	exit.pid = process_pid(process);
	exit.exit_status = process_exit_status(process);
	exit.exited_at = &time;
	events_publish(events, &exit.base);
}
