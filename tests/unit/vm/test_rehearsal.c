/* The throwaway container that every clone has had. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory.h"
#include "factory/vm/rehearsal.h"

enum { NOT_LOADED = 1, REFUSED = 2 };

static int live_under(const ProtobufCBinaryData *instructions)
{
	const struct sock_fprog program = {
		.len = (unsigned short)(instructions->len / sizeof(struct sock_filter)),
		.filter = (struct sock_filter *)(void *)instructions->data,
	};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		return NOT_LOADED;
	return getppid() > 0 && access("/", F_OK) == 0 ? 0 : REFUSED;
}

static int status_under(const ProtobufCBinaryData *instructions)
{
	int status = -1;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(live_under(instructions));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* Without it the first container that has a profile would pay for the kernel's first filter. */
static void test_it_has_a_filter_that_allows(void **state _unused_)
{
	_cleanup_(storages_done) struct storages storages = {};
	Grpc__Spec *spec = NULL;

	assert_int_equal(rehearsal_make(REHEARSAL_NONE, false, &spec, &storages, NULL), 0);
	assert_true(spec->process->nonewprivileges);
	assert_non_null(spec->linux->seccomp->compiled);
	assert_int_equal(status_under(&spec->linux->seccomp->compiled->instructions), 0);
	/* To an agent that knows none that are compiled it says the same. */
	assert_string_equal(spec->linux->seccomp->defaultaction, "SCMP_ACT_ALLOW");
	grpc__spec__free_unpacked(spec, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_it_has_a_filter_that_allows),
	};
	return cmocka_run_group_tests_name("rehearsal", tests, NULL, NULL);
}
