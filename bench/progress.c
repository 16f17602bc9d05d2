#include "bench/progress.h"

#include <stdio.h>
#include <unistd.h>

void progress_init(struct progress *progress, bool wanted)
{
	bool terminal = isatty(STDERR_FILENO);

	*progress = (struct progress){ .on = wanted || terminal, .terminal = terminal };
}

void progress_begin(struct progress *progress, const char *scenario)
{
	progress->scenario = scenario;
	if (progress->on && !progress->terminal)
		fprintf(stderr, "bench: %s\n", scenario);
}

void progress_step(struct progress *progress, unsigned done, unsigned total)
{
	if (!progress->on || !progress->terminal)
		return;
	if (total > 0)
		fprintf(stderr, "\r\033[Kbench: %s %u/%u", progress->scenario, done, total);
	else
		fprintf(stderr, "\r\033[Kbench: %s %u", progress->scenario, done);
}

void progress_end(struct progress *progress)
{
	if (progress->on && progress->terminal)
		fputs("\r\033[K", stderr);
}
