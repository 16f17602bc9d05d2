/* kiln-ctl factory init | status | destroy | list | ... */
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>

#include "base/strings.h"
#include "ctl/ctl.h"
#include "ctl/dashboard.h"
#include "ctl/factory_init.h"
#include "ctl/factory_link.h"
#include "ctl/factory_pool.h"
#include "ctl/factory_show.h"
#include "ctl/factory_status.h"
#include "ctl/factory_template.h"

#define INIT_TIMEOUT_S    600
#define DESTROY_TIMEOUT_S 120
#define LIST_TIMEOUT_S    10

struct factory_args {
	const char *socket;
	const char *template_name; /* NULL: all */
	char *const *names;        /* of init and destroy, borrowed */
	int nnames;
	unsigned timeout_s; /* 0: the verb's own */
	bool json;
	unsigned watch_s; /* 0: do not watch */
	unsigned count;   /* of warm */
	unsigned port;    /* of dashboard; 0: the usual one */
	const char *traces;
};

struct verb {
	const char *name;
	int (*run)(struct factory_link *link, const struct factory_args *args);
	int (*run_alone)(const struct factory_args *args); /* in run's place: connects by itself */
	bool named;   /* the word after it is a template's name */
	bool several; /* the words after it are names of templates */
};

/* After init and destroy, --json shows the status that has come of it. */
static int print_result(struct factory_link *link, const struct factory_args *args,
			const char *phrase)
{
	_cleanup_(error_done) struct error err = {};
	Kiln__Factory__V1__StatusResponse *status = NULL;

	if (!args->json) {
		puts(phrase);
		return CTL_OK;
	}
	if (factory_link_status(link, &status, &err) < 0)
		return ctl_fail(&err);
	status_select(status, args->template_name);
	status_print_json(status, stdout);
	protobuf_c_message_free_unpacked(&status->base, NULL);
	return CTL_OK;
}

static int run_init(struct factory_link *link, const struct factory_args *args)
{
	_cleanup_(error_done) struct error err = {};
	unsigned timeout_s = args->timeout_s > 0 ? args->timeout_s : INIT_TIMEOUT_S;

	for (int i = 0; i < (args->nnames > 0 ? args->nnames : 1); i++)
		if (factory_init(link, args->nnames > 0 ? args->names[i] : args->template_name,
				 timeout_s, &err) < 0)
			return ctl_fail(&err);
	return print_result(link, args, "vm factory initialized");
}

static int destroy_one(struct factory_link *link, const struct factory_args *args, const char *name)
{
	Kiln__Factory__V1__DestroyRequest request = KILN__FACTORY__V1__DESTROY_REQUEST__INIT;

	if (name)
		request.template_ = (char *)(uintptr_t)name;

	ProtobufCMessage *response = factory_link_ask(link, "Destroy", &request.base,
						      args->timeout_s, DESTROY_TIMEOUT_S);

	if (!response)
		return CTL_FAILED;
	protobuf_c_message_free_unpacked(response, NULL);
	return CTL_OK;
}

static int run_destroy(struct factory_link *link, const struct factory_args *args)
{
	int code = CTL_OK;

	for (int i = 0; i < args->nnames && code == CTL_OK; i++)
		code = destroy_one(link, args, args->names[i]);
	if (args->nnames == 0)
		code = destroy_one(link, args, args->template_name);
	if (code != CTL_OK)
		return code;
	return print_result(link, args, "vm factory destroyed");
}

static struct status_options status_options(const struct factory_args *args)
{
	return (struct status_options){
		.socket = args->socket,
		.template_name = args->template_name,
		.json = args->json,
		.watch_s = args->watch_s,
	};
}

static int run_status(struct factory_link *link, const struct factory_args *args)
{
	const struct status_options options = status_options(args);

	return factory_status_show(link, &options);
}

static int run_list(struct factory_link *link, const struct factory_args *args)
{
	Kiln__Factory__V1__ListRequest request = KILN__FACTORY__V1__LIST_REQUEST__INIT;
	ProtobufCMessage *response = factory_link_ask(link, "List", &request.base, 0,
						      LIST_TIMEOUT_S);

	if (!response)
		return CTL_FAILED;
	Kiln__Factory__V1__ListResponse *list = (Kiln__Factory__V1__ListResponse *)response;
	list_select(list, args->template_name);
	if (args->json)
		answer_print_json(response, stdout);
	else
		list_print(list, stdout);
	protobuf_c_message_free_unpacked(response, NULL);
	return CTL_OK;
}

