/* The sandboxes of this host, as their shims tell of them.
 *
 * Every socket of the folder is asked (proto/shim_socket.h), side by side, QUESTIONS_MAX at a time,
 * and within one deadline each: a shim that hangs costs the others nothing. What does not answer
 * is in the list too, with the reason. Sockets that nobody listens on any more are removed.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/loop.h"
#include "proto/operator.pb-c.h"

enum {
	SANDBOXES_MAX = 8192, /* of a host; what is beyond is not asked */
	QUESTIONS_MAX = 256,
	SANDBOXES_TIMEOUT_MS = 2000,
};

/* All owned; NULL: it is not known. */
struct sandbox {
	char *socket;
	char *id; /* of one that does not answer: by its shim's command line */
	char *ns; /* containerd's */
	pid_t shim_pid;
	bool replaced;      /* its shim's program is not the installed one any more */
	struct error error; /* why there is no info; number 0: there is */
	Kiln__Shim__V1__SandboxInfo *info; /* NULL: no answer */
	Grpc__Metrics *guest;              /* what was asked besides; NULL: no answer */
	char *pod, *pod_ns, *pod_uid;      /* by the shim, or by a container's bundle */
	char **images;                     /* of info's containers; each may be NULL */
};

struct sandboxes {
	struct sandbox *items; /* owned; in the order of their ids */
	size_t count;
};

struct sandboxes_options {
	const char *dir;     /* borrowed; NULL: SHIM_DIR */
	unsigned timeout_ms; /* 0: SANDBOXES_TIMEOUT_MS */
	bool guest;          /* the guest's metrics are asked for as well */
};

struct sandboxes_query; /* under way */

/* Once, from the loop; the sandboxes are the callee's. The query has ended. */
typedef void (*sandboxes_fn)(struct sandboxes *sandboxes, void *userdata);

/* A folder that is not there has no sandboxes; -EACCES. */
_must_check_ int sandboxes_ask(struct loop *loop, const struct sandboxes_options *options,
			       sandboxes_fn fn, void *userdata, struct sandboxes_query **ret_query,
			       struct error *err);
/* No callback follows. NULL does nothing. */
void sandboxes_cancel(struct sandboxes_query *query);

/* The same, turning a loop until all have answered: for a command. */
_must_check_ int sandboxes_get(const struct sandboxes_options *options, struct sandboxes *ret,
			       struct error *err);

/* The sandbox that word names: its id, or the beginning of one id only. -ENOENT, -EEXIST: several.
 * Borrowed. */
_must_check_ int sandboxes_find(const struct sandboxes *sandboxes, const char *word,
				const struct sandbox **ret_sandbox, struct error *err);

void sandboxes_done(struct sandboxes *sandboxes);
