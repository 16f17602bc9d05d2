/* A container's /etc/passwd and /etc/group (passwd(5), group(5)).
 *
 * The files are the container's and may be anything: they are read up to a bound, only where they
 * are plain files, and no link leads out of the root or through /proc to something that is open. A
 * line that is none is passed over; of several lines about one name or number the first counts, as
 * for everybody else who reads them.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

enum { ACCOUNTS_MAX = 1024 * 1024 /* bytes of a file */ };

/* One line of /etc/passwd. */
struct account {
	uid_t uid;
	gid_t gid;
	char *name; /* owned */
	char *home; /* owned; "" where the line has none */
};

/* The text of a file, by its path in the calling process' root; the caller frees. -ENOENT,
 * -EFBIG beyond ACCOUNTS_MAX, -EINVAL: it is no plain file. */
_must_check_ int accounts_read(const char *path, char **ret_text, struct error *err);

/* Who has this name, or, where it is NULL, this number. False: nobody has. */
_must_check_ bool accounts_find_user(const char *passwd, const char *name, uid_t uid,
				     struct account *ret);
void account_done(struct account *account);

/* The number of the group of this name. False: there is none. */
_must_check_ bool accounts_find_group(const char *group, const char *name, gid_t *ret_gid);

/* Appends the numbers of the groups whose lines have the user as a member: *groups is owned by the
 * caller, and has *count of them. */
void accounts_add_groups(const char *group, const char *user, gid_t **groups, size_t *count);
