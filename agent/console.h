/* Programs in the guest's own root: a debug console for the host's operator.
 *
 * An ExecProcess without a container's id asks for one, and the other calls about processes mean
 * these where they name no container. It is root with the agent's capabilities, in none of the
 * containers' namespaces and cgroups, and outlives them.
 *
 * Whether there are any is the template's to say, not the caller's: CONSOLE_WORD on the kernel's
 * command line, which was frozen with the guest.
 */
#pragma once

#include <stdbool.h>

#include "agent/process.h"
#include "proto/agent.pb-c.h"

#define CONSOLE_WORD "agent.debug_console"

struct console;

/* allowed false: every program is refused. */
struct console *console_new(struct agent *agent, bool allowed);

/* At the agent's end: programs that run are left alone. */
void console_free(struct console *console);

/* Ends the call when the program runs or has failed. Without arguments it is /bin/sh. */
void console_exec(struct console *console, struct ttrpc_call *call,
		  const Grpc__ExecProcessRequest *request);

/* NULL where there is none. Borrowed. */
struct process *console_find(const struct console *console, const char *exec_id);
