/* Who a container's process is: numbers, or names that the container's own /etc/passwd and
 * /etc/group turn into numbers.
 *
 * Numbers come as process.user of an OCI configuration. Names come as its `username` ("user" or
 * "user:group") or as Kata's `string_user`; what of it is a decimal number is one. As Kata's agent
 * and runc have it:
 *
 *   user   a name must be in /etc/passwd. A number need not be.
 *   group  a name must be in /etc/group. Where none is given it is the user's of /etc/passwd, and
 *          the process is also in the groups that have the user as a member; without a line about
 *          the user it is process.user.gid, and no others.
 *   additional groups   are added to process.user.additionalGids. A name must be in /etc/group.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "proto/agent.pb-c.h"

struct user_plan {
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* owned; additional ones */
	size_t ngroups;
	/* What is to be looked up, until user_plan_complete(). */
	char *user, *group;  /* owned; NULL: none */
	char *const *others; /* borrowed; additional groups */
	size_t nothers;
};

/* Both may be NULL, and must outlive the plan. -EINVAL: both name a user, or a number is none. */
_must_check_ int user_plan_init(const Grpc__User *user, const Grpc__StringUser *names,
				struct user_plan *ret, struct error *err);
void user_plan_done(struct user_plan *plan);

/* For the child, in the container's root: looks names up. -EINVAL with the name and the file: it is
 * not there; or what accounts_read() says (agent/accounts.h). Opens nothing where there are only
 * numbers. */
_must_check_ int user_plan_complete(struct user_plan *plan, struct error *err);
