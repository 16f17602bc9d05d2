/* The kernel's word that a device has come or gone (netlink(7), NETLINK_KOBJECT_UEVENT): when it
 * comes, sysfs is what to look at. */
#pragma once

/* A socket that becomes readable with each event, for the caller to close; or a negative errno. */
int uevents_open(void);

/* Forgets what has come. Which device it was about does not matter. */
void uevents_drain(int fd);
