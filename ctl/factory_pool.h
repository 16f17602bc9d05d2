/* kiln-ctl factory warm | drain | pause | resume NAME: steering a pool. Each returns an exit
 * code. */
#pragma once

#include "ctl/factory_link.h"

/* Waits until `count` machines are parked. timeout_s 0: POOL_TIMEOUT_S, here and below. */
int factory_pool_warm(struct factory_link *link, const char *name, unsigned count,
		      unsigned timeout_s);

/* method: "Drain", "Pause" or "Resume"; done: what is said of it then. */
int factory_pool_ask(struct factory_link *link, const char *method, const char *name,
		     const char *done, unsigned timeout_s);
