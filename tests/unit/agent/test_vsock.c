/* Who may connect to the agent by vsock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/socket.h>

#include "agent/vsock.h"

static struct sockaddr_vm from(unsigned cid, unsigned port)
{
	return (struct sockaddr_vm){ .svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port };
}

static void test_only_the_host_may(void **state _unused_)
{
	static const unsigned others[] = { VMADDR_CID_HYPERVISOR, VMADDR_CID_LOCAL, 3, 77,
					   VMADDR_CID_ANY };

	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		struct sockaddr_vm peer = from(others[i], 1023);
		assert_false(vsock_peer_may(&peer, true));
		assert_false(vsock_peer_may(&peer, false));
	}
	assert_false(vsock_peer_may(&(struct sockaddr_vm){}, true));
}

static void test_of_the_host_only_who_is_privileged(void **state _unused_)
{
	struct sockaddr_vm root = from(VMADDR_CID_HOST, 1023),
			   anybody = from(VMADDR_CID_HOST, 1024);

	assert_true(vsock_peer_may(&root, false));
	assert_false(vsock_peer_may(&anybody, false));
	assert_true(vsock_peer_may(&root, true));
	assert_true(vsock_peer_may(&anybody, true));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_the_host_may),
		cmocka_unit_test(test_of_the_host_only_who_is_privileged),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
