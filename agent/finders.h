/* Calls of the host's that wait until the guest sees a device that is being plugged in. The
 * kernel's events say when to look (agent/uevents.h). A call waits until its deadline, which is the
 * caller's. */
#pragma once

#include "base/loop.h"
#include "proto/ttrpc_server.h"

struct finders;

/* For the device of one call: 0: it is there; -EAGAIN: not yet; what else is negative fails the
 * call, with err. */
typedef int (*finders_look_fn)(const ProtobufCMessage *request, struct error *err);

/* response: what each call is answered with; borrowed. */
struct finders *finders_new(struct loop *loop, finders_look_fn look,
			    const ProtobufCMessage *response);
/* Those that wait get no answer. NULL does nothing. */
void finders_free(struct finders *finders);

/* Takes the call, whose request it is. */
void finders_add(struct finders *finders, struct ttrpc_call *call, const ProtobufCMessage *request);
