/* Telling the service manager how we are: the sd_notify protocol of systemd (sd_notify(3)),
 * a datagram of KEY=VALUE lines to the socket in NOTIFY_SOCKET.
 *
 * libsystemd has this as well; a shared library for one sendto(2) is not worth a dependency.
 * Without NOTIFY_SOCKET everything here does nothing. With WATCHDOG_USEC a timer says
 * WATCHDOG=1 at half of that time, from the loop: a loop that hangs says nothing.
 */
#pragma once

#include <sys/types.h>

#include "base/loop.h"

struct notify;

/* Takes the variables out of the environment, so that no child speaks for us. An address that
 * cannot be used is logged and ignored. */
struct notify *notify_new(struct loop *loop);
void notify_free(struct notify *notify);
DEFINE_CLEANUP(struct notify *, notify_free)

void notify_ready(struct notify *notify);     /* at the start, and at the end of a reload */
void notify_reloading(struct notify *notify); /* notify_ready() has to follow */
void notify_stopping(struct notify *notify);

/* One line for `systemctl status`. */
void notify_status(struct notify *notify, const char *fmt, ...) _printf_(2, 3);
