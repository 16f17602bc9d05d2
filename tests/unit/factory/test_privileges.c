/* The capabilities that the factory keeps: the unit's list is the program's, and no other is left.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "factory/jailer/kept_privileges.h"

#define UNIT     "templates/systemd/kiln-jailer.service"
#define SETTING  "\nCapabilityBoundingSet="
#define CAPS_MAX 64

/* The value of the unit's setting; the caller frees. */
static char *unit_capabilities(void)
{
	_cleanup_free_ char *text = NULL;

	assert_int_equal(file_read(UNIT, 1 << 16, &text, NULL, NULL), 0);
	const char *value = strstr(text, SETTING);
	assert_non_null(value);
	value += strlen(SETTING);
	return xstrndup(value, strcspn(value, "\n"));
}

static unsigned number_of(const char *name)
{
	unsigned number = 0;

	while (number < CAPS_MAX &&
	       !(privilege_name(number) && str_equal(privilege_name(number), name)))
		number++;
	return number;
}

static void test_the_unit_has_the_same_list(void **state _unused_)
{
	_cleanup_free_ char *words = unit_capabilities();
	size_t in_unit = 0, in_program = 0;
	char *rest = NULL;

	for (char *word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		if (number_of(word) == CAPS_MAX)
			fail_msg("only the unit has %s", word);
		in_unit++;
	}
	for (unsigned cap = 0; cap < CAPS_MAX; cap++)
		in_program += privilege_name(cap) != NULL;
	assert_int_equal(in_unit, in_program);
}

static uint64_t status_mask(const char *field)
{
	_cleanup_free_ char *text = NULL;

	assert_int_equal(file_read("/proc/self/status", 1 << 16, &text, NULL, NULL), 0);
	const char *value = strstr(text, field);
	assert_non_null(value);
	return strtoull(value + strlen(field), NULL, 16);
}

/* What a child has after it, of what there was before: bit 0 the bounding set, bit 1 its own. */
static int dropped_wrongly(uint64_t bounding, uint64_t permitted)
{
	uint64_t kept = 0;

	for (unsigned cap = 0; cap < CAPS_MAX; cap++)
		kept |= privilege_name(cap) ? UINT64_C(1) << cap : 0;
	if (privileges_drop(NULL) < 0)
		return 4;
	return (status_mask("CapBnd:") != (bounding & kept)) |
	       (status_mask("CapPrm:") != (permitted & kept)) << 1 |
	       (status_mask("CapEff:") != (permitted & kept)) << 1;
}

static void test_nothing_else_is_left(void **state _unused_)
{
	uint64_t bounding = status_mask("CapBnd:");
	uint64_t permitted = status_mask("CapPrm:");
	int status;

	if (geteuid() != 0)
		skip();
	pid_t child = fork();
	if (child == 0)
		_exit(dropped_wrongly(bounding, permitted));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_unit_has_the_same_list),
		cmocka_unit_test(test_nothing_else_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
