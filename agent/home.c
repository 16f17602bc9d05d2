#include "agent/home.h"

#include "agent/accounts.h"
#include "base/memory.h"

char *home_variable(uid_t uid)
{
	_cleanup_(account_done) struct account account = {};
	_cleanup_free_ char *passwd = NULL;

	if (accounts_read("/etc/passwd", &passwd, NULL) == 0 &&
	    accounts_find_user(passwd, NULL, uid, &account) && account.home[0] == '/')
		return xasprintf("HOME=%s", account.home);
	return xstrdup("HOME=/");
}
