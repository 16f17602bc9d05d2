/* The debug console: programs in the root of the sandbox's guest, for the host's operator
 * (`kiln-ctl exec`; agent/console.h). Whether there may be any is the guest's to decide.
 *
 * Streams are FIFOs of the caller's, as containerd's are (shim/io.h). A program is its
 * connection's: it is killed when that ends, and forgotten then or with the answer to its wait.
 * Each request is a line of the record (base/audit.h) before anything is done. Nothing of it
 * reaches containerd.
 */
#pragma once

#include "proto/operator.pb-c.h"
#include "shim/sandbox.h"

struct console;
struct ttrpc_call;
struct ttrpc_conn;

struct console *console_new(struct loop *loop, struct sandbox *sandbox, const char *ns);

/* Before the sandbox: streams end, and nobody is answered any more. */
void console_free(struct console *console);

/* Each ends the call, at once or later. The first when the program runs or cannot. */
void console_exec(struct console *console, struct ttrpc_call *call,
		  const Kiln__Shim__V1__ExecRequest *request);
void console_wait(struct console *console, struct ttrpc_call *call, const char *exec_id);
void console_resize(struct console *console, struct ttrpc_call *call,
		    const Kiln__Shim__V1__ResizeExecRequest *request);
void console_close_stdin(struct console *console, struct ttrpc_call *call, const char *exec_id);

/* A connection has ended. */
void console_hang_up(struct console *console, const struct ttrpc_conn *conn);

/* A program of it is there: the sandbox is in use. */
bool console_is_used(const struct console *console);

/* How many programs were asked for. */
uint64_t console_count(const struct console *console);
