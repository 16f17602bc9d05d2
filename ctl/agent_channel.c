#include "ctl/agent_channel.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/file.h"
#include "base/id.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/strings.h"
#include "ctl/ctl.h"

#define ROUND_MS 1000

/* A claim's or a release's end; both have deadlines of their own and end for certain. */
struct waiting {
	bool done;
	int result;
	struct claim *claim;
	struct error *err;
};

static void wait_end(struct loop *loop, const struct waiting *waiting)
{
	while (!waiting->done)
		(void)loop_run_until(loop, &waiting->done, ROUND_MS);
}

static void on_claimed(int number, struct claim *claim, const struct error *err, void *userdata)
{
	struct waiting *waiting = userdata;

	waiting->result = number;
	if (number < 0)
		(void)error_set(waiting->err, number, "%s", error_message(err));
	else
		waiting->claim = claim;
	waiting->done = true;
}

static void say_how(const struct claim *claim)
{
	double ms = (double)claim->claim_us / 1000;

	ctl_say("machine %s (%u vCPUs, %u MiB), %s in %.1f ms%s%s", claim->vm_id, claim->vcpus,
		claim->memory_mib, claim->origin, ms, str_empty(claim->reason) ? "" : ": ",
		claim->reason);
	for (size_t i = 0; i < claim->nimages; i++)
		ctl_say("image %s is %s", claim->images[i].name, claim->images[i].device);
}

static int open_claim(const struct channel_options *options, struct agent_channel *channel,
		      struct error *err)
{
	char hex[ID_HEX_SIZE];
	struct waiting waiting = { .err = err };

	id_random_hex(hex);
	_cleanup_free_ char *sandbox_id = xasprintf("kiln-ctl-%.8s", hex);
	const struct claim_options claim = {
		.factory_address = options->factory_socket,
		.sandbox_id = sandbox_id,
		.template_name = options->template_name,
		.timeout_ms = options->timeout_s * 1000ull,
		.images = &options->images,
		.priority = options->priority,
		.vcpus = options->vcpus,
		.memory_mib = options->memory_mib,
		.annotations = options->annotations,
	};

	int r = claim_start(channel->loop, &claim, on_claimed, &waiting, err);
	if (r < 0)
		return r;
	wait_end(channel->loop, &waiting);
	if (waiting.result < 0)
		return -EIO; /* a template that is not there is no absence of the factory */
	channel->claim = waiting.claim;
	channel->client = waiting.claim->agent;
	claim_confirm(channel->claim);
	say_how(channel->claim);
	return 0;
}

int agent_channel_open(struct loop *loop, const struct channel_options *options,
		       struct agent_channel *ret_channel, struct error *err)
{
	struct agent_channel channel = { .loop = loop, .factory_socket = options->factory_socket };
	int fd = -EBADF, r;

	if (options->server_address) {
		r = socket_connect(options->server_address, &fd, err);
		if (r < 0)
			return r;
		channel.client = ttrpc_client_new(loop, fd, &(struct ttrpc_client_options){});
	} else {
		r = open_claim(options, &channel, err);
		if (r < 0)
			return r;
	}
	*ret_channel = channel;
	return 0;
}

static void on_released(int number, const struct error *err, void *userdata)
{
	struct waiting *waiting = userdata;

	waiting->result = number;
	if (number < 0)
		(void)error_set(waiting->err, number, "%s", error_message(err));
	waiting->done = true;
}

static int give_back(struct loop *loop, struct claim *claim, const char *factory_socket,
		     struct error *err)
{
	struct waiting waiting = { .err = err };

	claim_release(loop, claim, factory_socket, on_released, &waiting);
	wait_end(loop, &waiting);
	return waiting.result;
}

/* ---------------------------------------------------------------- the keeper */

/* In the child. The loop is its own: the other one has the agent's answers in it. */
static int keeper_run(const struct agent_channel *channel, int fd)
{
	_cleanup_(error_done) struct error err = {};
	char byte;

	if (read_full(fd, &byte, 1) != 1)
		return CTL_FAILED; /* killed: the factory notices by itself */
	if (give_back(loop_new(), channel->claim, channel->factory_socket, &err) < 0)
		return ctl_fail(&err);
	return CTL_OK;
}

/* Signals are for the parent: the child must not pass them on to the loop it shares with it. */
static int keeper_start(struct agent_channel *channel, struct error *err)
{
	sigset_t all, before;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return error_set_errno(err, errno, "cannot make a pipe");
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	fflush(NULL);
	channel->keeper = fork();
	if (channel->keeper == 0) {
		close(fds[1]);
		_exit(keeper_run(channel, fds[0]));
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	close(fds[0]);
	channel->keeper_fd = fds[1];
	if (channel->keeper > 0)
		return 0;
	channel->keeper = 0;
	close(channel->keeper_fd);
	return error_set_errno(err, errno, "cannot start the process that gives the machine back");
}

static int keeper_end(struct agent_channel *channel, struct error *err)
{
	int status = 0;
	pid_t pid;

	claim_free(channel->claim);
	int r = write_full(channel->keeper_fd, "", 1);
	close(channel->keeper_fd);
	do
		pid = waitpid(channel->keeper, &status, 0);
	while (pid < 0 && errno == EINTR);
	if (r < 0 || pid < 0 || status != 0)
		return error_set(err, EIO, "the machine was not given back");
	return 0;
}

int agent_channel_confine(struct agent_channel *channel, struct error *err)
{
	int r = channel->claim ? keeper_start(channel, err) : 0;

	return r < 0 ? r : confine(err);
}

int agent_channel_close(struct agent_channel *channel, struct error *err)
{
	int r = 0;

	if (channel->keeper > 0)
		r = keeper_end(channel, err);
	else if (channel->claim)
		r = give_back(channel->loop, channel->claim, channel->factory_socket, err);
	else if (channel->client)
		ttrpc_client_free(channel->client);
	*channel = (struct agent_channel){};
	return r;
}