static int run_warm(struct factory_link *link, const struct factory_args *args)
{
	return factory_pool_warm(link, args->template_name, args->count, args->timeout_s);
}

static int run_drain(struct factory_link *link, const struct factory_args *args)
{
	return factory_pool_ask(link, "Drain", args->template_name, "drained", args->timeout_s);
}

static int run_pause(struct factory_link *link, const struct factory_args *args)
{
	return factory_pool_ask(link, "Pause", args->template_name, "paused", args->timeout_s);
}

static int run_resume(struct factory_link *link, const struct factory_args *args)
{
	return factory_pool_ask(link, "Resume", args->template_name, "resumed", args->timeout_s);
}

static struct template_args template_args(const struct factory_args *args)
{
	return (struct template_args){ .name = args->template_name,
				       .timeout_s = args->timeout_s,
				       .json = args->json };
}

static int run_inspect(struct factory_link *link, const struct factory_args *args)
{
	const struct template_args template = template_args(args);

	return factory_template_inspect(link, &template);
}

static int run_rebuild(struct factory_link *link, const struct factory_args *args)
{
	const struct template_args template = template_args(args);

	return factory_template_rebuild(link, &template);
}

static int run_verify(struct factory_link *link, const struct factory_args *args)
{
	const struct template_args template = template_args(args);

	return factory_template_verify(link, &template);
}

static int run_console(struct factory_link *link, const struct factory_args *args)
{
	const struct template_args template = template_args(args);

	return factory_template_console(link, &template);
}

static int run_dashboard(const struct factory_args *args)
{
	const struct dashboard_options options = {
		.socket = args->socket,
		.traces = args->traces,
		.port = (uint16_t)(args->port > 0 ? args->port : DASHBOARD_PORT),
	};
	_cleanup_(error_done) struct error err = {};

	return dashboard_serve(&options, &err) < 0 ? ctl_fail(&err) : CTL_OK;
}

/* clang-format off */
static const struct verb verbs[] = {
	{ "init", run_init, .several = true },
	{ "status", run_status, .named = false },
	{ "destroy", run_destroy, .several = true },
	{ "list", run_list, .named = false },
	{ "inspect", run_inspect, .named = true },
	{ "rebuild", run_rebuild, .named = true },
	{ "verify", run_verify, .named = true },
	{ "console", run_console, .named = true },
	{ "warm", run_warm, .named = true },
	{ "drain", run_drain, .named = true },
	{ "pause", run_pause, .named = true },
	{ "resume", run_resume, .named = true },
	{ "dashboard", .run_alone = run_dashboard },
};
/* clang-format on */

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (str_equal(verbs[i].name, name))
			return &verbs[i];
	return NULL;
}

/* Nothing answers: for `status` that is an answer too. */
static int not_running(const struct verb *verb, const struct factory_args *args,
		       const struct error *err)
{
	if (err->number != ENOENT && err->number != ECONNREFUSED)
		return ctl_fail(err);
	const struct status_options options = status_options(args);
	if (verb->run == run_status)
		factory_status_show_off(&options, stdout);
	(void)ctl_fail(err);
	return CTL_OFF;
}

static int run_verb(const struct verb *verb, const struct factory_args *args)
{
	_cleanup_(factory_link_done) struct factory_link link = {};
	_cleanup_(error_done) struct error err = {};
	const struct status_options options = status_options(args);

	if (verb->run_alone)
		return verb->run_alone(args);
	if (verb->run == run_status && args->watch_s > 0)
		return factory_status_watch(&options);
	if (factory_link_open(args->socket, &link, &err) < 0)
		return not_running(verb, args, &err);
	return verb->run(&link, args);
}

static bool parse_number(const char *text, unsigned max, unsigned *ret_number)
{
	uint64_t number;

	if (str_to_u64(text, 1, max, &number) < 0)
		return false;
	*ret_number = (unsigned)number;
	return true;
}

static const struct option option_table[] = {
	{ "count", required_argument, NULL, 'c' },   { "help", no_argument, NULL, 'h' },
	{ "json", no_argument, NULL, 'j' },          { "port", required_argument, NULL, 'p' },
	{ "socket", required_argument, NULL, 's' },  { "template", required_argument, NULL, 't' },
	{ "timeout", required_argument, NULL, 'T' }, { "traces", required_argument, NULL, 'r' },
	{ "watch", optional_argument, NULL, 'w' },   {},
};

