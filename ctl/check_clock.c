/* kiln-ctl check: the clock, which guests are given. */
#include <sys/timex.h>

#include "base/memory.h"
#include "ctl/check.h"

#define SOURCE "/sys/devices/system/clocksource/clocksource0/current_clocksource"

void clock_judge(int state, int status, const char *source, struct check_result *result)
{
	if (state < 0)
		check_unseen(result, "the kernel does not tell");
	else if (state == TIME_ERROR || (status & STA_UNSYNC))
		check_without(result, "guests' clocks are set by the host's, and as wrong",
			      "timedatectl set-ntp true, or apt-get install chrony",
			      "nothing keeps the clock (source %s)", source ? source : "unknown");
	else
		check_fine(result, "kept by a time server; source %s", source ? source : "unknown");
}

void check_clock(const struct check_host *host, struct check_result *result)
{
	_cleanup_free_ char *source = check_host_read(host, SOURCE);
	struct timex clock = {};
	int state = adjtimex(&clock);

	clock_judge(state, clock.status, source, result);
}
