/* What is said between kiln-factory and kiln-jailer: a request, one answer, over a Unix socket of
 * type SOCK_SEQPACKET, each one message of fixed fields, then texts with a NUL after each, and
 * descriptors beside it.
 *
 * A request says what is wanted by names and numbers alone (which machine, which template, how
 * large). Paths, programs, arguments and limits are kiln-jailer's own: it reads them from its
 * configuration and from the store, which only root writes. The parser takes a request that has
 * exactly the fields, texts and descriptors that its verb has, and refuses any other; whether the
 * numbers are within what is configured is for factory/jailer/.
 *
 * Some verbs take longer than a factory's loop may wait. With these comes a stream socket, on
 * which a process of their own answers in JSON (factory/jailer/jobs.c), until its end.
 *
 * Both ends are of one build, or the first message tells that they are not: they are installed and
 * started together, so they need not understand those of other versions (base/format.h). */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/id.h"
#include "base/strings.h"
#include "base/strv.h"

enum jailer_verb {
	JAILER_BEGIN, /* folders, locks and sockets of a factory that starts; what was left is ended
		       */
	JAILER_TAKE,  /* a range of user ids for a machine */
	JAILER_COPY,  /* an empty file without a name, of a machine's user */
	JAILER_LAUNCH,   /* a machine's folder, control group, jail and VMM */
	JAILER_GROW,     /* more vCPUs of a machine are let use the processors */
	JAILER_REHEARSE, /* the folder that the rehearsal uses is made, or removed */
	JAILER_KILL,     /* a machine's process, by its pidfd */
	JAILER_REAP,     /* how that has ended */
	JAILER_FIND,     /* the process of a machine whose journal entry has none yet */
	JAILER_REMOVE,   /* what a machine without a process has on the host */
	JAILER_MEASURE,  /* what a machine's process takes of memory */
	JAILER_SOCKET,   /* who may use the factory's socket */
	JAILER_CONSOLE,  /* of the guest of the bake under way */
	JAILER_FORGET,   /* templates of a name, but for one */
	JAILER_BAKE,
	JAILER_IMAGES_TAKE,
	JAILER_IMAGES_LIST,
	JAILER_IMAGE_LOOK,
	JAILER_IMAGE_MAKE,
	JAILER_IMAGE_REMOVE,
	JAILER_IMAGES_PRUNE,
	JAILER_VERBS
};
DECLARE_STRING_TABLE(jailer_verb, enum jailer_verb);

enum {
	JAILER_BOOTED = 1 << 0,    /* COPY, LAUNCH: not a clone */
	JAILER_MERGE = 1 << 1,     /* LAUNCH: equal pages may be merged */
	JAILER_UNDO = 1 << 2,      /* REHEARSE: removed, not made */
	JAILER_ANEW = 1 << 3,      /* BAKE: although there is a valid one */
	JAILER_ACTIVATED = 1 << 4, /* BEGIN: the factory's socket is the service manager's */
	/* in the answer to BEGIN */
	JAILER_CGROUPS = 1 << 5, /* machines have control groups */
};

enum {
	JAILER_MESSAGE_MAX = 128 * 1024,
	JAILER_FDS_MAX = 24,  /* of a request: the copies of a machine's files */
	JAILER_REPLY_FDS = 4, /* of an answer */
};

/* `struct jailer_request r = { .verb = ... };` is one without anything else. */
struct jailer_request {
	enum jailer_verb verb;
	char machine[ID_HEX_SIZE];         /* "": none */
	char template_id[DIGEST_HEX_SIZE]; /* ditto; also the key of an image */
	uint32_t uid;                      /* first of a machine's; 0: it is root */
	uint32_t flags;
	uint32_t vcpus, memory_mib; /* of a machine that is booted; GROW: the first alone */
	uint32_t number;            /* COPY: of the file; MEASURE: pid; SOCKET: group, and mode */
	uint32_t mode;
	uint64_t bytes;   /* of the cache of images, where the configuration allows as many */
	struct strv text; /* owned */
};

struct jailer_reply {
	int32_t result; /* 0, or a negative errno with the sentence as text */
	int32_t status; /* REAP */
	int32_t pid;    /* LAUNCH, and the context id of its guest */
	uint32_t guest_cid;
	uint32_t flags; /* BEGIN */
	uint64_t start_time;
	char *text; /* owned; never NULL */
	int fds[JAILER_REPLY_FDS];
	size_t nfds; /* owned */
};

/* As bytes, at most JAILER_MESSAGE_MAX; the caller frees. -E2BIG. */
_must_check_ int jailer_request_print(const struct jailer_request *request, char **ret_data,
				      size_t *ret_len, struct error *err);
/* -EBADMSG: it is none; nfds descriptors came with it. */
_must_check_ int jailer_request_parse(const char *data, size_t len, size_t nfds,
				      struct jailer_request *ret_request, struct error *err);
void jailer_request_done(struct jailer_request *request);

/* Send and receive one message with its descriptors, and wait for it. A reply's text that is too
 * long loses its end. 0 is the end of the connection, else the length or a negative errno. Received
 * descriptors are the caller's; -EMFILE: there were more than this process could take, or than a
 * message may have, and the message is lost. */
ssize_t jailer_send(int socket, const void *data, size_t len, const int *fds, size_t nfds);
ssize_t jailer_receive(int socket, char data[static JAILER_MESSAGE_MAX],
		       int ret_fds[static JAILER_FDS_MAX], size_t *ret_nfds);
_must_check_ int jailer_reply_send(int socket, const struct jailer_reply *reply);
_must_check_ int jailer_reply_receive(int socket, struct jailer_reply *ret_reply);
void jailer_reply_done(struct jailer_reply *reply);
