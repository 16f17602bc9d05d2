/* kiln-ctl bug-report: one archive with what somebody needs who is to find a fault. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/spawn.h"
#include "base/strings.h"
#include "ctl/bug_files.h"
#include "ctl/check_run.h"
#include "ctl/ctl.h"
#include "ctl/env.h"
#include "ctl/factory_link.h"
#include "ctl/factory_show.h"
#include "ctl/page.h"
#include "ctl/toml_write.h"
#include "proto/pbjson.h"

enum {
	ASK_TIMEOUT_S = 10,
	LOG_MAX = 4 << 20, /* of each log; its end */
	DEFINITION_MAX = 1 << 20,
};
#define JOURNAL_LINES "20000" /* of the newest */

static const char readme[] =
	"A report by kiln-ctl bug-report. Look through it before you give it away: logs and consoles\n"
	"have what programs wrote there, and the ids of sandboxes.\n"
	"\n"
	"Not in it: environments, annotations, containers' output and files, and memory.\n"
	"\n"
	"Packed:\n";

/* ---------------------------------------------------------------- what is always there */

typedef void (*print_fn)(const void *object, FILE *out);

static void print_env(const void *object, FILE *out)
{
	toml_write(object, out);
}

static void print_checks(const void *object, FILE *out)
{
	check_report_print(object, out);
}

static void print_status(const void *object, FILE *out)
{
	status_print_json(object, out);
}

static void add_printed(struct bug_files *files, const char *name, print_fn print,
			const void *object, const char *about)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		abort(); /* out of memory */
	print(object, out);
	fclose(out);
	bug_files_add(files, name, text, about);
	free(text);
}

static void add_host(struct bug_files *files, const struct check_host *host)
{
	struct check_report report;
	json_t *env = env_collect(host);

	add_printed(files, "env.toml", print_env, env, "kiln-ctl env");
	bug_files_add_json(files, "env.json", env, "the same as JSON");
	json_decref(env);
	check_run(host, NULL, 0, &report);
	add_printed(files, "check.txt", print_checks, &report, "kiln-ctl check");
	json_t *checks = check_report_json(&report);
	bug_files_add_json(files, "check.json", checks, "the same as JSON");
	json_decref(checks);
	check_report_done(&report);
}

static void add_definitions(struct bug_files *files, const struct check_host *host)
{
	if (host->definitions.count == 0)
		bug_files_leave(files, "definitions", "%s",
				error_message(&host->definitions_error));
	for (size_t i = 0; i < host->definitions.count; i++) {
		const struct template_definition *template = host->definitions.items[i];
		_cleanup_free_ char *name = xasprintf("definitions/%s.json", template->name);
		_cleanup_(error_done) struct error err = {};
		_cleanup_free_ char *text = NULL;
		if (file_read(template->path, DEFINITION_MAX, &text, NULL, &err) < 0)
			bug_files_leave(files, name, "%s", error_message(&err));
		else
			bug_files_add(files, name, text, "a template's definition");
	}
}

/* ---------------------------------------------------------------- what a factory says */

static void ask(struct bug_files *files, struct factory_link *link, const char *method,
		const ProtobufCMessage *request, const char *name, const char *about)
{
	_cleanup_(error_done) struct error err = {};
	ProtobufCMessage *response = NULL;

	if (factory_link_call(link, method, request, ASK_TIMEOUT_S, &response, &err) < 0)
		return bug_files_leave(files, name, "%s", error_message(&err));
	if (str_equal(method, "Console")) {
		const Kiln__Factory__V1__ConsoleResponse *console = (const void *)response;
		bug_files_add(files, name, console->text, about);
	} else {
		json_t *object = pbjson_from_message(response, PBJSON_EMIT_DEFAULTS);
		bug_files_add_json(files, name, object, about);
		json_decref(object);
	}
	protobuf_c_message_free_unpacked(response, NULL);
}

static void add_template(struct bug_files *files, struct factory_link *link, char *name)
{
	Kiln__Factory__V1__ConsoleRequest console = KILN__FACTORY__V1__CONSOLE_REQUEST__INIT;
	Kiln__Factory__V1__InspectRequest inspect = KILN__FACTORY__V1__INSPECT_REQUEST__INIT;
	_cleanup_free_ char *text = xasprintf("consoles/%s.txt", name);
	_cleanup_free_ char *json = xasprintf("templates/%s.json", name);

	/* It comes by a socket, and becomes the name of a file. */
	if (!id_is_valid(name))
		return;
	console.template_ = inspect.template_ = name;
	ask(files, link, "Console", &console.base, text, "the guest's console of its bake");
	ask(files, link, "Inspect", &inspect.base, json, "kiln-ctl factory inspect");
}

static void add_factory(struct bug_files *files, const struct check_host *host)
{
	_cleanup_(factory_link_done) struct factory_link link = {};
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *metrics = NULL;

	if (!host->status) {
		bug_files_leave(files, "status.json, consoles, templates", "%s",
				error_message(&host->status_error));
	} else if (factory_link_open(host->address, &link, &err) < 0) {
		bug_files_leave(files, "consoles, templates", "%s", error_message(&err));
	} else {
		add_printed(files, "status.json", print_status, host->status,
			    "kiln-ctl factory status --json");
		for (size_t i = 0; i < host->status->n_templates; i++)
			add_template(files, &link, host->status->templates[i]->name);
	}
	error_done(&err);
	if (!host->configured)
		bug_files_leave(files, "metrics.txt", "the configuration cannot be read");
	else if (page_read(host->config.http_socket, "/metrics", &metrics, &err) < 0)
		bug_files_leave(files, "metrics.txt", "%s", error_message(&err));
	else
		bug_files_add(files, "metrics.txt", metrics, "the factory's page /metrics");
}

