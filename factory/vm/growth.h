/* Growing a running machine to the size its claim wants, with what its template has in store:
 * spare vCPUs, which are there and offline in the guest, and a virtio-mem device at size 0. Nothing
 * is plugged in, so no bus is scanned.
 *
 *   vCPUs    OnlineCPUMem: the agent brings so many online and answers when they are
 *   memory   requested-size of the virtio-mem over QMP; the guest's driver takes blocks until
 *            the device's size is that; then OnlineCPUMem once more, which waits for the blocks
 *            to be online; then the size is looked at again, since a driver that cannot add a
 *            block gives it back
 *
 * Both at once. A guest that does not come to the size within GROWTH_DEADLINE_MS is a failure.
 */
#pragma once

#include "base/loop.h"
#include "proto/qmp.h"
#include "proto/ttrpc_client.h"

#define GROWTH_DEVICE      "growth" /* id of the virtio-mem device */
#define GROWTH_BLOCK_BYTES ((uint64_t)2 << 20)
#define GROWTH_DEADLINE_MS 30000

/* On the kernel's command line, before all else: how many vCPUs the template's machines have
 * online. The agent takes the others offline when it starts (agent/hotplug.h). */
#define GROWTH_VCPUS_PARAM "kiln.vcpus="

struct growth;

struct growth_options {
	struct loop *loop;
	struct qmp *qmp;            /* borrowed */
	struct ttrpc_client *agent; /* borrowed; must be freed after the growth */
	const char *object;         /* id of the machine, for the log; copied */
	uint32_t vcpus;             /* to bring online; 0: none */
	uint64_t memory_bytes;      /* to add, a multiple of GROWTH_BLOCK_BYTES; 0: none */
	unsigned deadline_ms;       /* 0: GROWTH_DEADLINE_MS */
	/* Once, never inside growth_start(). number 0 or a negative errno, then with err. */
	void (*on_done)(struct growth *growth, int number, const struct error *err, void *userdata);
	void *userdata;
};

struct growth *growth_start(const struct growth_options *options);

/* No callback follows. Allowed at any time, also inside a callback of its own. NULL does nothing.
 */
void growth_free(struct growth *growth);
