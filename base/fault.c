#include "base/fault.h"

#ifdef KILN_FAULTS

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"

enum { ARMED_MAX = 256, ERROR_NAMES = 256 };

/* How often the armed point was passed. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t passings;

/* What is armed, NULL: nothing; the file it is from, NULL: the environment. */
static char *read_armed(const char **ret_file)
{
	const char *variable = getenv("KILN_FAULT");
	char *text = NULL;

	*ret_file = variable ? str_after(variable, "@") : NULL;
	if (!*ret_file)
		return xstrdup(variable);
	if (file_read(*ret_file, ARMED_MAX, &text, NULL, NULL) == 0)
		text[strcspn(text, "\n")] = '\0';
	return text;
}

/* A name as in errno.h; 0: there is none such. */
static int error_of_name(const char *name)
{
	for (int number = 1; number < ERROR_NAMES; number++) {
		if (str_equal(strerrorname_np(number), name))
			return number;
	}
	return 0;
}

/* Takes ":n" off the end. */
static uint64_t take_passing(char *armed)
{
	char *colon = strrchr(armed, ':');
	uint64_t nth = 1;

	if (colon) {
		(void)!str_to_u64(colon + 1, 1, UINT32_MAX, &nth);
		*colon = '\0';
	}
	return nth;
}

/* What happens at the point now: nothing (false), or an errno, 0: a kill. A point that is no step
 * can only kill. */
static bool is_due(const char *name, bool is_step, int *ret_error)
{
	const char *file;
	_cleanup_free_ char *armed = read_armed(&file);
	if (!armed)
		return false;
	uint64_t nth = take_passing(armed);
	char *equals = strchr(armed, '=');

	if (equals)
		*equals = '\0';
	if (!str_equal(armed, name) || (equals && !is_step) || ++passings != nth)
		return false;
	if (file) {
		passings = 0;
		(void)unlink(file);
	}
	*ret_error = equals ? error_of_name(equals + 1) : 0;
	return true;
}

/* The errno that the step fails with, 0: it does not. */
static int pass(const char *name, bool is_step)
{
	int number = 0;

	pthread_mutex_lock(&lock);
	bool due = is_due(name, is_step, &number);
	pthread_mutex_unlock(&lock);
	if (due && number == 0) {
		log_info(NULL, "killed at fault point %s", name);
		(void)kill(getpid(), SIGKILL);
	}
	return number;
}

void fault_pass(const char *name)
{
	(void)pass(name, false);
}

int fault_error(const char *name, struct error *err)
{
	int number = pass(name, true);

	if (number == 0)
		return 0;
	log_info(NULL, "%s at fault point %s", strerrorname_np(number), name);
	return error_set_errno(err, number, "fault point %s", name);
}

#else

/* A source file is never empty. */
typedef int fault_points_are_not_built;

#endif
