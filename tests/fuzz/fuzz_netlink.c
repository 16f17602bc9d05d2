/* Bytes as the kernel's answer to a request for a list: each message lies within them, and what is
 * taken of it can be told to the agent. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "proto/netlink.h"
#include "proto/network.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SEQUENCE = 1, SIZE_MAX_TRIED = 32 * 1024 };

struct run {
	struct network network;
	const char *begin, *end;
};

static void on_message(const struct nlmsghdr *message, void *userdata)
{
	struct run *run = userdata;
	const char *at = (const char *)message;

	if (at < run->begin || at + message->nlmsg_len > run->end)
		abort();
	network_take(&run->network, message);
}

static void tell(const struct network *network)
{
	for (size_t i = 0; i < network->links.count; i++)
		protobuf_c_message_free_unpacked(
			&network_interface(network, &network->links.items[i])->base, NULL);
	for (size_t i = 0; i < network->routes.count; i++)
		protobuf_c_message_free_unpacked(
			&network_route(network, &network->routes.items[i])->base, NULL);
	for (size_t i = 0; i < network->neighbours.count; i++)
		protobuf_c_message_free_unpacked(
			&network_neighbour(network, &network->neighbours.items[i])->base, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > SIZE_MAX_TRIED)
		return 0;

	/* Aligned as a datagram is. */
	_cleanup_free_ char *copy = xmemdup(data, size);
	struct run run = { .begin = copy, .end = copy + size };
	struct netlink_answer answer = { .sequence = SEQUENCE, .fn = on_message, .userdata = &run };

	(void)netlink_read(&answer, copy, size);
	tell(&run.network);
	network_done(&run.network);
	return 0;
}
