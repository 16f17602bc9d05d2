/* A terminal for a process, made in the container's own devpts so that its name there is
 * right. For the child. */
#pragma once

#include <sys/ioctl.h>

#include "base/error.h"

/* Opens /dev/ptmx below root and its other side without looking a path up again. Where the
 * container has no /dev/ptmx, fallback (a path of the agent's, or NULL) is used. The caller
 * owns both descriptors. */
_must_check_ int pty_open(int root, const char *fallback, const struct winsize *window,
			  int *ret_master, int *ret_slave, struct error *err);

/* Makes slave the controlling terminal and stdin, stdout and stderr; takes it. The caller
 * leads its session. */
_must_check_ int pty_take(int slave, struct error *err);
