#include "agent/user.h"

#include <stdlib.h>
#include <string.h>

#include "agent/accounts.h"
#include "base/memory.h"
#include "base/strings.h"

#define PASSWD_FILE "/etc/passwd"
#define GROUP_FILE  "/etc/group"

/* ---------------------------------------------------------------- numbers and names */

/* True where text is digits, whatever number they are. */
static bool is_number(const char *text)
{
	return text[strspn(text, "0123456789")] == '\0';
}

/* The last number is nobody's: it means "as it is". */
static int take_number(const char *text, uint32_t *ret, struct error *err)
{
	uint64_t number;

	if (str_to_u64(text, 0, UINT32_MAX - 1, &number) < 0)
		return error_set(err, EINVAL, "no user and no group has the number %.64s", text);
	*ret = (uint32_t)number;
	return 0;
}

static int check_number(const char *text, struct error *err)
{
	uint32_t number;

	return text && is_number(text) ? take_number(text, &number, err) : 0;
}

static char *copy_unless_empty(const char *text)
{
	return str_empty(text) ? NULL : xstrdup(text);
}

/* ---------------------------------------------------------------- the plan */

static int take_names(struct user_plan *plan, const char *username, const Grpc__StringUser *names,
		      struct error *err)
{
	const char *group = str_empty(username) ? NULL : strchr(username, ':');

	if (!str_empty(username) && names && (!str_empty(names->uid) || !str_empty(names->gid)))
		return error_set(err, EINVAL,
				 "process.user.username and string_user both name a user");
	if (!str_empty(username)) {
		_cleanup_free_ char *user = xstrndup(username, strcspn(username, ":"));
		plan->user = copy_unless_empty(user);
		plan->group = copy_unless_empty(group ? group + 1 : NULL);
	} else if (names) {
		plan->user = copy_unless_empty(names->uid);
		plan->group = copy_unless_empty(names->gid);
	}
	if (names) {
		plan->others = names->additionalgids;
		plan->nothers = names->n_additionalgids;
	}
	return 0;
}

static int check_names(const struct user_plan *plan, struct error *err)
{
	int r = check_number(plan->user, err);

	if (r == 0)
		r = check_number(plan->group, err);
	for (size_t i = 0; r == 0 && i < plan->nothers; i++)
		r = str_empty(plan->others[i])
			    ? error_set(err, EINVAL, "an additional group has no name")
			    : check_number(plan->others[i], err);
	return r;
}

int user_plan_init(const Grpc__User *user, const Grpc__StringUser *names, struct user_plan *ret,
		   struct error *err)
{
	_cleanup_(user_plan_done) struct user_plan plan = {};

	if (user) {
		plan.uid = user->uid;
		plan.gid = user->gid;
		plan.ngroups = user->n_additionalgids;
		if (plan.ngroups > 0)
			plan.groups = xmemdup(user->additionalgids,
					      plan.ngroups * sizeof(*plan.groups));
	}
	int r = take_names(&plan, user ? user->username : NULL, names, err);
	if (r == 0)
		r = check_names(&plan, err);
	if (r < 0)
		return r;
	*ret = plan;
	plan = (struct user_plan){};
	return 0;
}

void user_plan_done(struct user_plan *plan)
{
	free(plan->groups);
	free(plan->user);
	free(plan->group);
	*plan = (struct user_plan){};
}

/* ---------------------------------------------------------------- look-ups */

/* A container need not have such a file: there is nobody in it then. */
static int read_or_empty(const char *path, char **ret_text, struct error *err)
{
	_cleanup_(error_done) struct error reason = {};
	int r = accounts_read(path, ret_text, &reason);

	if (r < 0 && r != -ENOENT) {
		error_move(err, &reason);
		return r;
	}
	if (r < 0)
		*ret_text = xstrdup("");
	return 0;
}

static int find_user(struct user_plan *plan, bool *ret_found, struct account *ret,
		     struct error *err)
{
	_cleanup_free_ char *passwd = NULL;
	bool by_number = is_number(plan->user);
	int r = by_number ? take_number(plan->user, &plan->uid, err) : 0;

	*ret_found = false;
	if (r < 0 || (by_number && plan->group))
		return r;
	r = read_or_empty(PASSWD_FILE, &passwd, err);
	if (r < 0)
		return r;
	*ret_found = accounts_find_user(passwd, by_number ? NULL : plan->user, plan->uid, ret);
	if (!*ret_found && !by_number)
		return error_set(err, EINVAL,
				 "no user \"%.64s\" is in the container's " PASSWD_FILE,
				 plan->user);
	return 0;
}

static int find_group(const char *group, const char *name, gid_t *ret, struct error *err)
{
	if (is_number(name))
		return take_number(name, ret, err);
	if (!accounts_find_group(group, name, ret))
		return error_set(err, EINVAL,
				 "no group \"%.64s\" is in the container's " GROUP_FILE, name);
	return 0;
}

static int add_others(struct user_plan *plan, const char *group, struct error *err)
{
	int r = 0;

	if (plan->nothers == 0)
		return 0;
	plan->groups = xrealloc_array(plan->groups, plan->ngroups + plan->nothers,
				      sizeof(*plan->groups));
	for (size_t i = 0; r == 0 && i < plan->nothers; i++)
		r = find_group(group, plan->others[i], &plan->groups[plan->ngroups++], err);
	return r;
}

int user_plan_complete(struct user_plan *plan, struct error *err)
{
	_cleanup_(account_done) struct account account = {};
	_cleanup_free_ char *group = NULL;
	bool is_listed = false;
	int r = plan->user ? find_user(plan, &is_listed, &account, err) : 0;

	if (r == 0 && (is_listed || plan->group || plan->nothers > 0))
		r = read_or_empty(GROUP_FILE, &group, err);
	if (r < 0)
		return r;
	if (is_listed)
		plan->uid = account.uid;
	if (is_listed && !plan->group) {
		plan->gid = account.gid;
		accounts_add_groups(group, account.name, &plan->groups, &plan->ngroups);
	}
	if (plan->group)
		r = find_group(group, plan->group, &plan->gid, err);
	return r == 0 ? add_others(plan, group, err) : r;
}
