/* What a guest says of a container's cgroup, in the words that containerd expects of a host: those
 * of cgroup v1 or of v2. The guest's are always v2's. Numbers of block devices are the guest's. */
#pragma once

#include <stdbool.h>

#include "google/protobuf/any.pb-c.h"
#include "proto/agent.pb-c.h"

/* True where the host has v2 alone, which is how containerd decides, too. */
bool stats_host_is_unified(void);

/* The message for StatsResponse; type_url is static, the caller frees the value's data. Without
 * network for a container that is one of a pod, whose cards are not its own. */
void stats_convert(const Grpc__StatsContainerResponse *stats, bool unified, bool has_network,
		   Google__Protobuf__Any *ret);