/* CTL_OK: args are filled and optind is at the first word. */
static int parse_options(int argc, char **argv, struct factory_args *args, bool *ret_help)
{
	int c;

	optind = 0;
	while ((c = getopt_long(argc, argv, ":h", option_table, NULL)) != -1) {
		if (c == 'h')
			*ret_help = true;
		else if (c == 'c' && !parse_number(optarg, 1000, &args->count))
			return ctl_usage(&ctl_factory, "--count wants a number, 1 to 1000");
		else if (c == 'c')
			continue;
		else if (c == 'j')
			args->json = true;
		else if (c == 'p' && !parse_number(optarg, UINT16_MAX, &args->port))
			return ctl_usage(&ctl_factory, "--port wants a number, 1 to 65535");
		else if (c == 'p')
			continue;
		else if (c == 'r')
			args->traces = optarg;
		else if (c == 's')
			args->socket = optarg;
		else if (c == 't')
			args->template_name = optarg;
		else if (c == 'w' && !optarg)
			args->watch_s = WATCH_DEFAULT_S;
		else if (c == 'w' && !ctl_parse_seconds(optarg, &args->watch_s))
			return ctl_usage(&ctl_factory, "--watch wants seconds, 1 to 86400");
		else if (c == 'w')
			continue;
		else if (c != 'T')
			return ctl_usage_option(&ctl_factory, c, argv);
		else if (!ctl_parse_seconds(optarg, &args->timeout_s))
			return ctl_usage(&ctl_factory, "--timeout wants seconds, 1 to 86400");
	}
	if (args->template_name && !id_is_valid(args->template_name))
		return ctl_usage(&ctl_factory, "'%s' cannot name a template", args->template_name);
	return CTL_OK;
}

/* The words after the verb; one alone is the same as --template. */
static int take_names(int argc, char **argv, struct factory_args *args)
{
	if (args->template_name)
		return ctl_usage(&ctl_factory, "--template or names, not both");
	args->names = &argv[optind + 1];
	args->nnames = argc - optind - 1;
	for (int i = 0; i < args->nnames; i++)
		if (!id_is_valid(args->names[i]))
			return ctl_usage(&ctl_factory, "'%s' cannot name a template",
					 args->names[i]);
	if (args->nnames == 1)
		args->template_name = args->names[0];
	optind = argc - 1;
	return CTL_OK;
}

static int factory_run(int argc, char **argv)
{
	struct factory_args args = { .socket = factory_default_address() };
	bool help = false;

	int code = parse_options(argc, argv, &args, &help);
	if (code != CTL_OK)
		return code;
	if (help)
		return ctl_help(&ctl_factory);
	if (optind == argc)
		return ctl_usage(&ctl_factory, "init, status, destroy, list, ...?");
	const struct verb *verb = find_verb(argv[optind]);
	if (!verb)
		return ctl_usage(&ctl_factory, "factory has no verb '%s'", argv[optind]);
	if (args.watch_s > 0 && verb->run != run_status)
		return ctl_usage(&ctl_factory, "--watch is for status");
	if (args.watch_s > 0 && optind + 1 < argc &&
	    ctl_parse_seconds(argv[optind + 1], &args.watch_s))
		optind++;
	if (verb->several && optind + 1 < argc) {
		int code_names = take_names(argc, argv, &args);
		if (code_names != CTL_OK)
			return code_names;
	}
	if (verb->named && optind + 1 < argc) {
		args.template_name = argv[++optind];
		if (!id_is_valid(args.template_name))
			return ctl_usage(&ctl_factory, "'%s' cannot name a template",
					 args.template_name);
	}
	if (verb->named && !args.template_name)
		return ctl_usage(&ctl_factory, "%s wants a template's name", verb->name);
	if ((verb->run == run_warm) != (args.count > 0))
		return ctl_usage(&ctl_factory, verb->run == run_warm ? "warm wants --count"
								     : "--count is for warm");
	if ((args.port > 0 || args.traces) && verb->run_alone != run_dashboard)
		return ctl_usage(&ctl_factory, "--port and --traces are for dashboard");
	if (optind + 1 < argc)
		return ctl_usage(&ctl_factory, "'%s' is one word too many", argv[optind + 1]);
	return run_verb(verb, &args);
}

static const char *word(size_t i)
{
	return i < ARRAY_SIZE(verbs) ? verbs[i].name : NULL;
}

