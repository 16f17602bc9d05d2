/* The kernel's events about devices that come and go (netlink(7), NETLINK_KOBJECT_UEVENT). They
 * only say when to look at sysfs. */
#pragma once

#include "base/error.h"

/* A socket that becomes readable with each event, for the caller to close; or a negative errno. */
int uevents_open(void);

/* Reads all events that have come and forgets them: which devices they name does not matter. */
void uevents_drain(int fd);

/* Calls try until its result is not -missing any more, at once and with each event, for wait_ms at
 * most. Returns its last result. */
typedef int (*uevents_try_fn)(const void *data, struct error *err);
_must_check_ int uevents_await(uevents_try_fn try, const void *data, int missing, unsigned wait_ms,
			       struct error *err);
