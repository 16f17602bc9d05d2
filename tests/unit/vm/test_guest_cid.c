/* Context ids of guests: which there are. That a host gives one away to one machine alone is for a
 * host that has vhost-vsock (tests/integration/test_vsock.sh). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "factory/vm/guest_cid.h"

static void test_a_guest_has_no_reserved_id(void **state _unused_)
{
	static const uint32_t reserved[] = { 0, 1, 2, UINT32_MAX };

	for (size_t i = 0; i < sizeof(reserved) / sizeof(*reserved); i++)
		assert_int_equal(guest_cid_of(reserved[i]), 0);
	assert_int_equal(guest_cid_of(GUEST_CID_FIRST), GUEST_CID_FIRST);
	assert_int_equal(guest_cid_of(UINT32_MAX - 1), UINT32_MAX - 1);
}

static void test_two_machines_have_two_ids(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};
	_cleanup_close_ int first_fd = -EBADF, second_fd = -EBADF;
	uint32_t first = 0, second = 0;

	if (access("/dev/vhost-vsock", R_OK | W_OK) < 0) {
		assert_true(guest_cid_reserve(&first_fd, &first, &err) < 0);
		assert_non_null(strstr(error_message(&err), "modprobe vhost_vsock"));
		return;
	}
	assert_int_equal(guest_cid_reserve(&first_fd, &first, &err), 0);
	assert_int_equal(guest_cid_reserve(&second_fd, &second, &err), 0);
	assert_true(first >= GUEST_CID_FIRST && second >= GUEST_CID_FIRST && first != second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_guest_has_no_reserved_id),
		cmocka_unit_test(test_two_machines_have_two_ids),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
