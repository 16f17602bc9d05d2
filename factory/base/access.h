/* Who may use the factory's socket: root, and the users and groups of the configuration.
 *
 * Two gates. The mode of the socket file keeps out whom it can: 0600 where nobody is named;
 * 0660 with the group where exactly one group and no user is; else 0666. Then each connection
 * is checked by the credentials the kernel keeps of it (SO_PEERCRED, SO_PEERGROUPS), whatever
 * the mode, so also on a socket that the service manager has made.
 */
#pragma once

#include "base/socket.h"

struct access;

/* Comma-separated names or numbers, NULL or "" for none. A name that the host does not know is
 * -EINVAL with a sentence. */
_must_check_ int access_new(const char *uids, const char *groups, struct access **ret_access,
			    struct error *err);
void access_free(struct access *access);
DEFINE_CLEANUP(struct access *, access_free)

/* Of the socket file, which is root's. */
struct socket_access {
	mode_t mode;
	gid_t group;
};
struct socket_access access_of_socket(const struct access *access);

/* As root. Its folder becomes searchable (0711) where others than root may come. */
_must_check_ int access_set(const struct socket_access *access, const char *socket_path,
			    struct error *err);

/* 0, or -EACCES for a peer that may not; fd is its connection. */
_must_check_ int access_check(struct access *access, int fd, const struct peer *peer);
/* A connection was refused: a line of the audit trail (base/audit.h), once a second at most. */
void access_refused(struct access *access, const struct peer *peer, const char *reason);