const struct ctl_command ctl_factory = {
	.name = "factory",
	.usage =
		"kiln-ctl factory init|destroy [NAME...] [OPTIONS]\n"
		"       kiln-ctl factory status|list [OPTIONS]\n"
		"       kiln-ctl factory inspect|rebuild|verify|console NAME [OPTIONS]\n"
		"       kiln-ctl factory warm|drain|pause|resume NAME [OPTIONS]\n"
		"       kiln-ctl factory dashboard [--port PORT] [--traces FOLDER] [--socket PATH]",
	.summary = "bake templates, see the pool of warm machines, destroy them",
	.help = "  init      bake what is configured unless it is there already, and fill the "
		"pool;\n"
		"            shows its progress on stderr, prints 'vm factory initialized'\n"
		"  status    print 'vm factory is on' or 'vm factory is off', then the templates,\n"
		"            their pools, claims and memory, and what was counted\n"
		"  destroy   destroy the pool and the template; machines in use go on;\n"
		"            prints 'vm factory destroyed'\n"
		"  list      every machine: parked, spare, coming, or claimed by a sandbox; then the\n"
		"            templates in the store that are configured no more, which destroy\n"
		"            removes by their name\n"
		"  inspect NAME   a template's definition, its inputs with their digests, its sizes,\n"
		"            times and the command line of its clones\n"
		"  rebuild NAME   bake the template anew while it goes on serving, then replace its\n"
		"            parked machines one by one; machines in use go on\n"
		"  verify NAME   read the template's files and compare them with what was baked;\n"
		"            exits 1 where one is damaged\n"
		"  console NAME   the end of what the guest wrote on its console in the bake under\n"
		"            way, else in the last one\n"
		"  warm NAME --count N   park at least N machines of a template, beyond its "
		"pool's\n"
		"            target if need be, until they are claimed or drained\n"
		"  drain NAME   destroy parked machines and spares; none are made until resume\n"
		"  pause NAME   stop refilling the pool; what is parked is served\n"
		"  resume NAME  end a drain or a pause: the pool is refilled again\n"
		"  dashboard    serve pools, claims and times as a page for a browser of this host,\n"
		"            on http://127.0.0.1:9483/ until SIGTERM; nothing can be changed there\n"
		"\n"
		"Options:\n"
		"      --count N         for warm, 1 to 1000\n"
		"      --json            JSON instead of text: of status its answer with the key\n"
		"                        \"on\" before, the same for init and destroy once they are\n"
		"                        done, and of list an object with the arrays \"vms\" and\n"
		"                        \"unconfigured\"\n"
		"      --port PORT       of dashboard, on 127.0.0.1 (default 9483)\n"
		"      --socket PATH     of the factory, default $KILN_FACTORY or\n"
		"                        " FACTORY_SOCKET "\n"
		"      --template NAME   this template only\n"
		"      --timeout SECONDS for init and rebuild (default 600), destroy (default 120)\n"
		"      --traces FOLDER   of files that shims and factory trace to (KILN_TRACE, \"trace\"):\n"
		"                        dashboard shows the steps of a start, too\n"
		"      --watch [SECONDS] status again and again (default every 2 s), in place on "
		"a\n"
		"                        terminal, until Ctrl-C; exits 0 then\n"
		"  -h, --help            this text\n"
		"\n"
		"The factory is on when kiln-factory answers and a template is ready.\n"
		"\n"
		"Keys of status --json, which stay as they are; others may come beside them:\n"
		"  on, version, pid, uptime_s, accelerator, kvm_obstacle\n"
		"  templates[]  name, id, state, phase, error, baked_at, memory_bytes,\n"
		"               memory_allocated_bytes, bake_ms, boot_ms, stale, rebuilding,\n"
		"               rebuild_error, claims, memory, and pool: target, parked, coming,\n"
		"               claimed, waiting, mode, obstacle, automatic, claims_per_s,\n"
		"               spares, spares_target\n"
		"  claims       of all, since the factory's start: hits (pooled), clones, boots,\n"
		"               failed; p50_us, p99_us (of hits and clones), hit_p50_us, hit_p99_us\n"
		"  memory       of all: shared_bytes (the templates'), private_bytes and "
		"pss_bytes\n"
		"               (the machines'), machines (measured)\n"
		"  image_cache  dir, images, bytes, limit_bytes, making, queued, error; absent where\n"
		"               the factory has none\n"
		"  counters[]   name, reason, value\n"
		"\n"
		"Exit codes: 0 done, or the factory is on; 1 the operation failed; 2 the command\n"
		"line is wrong; 3 the factory is off or not running.\n",
	.options = option_table,
	.word = word,
	.run = factory_run,
};
