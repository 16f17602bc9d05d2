/* Profiles, and what the kernel makes of the filters: tried by children. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/strings.h"
#include "proto/pbjson.h"
#include "proto/seccomp_profile.h"

static Grpc__LinuxSeccomp *parse(const char *text)
{
	json_t *json = json_loads(text, 0, NULL);
	ProtobufCMessage *message = NULL;

	assert_non_null(json);
	assert_int_equal(pbjson_to_message(&grpc__linux_seccomp__descriptor, json, PBJSON_STRICT,
					   &message, NULL),
			 0);
	json_decref(json);
	return (Grpc__LinuxSeccomp *)message;
}

static int get(const char *text, struct seccomp_program *ret, struct error *err)
{
	Grpc__LinuxSeccomp *profile = parse(text);
	int r = seccomp_profile_compile(profile, ret, err);

	grpc__linux_seccomp__free_unpacked(profile, NULL);
	return r;
}

/* What a system call gives a process with the filter: 0, an errno, or minus the signal that ended
 * it. */
static int number_under(const struct seccomp_program *filter, long number, long first, long second)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		signal(SIGSYS, SIG_DFL);
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (seccomp_program_load(filter) < 0)
			_exit(200);
		syscall(SYS_exit_group, syscall(number, first, second) < 0 ? errno & 0x7f : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* The same of getpriority(which, who). */
static int call_under(const struct seccomp_program *filter, long which, long who)
{
	return number_under(filter, SYS_getpriority, which, who);
}

static void expect_under(const char *text, long which, long who, int result)
{
	_cleanup_(error_done) struct error err = {};
	struct seccomp_program filter;

	if (get(text, &filter, &err) < 0)
		fail_msg("%s: %s", text, error_message(&err));
	int got = call_under(&filter, which, who);
	if (got != result)
		fail_msg("%s: %d, not %d", text, got, result);
	seccomp_program_done(&filter);
}

#define RULE(action, more)                                                                         \
	"{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"names\": [\"getpriority\"], "   \
	"\"action\": \"SCMP_ACT_" action "\"" more "}]}"
#define ARG(index, op, value, two)                                                                 \
	"{\"index\": " index ", \"op\": \"SCMP_CMP_" op "\", \"value\": " value                    \
	", \"valueTwo\": " two "}"

static void test_actions(void **state _unused_)
{
	expect_under(RULE("ERRNO", ""), 0, 0, EPERM);
	expect_under(RULE("ERRNO", ", \"errnoRet\": 0"), 0, 0, 0);
	expect_under(RULE("ERRNO", ", \"errnoRet\": 95"), 0, 0, EOPNOTSUPP);
	expect_under(RULE("TRACE", ""), 0, 0, ENOSYS);
	expect_under(RULE("LOG", ""), 0, 0, 0);
	expect_under(RULE("TRAP", ""), 0, 0, -SIGSYS);
	expect_under(RULE("KILL", ""), 0, 0, -SIGSYS);
	expect_under(RULE("KILL_PROCESS", ""), 0, 0, -SIGSYS);
	expect_under(RULE("ALLOW", ""), 0, 0, 0);
}

static void test_the_default_has_a_number(void **state _unused_)
{
	static const char format[] = "{\"defaultAction\": \"SCMP_ACT_ERRNO\"%s, \"syscalls\": "
				     "[{\"names\": [\"exit_group\", \"no_such_call\"], "
				     "\"action\": \"SCMP_ACT_ALLOW\"}]}";
	_cleanup_free_ char *plain = xasprintf(format, ""),
			    *numbered = xasprintf(format, ", \"defaultErrnoRet\": 38");

	expect_under(plain, 0, 0, EPERM);
	expect_under(numbered, 0, 0, ENOSYS);
}

#define NAMES_TO_STATX(action, more)                                                               \
	"{\"defaultAction\": \"SCMP_ACT_" action "\"" more ", \"syscalls\": [{\"names\": "         \
	"[\"exit_group\", \"no_such_call\"], \"action\": \"SCMP_ACT_ALLOW\"}, {\"names\": "        \
	"[\"statx\"], \"action\": \"SCMP_ACT_ERRNO\", \"errnoRet\": 95}]}"

/* libc looks for another call where one is unknown, and gives up where it is forbidden. */
static void test_calls_newer_than_the_profile_are_unknown(void **state _unused_)
{
	enum { STATX = 332, NEWER = 424, NEVER = 4000, OF_X32 = 0x40000000 };
	static const struct {
		const char *text;
		long number;
		int result;
	} cases[] = {
		{ NAMES_TO_STATX("ERRNO", ""), SYS_getpriority, EPERM },
		{ NAMES_TO_STATX("ERRNO", ""), STATX, EOPNOTSUPP },
		{ NAMES_TO_STATX("ERRNO", ""), STATX + 1, ENOSYS },
		{ NAMES_TO_STATX("ERRNO", ""), NEWER, ENOSYS },
		{ NAMES_TO_STATX("ERRNO", ""), NEVER, ENOSYS },
		{ NAMES_TO_STATX("ERRNO", ", \"defaultErrnoRet\": 13"), NEWER, ENOSYS },
		{ NAMES_TO_STATX("KILL", ""), SYS_getpriority, -SIGSYS },
		{ NAMES_TO_STATX("KILL", ""), NEVER, ENOSYS },
		/* of x32, which is another architecture */
		{ NAMES_TO_STATX("ERRNO", ""), OF_X32 + SYS_getpriority, -SIGSYS },
		{ NAMES_TO_STATX("ERRNO", ""), OF_X32 + NEVER, -SIGSYS },
		{ "{\"defaultAction\": \"SCMP_ACT_ERRNO\", \"syscalls\": [{\"names\": "
		  "[\"exit_group\", \"getpriority\"], \"action\": \"SCMP_ACT_ALLOW\"}]}",
		  SYS_getpriority, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct seccomp_program filter;

		assert_int_equal(get(cases[i].text, &filter, NULL), 0);
		int got = number_under(&filter, cases[i].number, 0, 0);
		if (got != cases[i].result)
			fail_msg("%ld by %s: %d, not %d", cases[i].number, cases[i].text, got,
				 cases[i].result);
		seccomp_program_done(&filter);
	}
}

/* What a system call of i386 gives a process with the filter, as above. */
static int old_number_under(const struct seccomp_program *filter, int number)
{
	int status, result = number;
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (seccomp_program_load(filter) < 0)
			_exit(200);
		asm volatile("int $0x80" : "+a"(result) : "b"(0), "c"(0) : "memory");
		syscall(SYS_exit_group, result < 0 ? -result & 0x7f : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void test_each_architecture_has_its_own_highest_call(void **state _unused_)
{
	enum { GETPRIORITY = 96, STATX = 383 }; /* of i386 */
	struct seccomp_program filter;

	assert_int_equal(get(NAMES_TO_STATX("ERRNO", ", \"architectures\": [\"SCMP_ARCH_X86\"]"),
			     &filter, NULL),
			 0);
	if (old_number_under(&filter, GETPRIORITY) == -SIGSEGV) {
		seccomp_program_done(&filter);
		skip(); /* this kernel has no calls of i386 */
	}
	assert_int_equal(old_number_under(&filter, GETPRIORITY), EPERM);
	assert_int_equal(old_number_under(&filter, STATX), EOPNOTSUPP);
	assert_int_equal(old_number_under(&filter, STATX + 1), ENOSYS);
	assert_int_equal(number_under(&filter, STATX, 0, 0), ENOSYS); /* x86-64's is 332 */
	seccomp_program_done(&filter);
}

static void test_arguments(void **state _unused_)
{
	static const struct {
		const char *args;
		long which, who;
		bool fits;
	} cases[] = {
		{ ARG("0", "EQ", "1", "0"), 1, 0, true },
		{ ARG("0", "EQ", "1", "0"), 0, 0, false },
		{ ARG("0", "NE", "1", "0"), 0, 0, true },
		{ ARG("1", "LT", "4294967296", "0"), 0, 7, true },
		{ ARG("1", "GE", "4294967296", "0"), 0, 7, false },
		{ ARG("1", "GT", "6", "0"), 0, 7, true },
		{ ARG("1", "LE", "6", "0"), 0, 7, false },
		{ ARG("1", "MASKED_EQ", "12", "8"), 0, 10, true },
		{ ARG("1", "MASKED_EQ", "12", "8"), 0, 14, false },
		/* two arguments: both; one twice: either */
		{ ARG("0", "EQ", "1", "0") "," ARG("1", "EQ", "0", "0"), 1, 0, true },
		{ ARG("0", "EQ", "1", "0") "," ARG("1", "EQ", "0", "0"), 1, 5, false },
		{ ARG("0", "EQ", "1", "0") "," ARG("0", "EQ", "2", "0"), 2, 0, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *text = xasprintf(
			RULE("ERRNO", ", \"errnoRet\": 95, \"args\": [%s]"), cases[i].args);
		_cleanup_(error_done) struct error err = {};
		struct seccomp_program filter;

		if (get(text, &filter, &err) < 0)
			fail_msg("%s: %s", text, error_message(&err));
		assert_int_equal(call_under(&filter, cases[i].which, cases[i].who) == EOPNOTSUPP,
				 cases[i].fits);
		seccomp_program_done(&filter);
	}
}

static void test_what_is_refused_is_named(void **state _unused_)
{
	static const struct {
		const char *text, *sentence;
		int number;
	} cases[] = {
		{ "{}", "linux.seccomp: action \"\" is unknown", EINVAL },
		{ "{\"defaultAction\": \"SCMP_ACT_NOTIFY\"}", "SCMP_ACT_NOTIFY", EOPNOTSUPP },
		{ RULE("NOTIFY", ""), "syscalls[0]: SCMP_ACT_NOTIFY", EOPNOTSUPP },
		{ RULE("X", ""), "action \"SCMP_ACT_X\" is unknown", EINVAL },
		{ RULE("KILL", ", \"errnoRet\": 1"), "SCMP_ACT_KILL cannot have errnoRet 1",
		  EINVAL },
		{ RULE("ERRNO", ", \"errnoRet\": 4096"), "errnoRet 4096", EINVAL },
		{ RULE("ERRNO", ", \"args\": [" ARG("6", "EQ", "0", "0") "]"), "no argument 6",
		  EINVAL },
		{ RULE("ERRNO", ", \"args\": [" ARG("0", "IS", "0", "0") "]"),
		  "operator \"SCMP_CMP_IS\"", EINVAL },
		{ "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": [{\"action\": "
		  "\"SCMP_ACT_ERRNO\"}]}",
		  "no system call is named", EINVAL },
		{ "{\"defaultAction\": \"SCMP_ACT_LOG\", \"syscalls\": [{\"names\": [\"no_such\"], "
		  "\"action\": \"SCMP_ACT_ERRNO\"}]}",
		  "\"no_such\": the system call is unknown", EOPNOTSUPP },
		{ "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"architectures\": [\"X\"]}",
		  "architecture \"X\"", EINVAL },
		{ "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"flags\": [\"F\"]}", "flag \"F\"",
		  EOPNOTSUPP },
		{ "{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"listenerPath\": \"/s\"}",
		  "listenerPath", EOPNOTSUPP },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(error_done) struct error err = {};
		struct seccomp_program filter;

		assert_int_equal(get(cases[i].text, &filter, &err), -cases[i].number);
		if (!strstr(error_message(&err), cases[i].sentence))
			fail_msg("%s: %s", cases[i].text, error_message(&err));
	}
}

static int take(uint8_t *data, size_t len, struct seccomp_program *ret)
{
	Grpc__LinuxSeccomp profile = GRPC__LINUX_SECCOMP__INIT;
	Grpc__CompiledSeccomp compiled = GRPC__COMPILED_SECCOMP__INIT;

	profile.compiled = &compiled;
	compiled.instructions = (ProtobufCBinaryData){ len, data };
	_cleanup_(error_done) struct error err = {};
	return seccomp_profile_compile(&profile, ret, &err);
}

static void test_what_is_compiled_is_taken(void **state _unused_)
{
	struct seccomp_program first, second, none;

	assert_int_equal(get(RULE("ERRNO", ""), &first, NULL), 0);
	size_t len = first.count * sizeof(*first.items);
	assert_int_equal(take((uint8_t *)first.items, len, &second), 0);
	assert_int_equal(call_under(&second, 0, 0), EPERM);
	seccomp_program_done(&second);
	assert_int_equal(take((uint8_t *)first.items, len - 1, &second), -EINVAL);
	assert_int_equal(take(NULL, 0, &second), -EINVAL);
	seccomp_program_done(&first);
	assert_int_equal(seccomp_profile_compile(NULL, &none, NULL), 0);
	assert_int_equal(none.count, 0);
}

static void test_other_architectures_mean_nothing(void **state _unused_)
{
	expect_under("{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"architectures\": "
		     "[\"SCMP_ARCH_X86_64\", \"SCMP_ARCH_X86\", \"SCMP_ARCH_AARCH64\"], "
		     "\"flags\": [\"SECCOMP_FILTER_FLAG_LOG\"], "
		     "\"syscalls\": [{\"names\": [\"getpriority\", \"open\", \"socketcall\"], "
		     "\"action\": \"SCMP_ACT_ERRNO\"}]}",
		     0, 0, EPERM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_actions),
		cmocka_unit_test(test_the_default_has_a_number),
		cmocka_unit_test(test_calls_newer_than_the_profile_are_unknown),
		cmocka_unit_test(test_each_architecture_has_its_own_highest_call),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_what_is_refused_is_named),
		cmocka_unit_test(test_what_is_compiled_is_taken),
		cmocka_unit_test(test_other_architectures_mean_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
