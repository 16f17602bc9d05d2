/* Signals for the first process of a pid namespace, kept until it can take them.
 *
 * The kernel drops a signal that such a process has not asked for, be it SIGTERM, and a program
 * asks when it gets to it: some while after its start. Whoever starts a container and stops it at
 * once would wait for it in vain. So a signal that is not asked for is kept: until the program
 * runs, and then until it is caught, blocked or ignored, for KEPT_SIGNALS_MS at most. After that it
 * is left to the kernel, as it is from then on.
 *
 * SIGKILL and SIGSTOP, which a process cannot ask for, are no business of this.
 */
#pragma once

#include <sys/types.h>

#include "base/loop.h"

enum { KEPT_SIGNALS_MS = 10000 };

struct kept_signals;

/* pidfd is borrowed, and outlives this. */
struct kept_signals *kept_signals_new(struct loop *loop, pid_t pid, int pidfd);

/* The program runs from now on. */
void kept_signals_started(struct kept_signals *kept);

/* Sends it, or keeps it. Of one that is kept already there is one. */
_must_check_ int kept_signals_send(struct kept_signals *kept, int signo);

/* What is kept is forgotten. */
void kept_signals_free(struct kept_signals *kept);
