/* The factory's end of the link to kiln-libvirt (factory/bake/libvirt/protocol.h), the helper that
 * speaks libvirt for one bake. Every call blocks: worker threads only, one call at a time. The
 * helper is looked for beside the running program. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

struct libvirt_link;

struct libvirt_link_options {
	const char *run_dir, *store;
	const char *uri; /* NULL: embedded */
	bool kvm;        /* the machine uses it */
	uid_t uid;       /* of QEMU, with the embedded driver */
	gid_t gid;
};

/* Starts the helper. -ENOENT: it is not installed. */
_must_check_ int libvirt_link_open(const struct libvirt_link_options *options,
				   struct libvirt_link **ret, struct error *err);

/* Takes arguments (may be NULL); fd is borrowed, -EBADF: none. ret_result may be NULL; it is NULL
 * where the reply has none. Its reference is the caller's. */
_must_check_ int libvirt_link_call(struct libvirt_link *link, const char *verb, json_t *arguments,
				   int fd, json_t **ret_result, struct error *err);

/* From any thread: a call under way fails. */
void libvirt_link_kill(struct libvirt_link *link);

/* Ends the helper, and waits for that. NULL does nothing. */
void libvirt_link_free(struct libvirt_link *link);
