#include "agent/network_stats.h"

#include <inttypes.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

enum { TEXT_MAX = 1 << 16, CARDS_MAX = 64, PATH_SIZE = 64 };

/* "  NAME: " and 16 numbers, of which four of each direction are told. */
static bool parse_line(const char *line, Grpc__NetworkStats *ret)
{
	char name[IFNAMSIZ];

	if (sscanf(line,
		   " %15[^: ]: %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
		   " %*u %*u %*u %*u %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64,
		   name, &ret->rx_bytes, &ret->rx_packets, &ret->rx_errors, &ret->rx_dropped,
		   &ret->tx_bytes, &ret->tx_packets, &ret->tx_errors, &ret->tx_dropped) != 9)
		return false;
	ret->name = xstrdup(name);
	return true;
}

void network_stats_parse(char *text, bool (*is_wanted)(const char *name),
			 Grpc__StatsContainerResponse *response)
{
	char *rest = NULL;

	response->network_stats = xnew_array(Grpc__NetworkStats *, CARDS_MAX);
	for (char *line = strtok_r(text, "\n", &rest);
	     line && response->n_network_stats < CARDS_MAX; line = strtok_r(NULL, "\n", &rest)) {
		Grpc__NetworkStats *card = xnew(Grpc__NetworkStats);

		grpc__network_stats__init(card);
		if (parse_line(line, card) && is_wanted(card->name))
			response->network_stats[response->n_network_stats++] = card;
		else
			grpc__network_stats__free_unpacked(card, NULL);
	}
}

/* A name of an interface has no slash. */
static bool is_card_in_use(const char *name)
{
	_cleanup_free_ char *flags = NULL;
	char path[PATH_SIZE];

	snprintf(path, sizeof(path), "/sys/class/net/%s/device", name);
	if (access(path, F_OK) < 0)
		return false;
	snprintf(path, sizeof(path), "/sys/class/net/%s/flags", name);
	return file_read(path, TEXT_MAX, &flags, NULL, NULL) == 0 &&
	       (strtoul(flags, NULL, 16) & IFF_UP);
}

void network_stats_add(Grpc__StatsContainerResponse *response)
{
	_cleanup_free_ char *text = NULL;

	if (file_read("/proc/self/net/dev", TEXT_MAX, &text, NULL, NULL) == 0)
		network_stats_parse(text, is_card_in_use, response);
}
