/* The events of a process, as containerd wants them (shim/events.h). */
#pragma once

#include "shim/events.h"

struct process;

void process_publish_start(struct events *events, const struct process *process,
			   const char *container_id);
void process_publish_exit(struct events *events, const struct process *process,
			  const char *container_id);
