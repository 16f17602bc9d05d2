/* The kernel's events about devices that come and go (netlink(7), NETLINK_KOBJECT_UEVENT). They
 * only say when to look at sysfs. */
#pragma once

/* A socket that becomes readable with each event, for the caller to close; or a negative errno. */
int uevents_open(void);

/* Reads all events that have come and forgets them: which devices they name does not matter. */
void uevents_drain(int fd);
