#include "ctl/replaced.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/strings.h"

#define DELETED " (deleted)" /* which the kernel puts after the name of a file without one */

bool program_is_replaced(pid_t pid)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/exe", (int)pid);
	char program[PATH_MAX + sizeof(DELETED)];
	ssize_t len = pid > 0 ? readlink(path, program, sizeof(program) - 1) : -1;

	if (len < (ssize_t)strlen(DELETED))
		return false;
	program[len] = '\0';
	return str_equal(program + len - strlen(DELETED), DELETED);
}
