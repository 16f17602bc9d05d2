#include "base/fault.h"

#ifdef KILN_FAULTS

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/strings.h"

/* How often the point is still passed alive. */
static atomic_ulong passings_left;

static bool is_armed(const char *name)
{
	const char *armed = getenv("KILN_FAULT");
	const char *rest = armed ? str_after(armed, name) : NULL;
	return rest && (*rest == '\0' || *rest == ':');
}

static void __attribute__((constructor)) read_passings(void)
{
	const char *armed = getenv("KILN_FAULT");
	const char *colon = armed ? strrchr(armed, ':') : NULL;
	uint64_t nth = 1;

	if (colon)
		(void)!str_to_u64(colon + 1, 1, UINT32_MAX, &nth);
	atomic_store(&passings_left, nth - 1);
}

void fault_pass(const char *name)
{
	if (!is_armed(name))
		return;
	if (atomic_load(&passings_left) > 0) {
		atomic_fetch_sub(&passings_left, 1);
		return;
	}
	log_info(NULL, "killed at fault point %s", name);
	(void)kill(getpid(), SIGKILL);
}

#else

/* A source file is never empty. */
typedef int fault_points_are_not_built;

#endif
