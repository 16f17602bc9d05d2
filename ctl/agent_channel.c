#include "ctl/agent_channel.h"

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

int agent_channel_close(struct agent_channel *channel, struct error *err)
{
	struct waiting waiting = { .err = err };

	if (channel->claim) {
		claim_release(channel->loop, channel->claim, channel->factory_socket, on_released,
			      &waiting);
		wait_end(channel->loop, &waiting);
	} else if (channel->client) {
		ttrpc_client_free(channel->client);
	}
	*channel = (struct agent_channel){};
	return waiting.result;
}
