/* What went over the guest's network cards, in the words of Kata's agent protocol: those that are
 * up. Bridges, tunnels and the like that are made in the guest are not among them. */
#pragma once

#include <stdbool.h>

#include "proto/agent.pb-c.h"

/* Of a text like /proc/net/dev; is_wanted says of a name whether it is told. Appends to response.
 */
void network_stats_parse(char *text, bool (*is_wanted)(const char *name),
			 Grpc__StatsContainerResponse *response);

void network_stats_add(Grpc__StatsContainerResponse *response);
