#include "base/open_files.h"

#include <sys/resource.h>

/* Both 0: nothing was raised. */
static rlim_t given, raised;

void open_files_raise(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= limit.rlim_max)
		return;
	rlim_t before = limit.rlim_cur;

	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	given = before;
	raised = limit.rlim_max;
}

void open_files_restore(void)
{
	struct rlimit limit;

	if (raised == 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur != raised)
		return;
	limit.rlim_cur = given;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}
