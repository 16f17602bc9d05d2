/* The factory's connection to kiln-jailer (factory/jailer/), which is root and does for it what
 * only root can do. The factory itself is a user of its own, without capabilities.
 *
 * A call waits for its answer, as long as the deed itself would take: for a machine some
 * milliseconds. It may be made on any thread, one call goes after another. Where a machine is made
 * or ended by a process that is root itself (a shim without a factory), there is no connection, and
 * the same functions do it there: see the callers in factory/vm/.
 *
 * When kiln-jailer ends, nothing can be made or ended any more: the factory ends at once, as if it
 * had been killed, and the next start puts all right. */
#pragma once

#include "base/loop.h"
#include "factory/jail/jailer_message.h"

struct jailer;

/* fd is taken: one end of a socket pair, or a connection to kiln-jailer's socket. */
struct jailer *jailer_new(int fd);
void jailer_free(struct jailer *jailer); /* NULL does nothing; kiln-jailer ends then */
DEFINE_CLEANUP(struct jailer *, jailer_free)

/* From here on kiln-jailer's end is noticed. */
void jailer_watch(struct jailer *jailer, struct loop *loop);

/* The answer's negative result is returned, with its sentence as err; *ret_reply (NULL: nothing of
 * it is wanted) is filled on success only. Descriptors are borrowed. */
_must_check_ int jailer_call(struct jailer *jailer, const struct jailer_request *request,
			     const int *fds, size_t nfds, struct jailer_reply *ret_reply,
			     struct error *err);

/* A request that is answered on a socket of its own: that one, non-blocking, the caller's. To close
 * it is to give the job up. */
_must_check_ int jailer_begin_job(struct jailer *jailer, const struct jailer_request *request,
				  int *ret_fd, struct error *err);
