/* Which sockets a machine's VMM can make. Each in a process of its own, which stays as it was made.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/strings.h"
#include "factory/jail/jail_priv.h"

/* The errno of socket(2) in there; 0: there is one. */
static int try_family(int family)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || jail_refuse_sockets())
			_exit(255);
		_exit(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0 ? 0 : errno);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_unix_sockets_and_no_others(void **state _unused_)
{
	static const int others[] = { AF_INET, AF_INET6, AF_NETLINK, AF_VSOCK, AF_PACKET, AF_ALG };

	assert_int_equal(try_family(AF_UNIX), 0);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_int_equal(try_family(others[i]), EPERM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unix_sockets_and_no_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
