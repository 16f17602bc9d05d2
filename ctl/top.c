/* kiln-ctl top. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/sandbox_args.h"
#include "ctl/screen.h"
#include "ctl/top_show.h"

enum { INTERVAL_S = 2 };

static const struct option option_table[] = {
	{ "help", no_argument, NULL, 'h' },
	{ "interval", required_argument, NULL, 'T' },
	{ "once", no_argument, NULL, 'o' },
	{},
};

static void on_interrupt(int signo _unused_)
{
	_exit(CTL_OK);
}

static int look(struct top_look *ret)
{
	const struct sandbox_args args = {};
	struct sandboxes sandboxes;
	int code = sandbox_args_get(&args, false, &sandboxes);

	if (code == CTL_OK)
		top_look_at(&sandboxes, ret);
	return code;
}

static void show(const struct top_look *before, const struct top_look *now, bool in_place)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		abort(); /* out of memory */
	top_print(before, now, out);
	fclose(out);
	if (in_place)
		screen_redraw(text, stdout);
	else
		fputs(text, stdout);
	fflush(stdout);
}

static int watch(bool once, unsigned interval_s)
{
	_cleanup_(top_look_done) struct top_look before = {}, now = {};
	bool in_place = !once && isatty(STDOUT_FILENO);
	int code = look(&before);

	if (in_place)
		screen_clear(stdout);
	while (code == CTL_OK) {
		sleep(interval_s);
		code = look(&now);
		if (code != CTL_OK)
			return code;
		show(&before, &now, in_place);
		if (once)
			return CTL_OK;
		top_look_done(&before);
		before = now;
		now = (struct top_look){};
		if (!in_place)
			putchar('\n');
	}
	return code;
}

static int top_run(int argc, char **argv)
{
	const struct sigaction interrupt = { .sa_handler = on_interrupt };
	struct sandbox_args args;
	int code = sandbox_args_parse(&ctl_top, argc, argv, &args);

	if (code >= 0)
		return code;
	if (args.nwords > 0)
		return ctl_usage(&ctl_top, "'%s' is one word too many", args.words[0]);
	sigaction(SIGINT, &interrupt, NULL);
	return watch(args.once, args.timeout_s ? args.timeout_s : INTERVAL_S);
}

const struct ctl_command ctl_top = {
	.name = "top",
	.usage = "kiln-ctl top [--once] [--interval SECONDS]",
	.summary = "what the sandboxes of this host use, live",
	.help = "A line for each sandbox, the busiest first, again and again until Ctrl-C: the CPU time\n"
		"of its VMM and shim in the interval, in per cent of one processor; the memory that is\n"
		"its own, the part that it shares with its template's, and how much its guest sees; how\n"
		"many of its containers run. Guests are not asked.\n\n"
		"Options:\n"
		"      --interval SECONDS  1 to 86400, default 2\n"
		"      --once              one interval, then the end\n"
		"  -h, --help              this text\n",
	.options = option_table,
	.run = top_run,
};
