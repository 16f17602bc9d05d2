/* kiln-ctl metrics [SANDBOX], kiln-ctl metrics serve. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/strings.h"
#include "ctl/ctl.h"
#include "ctl/metrics_page.h"
#include "ctl/metrics_serve.h"

#define ADDRESS "127.0.0.1:9482"

static const struct option option_table[] = {
	{ "address", required_argument, NULL, 'a' },
	{ "help", no_argument, NULL, 'h' },
	{ "timeout", required_argument, NULL, 'T' },
	{},
};

struct metrics_args {
	const char *address; /* NULL: none was given */
	unsigned timeout_s;  /* 0: ditto */
	const char *word;    /* behind the command; NULL: none */
};

/* -1: go on; else the exit code. */
static int parse(int argc, char **argv, struct metrics_args *args)
{
	int c;

	optind = 0;
	while ((c = getopt_long(argc, argv, ":h", option_table, NULL)) != -1) {
		if (c == 'h')
			return ctl_help(&ctl_metrics);
		if (c == 'a')
			args->address = optarg;
		else if (c != 'T')
			return ctl_usage_option(&ctl_metrics, c, argv);
		else if (!ctl_parse_seconds(optarg, &args->timeout_s))
			return ctl_usage(&ctl_metrics, "--timeout wants seconds, 1 to 86400");
	}
	if (optind < argc)
		args->word = argv[optind++];
	if (optind < argc)
		return ctl_usage(&ctl_metrics, "'%s' is one word too many", argv[optind]);
	if (args->address && !str_equal(args->word, "serve"))
		return ctl_usage(&ctl_metrics, "--address is for serve");
	return -1;
}

static int serve(const struct metrics_args *args)
{
	const struct metrics_serve_options options = {
		.address = args->address ? args->address : ADDRESS,
		.timeout_ms = args->timeout_s * 1000,
	};
	_cleanup_(error_done) struct error err = {};

	return metrics_serve(&options, &err) < 0 ? ctl_fail(&err) : CTL_OK;
}

static void print_page(const struct sandboxes *sandboxes, uint64_t begun_ns)
{
	_cleanup_(strbuf_done) struct strbuf page = {};

	metrics_page_write(sandboxes, (double)(clock_monotonic_ns() - begun_ns) / 1e9, &page);
	fputs(strbuf_text(&page), stdout);
}

static int print_once(const struct metrics_args *args)
{
	const struct sandboxes_options options = {
		.timeout_ms = args->timeout_s * 1000,
		.guest = true,
	};
	_cleanup_(sandboxes_done) struct sandboxes sandboxes = {};
	_cleanup_(error_done) struct error err = {};
	uint64_t begun_ns = clock_monotonic_ns();
	const struct sandbox *sandbox;

	if (sandboxes_get(&options, &sandboxes, &err) < 0)
		return ctl_fail(&err);
	if (!args->word) {
		print_page(&sandboxes, begun_ns);
		return CTL_OK;
	}
	if (sandboxes_find(&sandboxes, args->word, &sandbox, &err) < 0)
		return ctl_fail(&err);
	print_page(&(struct sandboxes){ (struct sandbox *)(uintptr_t)sandbox, 1 }, begun_ns);
	return CTL_OK;
}

static int metrics_run(int argc, char **argv)
{
	struct metrics_args args = {};
	int code = parse(argc, argv, &args);

	if (code >= 0)
		return code;
	return str_equal(args.word, "serve") ? serve(&args) : print_once(&args);
}

static const char *word(size_t i)
{
	return i == 0 ? "serve" : NULL;
}

const struct ctl_command ctl_metrics = {
	.name = "metrics",
	.usage = "kiln-ctl metrics [SANDBOX] [--timeout SECONDS]\n"
		 "       kiln-ctl metrics serve [--address ADDRESS] [--timeout SECONDS]",
	.summary = "what the sandboxes of this host use, for Prometheus",
	.help = "Prints in Prometheus' text format what shims, VMMs, guests and containers use, of\n"
		"all sandboxes or of one; serve answers it on http://ADDRESS/metrics, until SIGTERM.\n"
		"All sandboxes are asked at once. Of one that hangs there is kiln_sandbox_up 0, of one\n"
		"whose guest does kiln_sandbox_guest_up 0. As root, for the shims' sockets are root's.\n"
		"The factory's own metrics are on its own page.\n\n"
		"Options:\n"
		"      --address ADDRESS ADDRESS:PORT of IPv4, or a Unix socket's path; default\n"
		"                        " ADDRESS "\n"
		"      --timeout SECONDS for a sandbox's answers (default 2)\n"
		"  -h, --help            this text\n",
	.options = option_table,
	.word = word,
	.run = metrics_run,
};
