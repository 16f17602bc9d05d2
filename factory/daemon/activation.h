/* Socket activation (sd_listen_fds(3)): a listening socket that the service manager has made
 * and passed as descriptor 3 and up, by LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES. */
#pragma once

#include "base/error.h"

/* The socket to serve: the one of this name, else the first. *ret_fd is -EBADF where none
 * was passed to this process; further ones are closed. Sets close-on-exec and non-blocking, and
 * takes the variables out of the environment. -EINVAL for what is no listening Unix
 * socket of this type (SOCK_STREAM, SOCK_SEQPACKET). To be called before anything else opens
 * descriptors or starts processes. */
_must_check_ int activation_take(const char *name, int type, int *ret_fd, struct error *err);
