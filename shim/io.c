#include "shim/io.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "proto/agent.pb-c.h"
#include "shim/io_input.h"
#include "shim/io_output.h"
#include "shim/log_program.h"

struct io {
	struct io_input *in; /* NULL: no stdin */
	struct io_output *out;
	struct io_output *err;   /* NULL for a terminal */
	struct log_program *log; /* that has the other ends of out and err; NULL: none */
	struct loop *loop;
	struct loop_timer *timer; /* runs while settling */
	uint64_t exit_ms;         /* when settling began */
	void (*on_settled)(void *userdata);
	void *userdata;
};

void stdio_done(struct stdio *stdio)
{
	free(stdio->in);
	free(stdio->out);
	free(stdio->err);
	*stdio = (struct stdio){};
}

static void settled(struct io *io)
{
	loop_timer_stop(io->timer);
	loop_timer_free(steal_ptr(io->timer));
	io->on_settled(io->userdata);
}

/* The moment at which this output may be waited for no longer; 0: it has ended. */
static uint64_t output_deadline(const struct io *io, const struct io_output *output)
{
	uint64_t last = io->exit_ms + IO_SETTLE_MS;
	uint64_t idle;

	if (!output || io_output_ended(output))
		return 0;
	if (io_output_blocked(output))
		return last;
	idle = io_output_progress_ms(output);
	idle = (idle > io->exit_ms ? idle : io->exit_ms) + IO_IDLE_MS;
	return idle < last ? idle : last;
}

static void settle_check(void *userdata)
{
	struct io *io = userdata;
	uint64_t now = clock_monotonic_ms();
	uint64_t out = output_deadline(io, io->out);
	uint64_t err = output_deadline(io, io->err);
	uint64_t deadline = out > err ? out : err;

	if (!io->timer)
		return;
	if (deadline <= now)
		settled(io);
	else
		loop_timer_start(io->timer, deadline - now);
}

void io_settle(struct io *io)
{
	io->exit_ms = clock_monotonic_ms();
	io->timer = loop_timer_new(io->loop, settle_check, io);
	loop_timer_start(io->timer, 0);
}

static int open_outputs(const struct io_options *options, struct io *io, int *ret_out, int *ret_err,
			struct error *err)
{
	const struct stdio *stdio = options->stdio;
	const char *name = *options->exec_id ? options->exec_id : options->container_id;
	_cleanup_close_ int out = -EBADF, errout = -EBADF;
	int r;

	if (log_program_is_named(stdio->out))
		r = log_program_start(options->loop, stdio->out, name, options->ns, &io->log, &out,
				      &errout, err);
	else
		r = io_output_open(stdio->out, &out, err);
	if (r == 0 && !io->log && !stdio->terminal)
		r = io_output_open(stdio->err, &errout, err);
	if (r < 0)
		return r;
	*ret_out = steal_fd(&out);
	if (!stdio->terminal)
		*ret_err = steal_fd(&errout);
	return 0;
}

int io_open(const struct io_options *options, struct io **ret_io, struct error *err)
{
	struct io *io = xnew(struct io);
	_cleanup_close_ int out = -EBADF, errout = -EBADF;
	int r;

	io->loop = options->loop;
	io->on_settled = options->on_settled;
	io->userdata = options->userdata;
	r = open_outputs(options, io, &out, &errout, err);
	if (r == 0)
		io->out = io_output_new(options, "ReadStdout", steal_fd(&out), settle_check, io);
	if (r == 0)
		r = FAULT_ERROR("streams.opening", err);
	if (r == 0 && !options->stdio->terminal)
		io->err = io_output_new(options, "ReadStderr", steal_fd(&errout), settle_check, io);
	if (r == 0 && !str_empty(options->stdio->in))
		r = io_input_open(options, &io->in, err);
	if (r < 0) {
		io_end(io);
		return r;
	}
	*ret_io = io;
	return 0;
}

void io_start(struct io *io, const struct trace_span *traced)
{
	io_output_start(io->out, traced);
	if (io->err)
		io_output_start(io->err, NULL);
	if (io->in)
		io_input_start(io->in);
}

bool io_outputs_ended(const struct io *io)
{
	return io_output_ended(io->out) && (!io->err || io_output_ended(io->err));
}

uint64_t io_progress_ms(const struct io *io)
{
	uint64_t last = io_output_progress_ms(io->out);

	if (io->err)
		last = MAX(last, io_output_progress_ms(io->err));
	return io->in ? MAX(last, io_input_progress_ms(io->in)) : last;
}

void io_close_stdin(struct io *io)
{
	if (io->in)
		io_input_close(io->in);
}

void io_end(struct io *io)
{
	if (!io)
		return;
	loop_timer_free(io->timer);
	io_output_end(io->out);
	io_output_end(io->err);
	io_input_end(io->in);
	log_program_end(io->log);
	free(io);
}
