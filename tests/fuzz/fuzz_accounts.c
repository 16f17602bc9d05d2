/* Bytes as a container's /etc/passwd and /etc/group, with a name that is looked up in both: who is
 * found has that name, and a number that somebody can have. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/accounts.h"
#include "base/memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_number(uint32_t number)
{
	if (number == UINT32_MAX)
		abort();
}

static void look_up_user(const char *passwd, const char *name, uid_t uid)
{
	_cleanup_(account_done) struct account account = {};

	if (!accounts_find_user(passwd, name, uid, &account))
		return;
	check_number(account.uid);
	check_number(account.gid);
	if (name ? strcmp(account.name, name) != 0 : account.uid != uid)
		abort();
	if (!*account.name || strpbrk(account.name, ":\n") || strpbrk(account.home, ":\n"))
		abort();
}

static void look_up_groups(const char *group, const char *name)
{
	_cleanup_free_ gid_t *groups = NULL;
	size_t count = 0;
	gid_t gid;

	if (accounts_find_group(group, name, &gid))
		check_number(gid);
	accounts_add_groups(group, name, &groups, &count);
	for (size_t i = 0; i < count; i++)
		check_number(groups[i]);
	if (count > 0 && !strstr(group, name))
		abort();
}

/* The name is what comes before the first zero byte. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t used = strnlen((const char *)data, size);
	_cleanup_free_ char *name = xstrndup((const char *)data, used);
	_cleanup_free_ char *text = used < size ? xstrndup((const char *)data + used + 1,
							   size - used - 1)
						: xstrdup("");

	look_up_user(text, name, 0);
	look_up_user(text, NULL, (uid_t)size);
	look_up_groups(text, name);
	return 0;
}
