/* Calls about processes and their streams. An empty exec id means a container's first process.
 *
 * ReadStdout and ReadStderr wait until there are bytes. The end of output is an OK answer
 * without data, and stays so: all that was written has been answered before it.
 */
#include <signal.h>

#include "agent/container.h"
#include "agent/rpc.h"
#include "proto/guest.pb-c.h"

RPC_HANDLER(wait_process)
{
	const Grpc__WaitProcessRequest *request = (const Grpc__WaitProcessRequest *)message;
	struct process *process = rpc_process(userdata, call, request->container_id,
					      request->exec_id);

	if (process)
		process_wait(process, call);
}

/* To all processes of the container, or to one. What has ended needs no signal: that is for a
 * caller who watches it to know. */
RPC_HANDLER(signal_process)
{
	const Grpc__SignalProcessRequest *request = (const Grpc__SignalProcessRequest *)message;
	bool to_all = str_empty(request->exec_id);
	struct container *container = NULL;
	struct process *process = NULL;
	_cleanup_(error_done) struct error err = {};
	int r = 0;

	if (to_all)
		container = rpc_container(userdata, call, request->container_id);
	else
		process = rpc_process(userdata, call, request->container_id, request->exec_id);
	if (!container && !process)
		return;
	if (request->signal > (uint32_t)SIGRTMAX) {
		ttrpc_call_fail_code(call, TTRPC_INVALID_ARGUMENT, "there is no signal %u",
				     request->signal);
		return;
	}
	if (container)
		r = container_signal(container, (int)request->signal, &err);
	else if ((r = process_signal(process, (int)request->signal)) == -ESRCH)
		r = 0;
	else if (r < 0)
		error_set_errno(&err, r, "cannot send signal %u", request->signal);
	rpc_finish(call, r, &err);
}

static void read_stream(struct ttrpc_call *call, const ProtobufCMessage *message,
			struct agent *agent, struct output *(*stream)(struct process *process))
{
	const Grpc__ReadStreamRequest *request = (const Grpc__ReadStreamRequest *)message;
	struct process *process = rpc_process(agent, call, request->container_id, request->exec_id);

	if (process)
		output_read(stream(process), call, request);
}

RPC_HANDLER(read_stdout)
{
	read_stream(call, message, userdata, process_stdout);
}

RPC_HANDLER(read_stderr)
{
	read_stream(call, message, userdata, process_stderr);
}

RPC_HANDLER(write_stdin)
{
	const Grpc__WriteStreamRequest *request = (const Grpc__WriteStreamRequest *)message;
	struct process *process = rpc_process(userdata, call, request->container_id,
					      request->exec_id);

	if (process)
		process_write(process, call, request);
}

RPC_HANDLER(close_stdin)
{
	const Grpc__CloseStdinRequest *request = (const Grpc__CloseStdinRequest *)message;
	struct process *process = rpc_process(userdata, call, request->container_id,
					      request->exec_id);

	if (!process)
		return;
	process_close_stdin(process);
	rpc_finish(call, 0, NULL);
}

RPC_HANDLER(close_output)
{
	const Kiln__Guest__V1__CloseOutputRequest *request = (const void *)message;
	Kiln__Guest__V1__CloseOutputResponse response =
		KILN__GUEST__V1__CLOSE_OUTPUT_RESPONSE__INIT;
	struct process *process = rpc_process(userdata, call, request->container_id,
					      request->exec_id);

	if (!process)
		return;
	process_close_output(process, request->drop_stdout, request->drop_stderr);
	ttrpc_call_reply(call, &response.base);
}

RPC_HANDLER(tty_win_resize)
{
	const Grpc__TtyWinResizeRequest *request = (const Grpc__TtyWinResizeRequest *)message;
	struct process *process = rpc_process(userdata, call, request->container_id,
					      request->exec_id);

	if (!process)
		return;

	int r = process_resize(process, request->row, request->column);

	if (r == -ENOTTY)
		ttrpc_call_fail_code(call, TTRPC_FAILED_PRECONDITION,
				     "the process has no terminal");
	else if (r < 0)
		ttrpc_call_fail_code(call, TTRPC_INTERNAL, "cannot resize the terminal: %s",
				     strerror(-r));
	else
		rpc_finish(call, 0, NULL);
}