/* ---------------------------------------------------------------- logs */

static void add_logs(struct bug_files *files, const struct check_host *host)
{
	_cleanup_free_ char *journalctl = check_program_find("journalctl");
	_cleanup_free_ char *usual = path_join(host->config.run_dir, "factory.log");
	const char *log = host->config.log_file ? host->config.log_file : usual;

	bug_files_add_end(files, "factory.log", log, LOG_MAX, "the end of the factory's log");
	/* The shim's lines are in there, and at containerd's debug level what pods were given. */
	bug_files_leave(files, "containerd's journal",
			"it may have secrets of pods: look at journalctl --unit containerd");
	if (!journalctl)
		return bug_files_leave(files, "journal.txt", "there is no journalctl");
	bug_files_add_output(files, "journal.txt",
			     SPAWN_ARGV(journalctl, "--no-pager", "--lines", JOURNAL_LINES,
					"--unit", "kiln-factory", "--unit", "kiln-jailer"),
			     "the units kiln-factory and kiln-jailer");
}

/* ---------------------------------------------------------------- the command */

struct report_args {
	struct check_options check;
	const char *output; /* NULL: in this folder, named after the time */
};

static char *usual_name(void)
{
	time_t now = time(NULL);
	char stamp[32] = "";
	struct tm tm;

	if (gmtime_r(&now, &tm))
		strftime(stamp, sizeof(stamp), "%Y%m%d-%H%M%S", &tm);
	return xasprintf("kiln-bug-report-%s.tar.gz", stamp);
}

static void add_readme(struct bug_files *files)
{
	_cleanup_free_ char *text = xasprintf(
		"%s%s\nLeft out:\n%s", readme, strbuf_text(&files->packed),
		files->left.len > 0 ? files->left.text : "  nothing\n");

	bug_files_add(files, "README", text, "this list");
}

static int make_report(const struct report_args *args)
{
	_cleanup_(bug_files_done) struct bug_files files = {};
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *usual = usual_name();
	const char *output = args->output ? args->output : usual;
	struct check_host host;

	if (bug_files_open(&files, &err) < 0)
		return ctl_fail(&err);
	check_host_open(&args->check, &host);
	add_host(&files, &host);
	add_definitions(&files, &host);
	add_factory(&files, &host);
	add_logs(&files, &host);
	check_host_done(&host);
	add_readme(&files);
	if (bug_files_pack(&files, output, &err) < 0)
		return ctl_fail(&err);
	printf("%s\n\nPacked:\n%s\nLeft out:\n%s\n", output, strbuf_text(&files.packed),
	       files.left.len > 0 ? files.left.text : "  nothing\n");
	puts("Look through it before you give it away: logs have what programs wrote there.");
	return CTL_OK;
}

/* Ctrl-C waits until nothing is left behind. */
static int make_report_whole(const struct report_args *args)
{
	sigset_t ends, before;

	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigprocmask(SIG_BLOCK, &ends, &before);
	int code = make_report(args);
	fflush(stdout);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return code;
}

static const struct option option_table[] = {
	{ "config", required_argument, NULL, 'c' },
	{ "containerd-config", required_argument, NULL, 'C' },
	{ "help", no_argument, NULL, 'h' },
	{ "output", required_argument, NULL, 'o' },
	{ "socket", required_argument, NULL, 's' },
	{},
};

static int bug_report_run(int argc, char **argv)
{
	struct report_args args = { .check.root = "" };
	int c;

	optind = 0;
	while ((c = getopt_long(argc, argv, ":ho:", option_table, NULL)) != -1) {
		if (c == 'h')
			return ctl_help(&ctl_bug_report);
		else if (c == 'c')
			args.check.config = optarg;
		else if (c == 'C')
			args.check.containerd = optarg;
		else if (c == 'o')
			args.output = optarg;
		else if (c == 's')
			args.check.socket = optarg;
		else
			return ctl_usage_option(&ctl_bug_report, c, argv);
	}
	if (optind < argc)
		return ctl_usage(&ctl_bug_report, "'%s' is one word too many", argv[optind]);
	return make_report_whole(&args);
}

const struct ctl_command ctl_bug_report = {
	.name = "bug-report",
	.usage = "kiln-ctl bug-report [--output FILE] [OPTIONS]",
	.summary = "pack env, check, status, metrics, logs and consoles into a tar.gz",
	.help = "Gathers what somebody needs who is to find a fault, each thing where it can be had, and\n"
		"says what was packed and what was left out, and why: env, check, the factory's status\n"
		"and metrics, its log and the journal of its units, the definitions of the templates,\n"
		"what they were baked from and the consoles of their bakes.\n"
		"\n"
		"Nothing of environments, annotations, containers' output and files, or memory is in\n"
		"it. Logs have what programs wrote there: look through them before you give them away.\n"
		"\n"
		"Options:\n"
		"      --config FILE     the factory's configuration, default " FACTORY_CONFIG_PATH
		"\n"
		"      --containerd-config FILE  containerd's, default its own default\n"
		"  -o, --output FILE     must not be there yet; readable by you alone. Default\n"
		"                        kiln-bug-report-TIME.tar.gz in this folder\n"
		"      --socket PATH     of the factory, default $KILN_FACTORY or as configured\n"
		"  -h, --help            this text\n",
	.options = option_table,
	.run = bug_report_run,
};
