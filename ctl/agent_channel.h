/* Where kiln-ctl's agent requests go: to an address, or to a machine of its own that it takes
 * from the factory and gives back.
 *
 * What answers is a guest, so with agent_channel_confine() this process gives up all rights before
 * it reads a byte of an answer. A child, the keeper, keeps them and reads nothing of the guest's:
 * it gives the machine back when this process says so. */
#pragma once

#include <sys/types.h>

#include "base/loop.h"
#include "factory/client/claim.h"
#include "proto/ttrpc_client.h"

struct channel_options {
	const char *server_address; /* NULL: a machine of the factory's */
	const char *factory_socket;
	const char *template_name; /* NULL: the one that fits best */
	struct strv images;        /* that its template must carry */
	unsigned timeout_s;
	enum claim_priority priority;
	uint32_t vcpus, memory_mib; /* at least; 0: the template's */
	const char *annotations;    /* NULL: none */
};

struct agent_channel {
	struct loop *loop;           /* borrowed */
	const char *factory_socket;  /* borrowed */
	struct ttrpc_client *client; /* owned where there is no claim, else the claim's */
	struct claim *claim;         /* owned; NULL for an address */
	pid_t keeper;                /* 0: there is none */
	int keeper_fd;               /* owned where there is a keeper: a byte has it begin */
};

/* Runs the loop until the channel is there. -ENOENT or -ECONNREFUSED without a server_address:
 * there is no factory; -EIO: there is one, or its store, but no machine. */
_must_check_ int agent_channel_open(struct loop *loop, const struct channel_options *options,
				    struct agent_channel *ret_channel, struct error *err);

/* After it the process makes calls on the channel and closes it, and can do nothing else
 * (base/confine.h). */
_must_check_ int agent_channel_confine(struct agent_channel *channel, struct error *err);

/* Calls in flight end CANCELLED; a claimed machine is given back, for which the loop turns or the
 * keeper is waited for. */
_must_check_ int agent_channel_close(struct agent_channel *channel, struct error *err);
