/* kiln-ctl factory init | status | destroy | list. */
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>

#include "base/strings.h"
#include "ctl/ctl.h"
#include "ctl/factory_init.h"
#include "ctl/factory_link.h"
#include "ctl/factory_show.h"

#define INIT_TIMEOUT_S    600
#define DESTROY_TIMEOUT_S 120
#define LIST_TIMEOUT_S    10

struct factory_args {
	const char *socket;
	const char *template_name; /* NULL: all */
	unsigned timeout_s;        /* 0: the verb's own */
	bool json;
};

struct verb {
	const char *name;
	int (*run)(struct factory_link *link, const struct factory_args *args);
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

	if (factory_init(link, args->template_name, timeout_s, &err) < 0)
		return ctl_fail(&err);
	return print_result(link, args, "vm factory initialized");
}

static int run_destroy(struct factory_link *link, const struct factory_args *args)
{
	_cleanup_(error_done) struct error err = {};
	Kiln__Factory__V1__DestroyRequest request = KILN__FACTORY__V1__DESTROY_REQUEST__INIT;
	unsigned timeout_s = args->timeout_s > 0 ? args->timeout_s : DESTROY_TIMEOUT_S;
	ProtobufCMessage *response = NULL;

	if (args->template_name)
		request.template_ = (char *)(uintptr_t)args->template_name;
	if (factory_link_call(link, "Destroy", &request.base, timeout_s, &response, &err) < 0)
		return ctl_fail(&err);
	protobuf_c_message_free_unpacked(response, NULL);
	return print_result(link, args, "vm factory destroyed");
}

static int print_status(Kiln__Factory__V1__StatusResponse *status, const struct factory_args *args)
{
	status_select(status, args->template_name);
	if (args->template_name && status->n_templates == 0) {
		ctl_say("the factory has no template '%s'", args->template_name);
		return CTL_FAILED;
	}
	bool on = status_is_on(status);
	if (args->json) {
		status_print_json(status, stdout);
	} else {
		puts(on ? "vm factory is on" : "vm factory is off");
		status_print(status, stdout);
	}
	return on ? CTL_OK : CTL_OFF;
}

static int run_status(struct factory_link *link, const struct factory_args *args)
{
	_cleanup_(error_done) struct error err = {};
	Kiln__Factory__V1__StatusResponse *status = NULL;

	if (factory_link_status(link, &status, &err) < 0)
		return ctl_fail(&err);
	int code = print_status(status, args);
	protobuf_c_message_free_unpacked(&status->base, NULL);
	return code;
}

static int run_list(struct factory_link *link, const struct factory_args *args)
{
	_cleanup_(error_done) struct error err = {};
	Kiln__Factory__V1__ListRequest request = KILN__FACTORY__V1__LIST_REQUEST__INIT;
	ProtobufCMessage *response = NULL;

	if (factory_link_call(link, "List", &request.base, LIST_TIMEOUT_S, &response, &err) < 0)
		return ctl_fail(&err);
	Kiln__Factory__V1__ListResponse *list = (Kiln__Factory__V1__ListResponse *)response;
	list_select(list, args->template_name);
	if (args->json)
		list_print_json(list, stdout);
	else
		list_print(list, stdout);
	protobuf_c_message_free_unpacked(response, NULL);
	return CTL_OK;
}

static const struct verb verbs[] = {
	{ "init", run_init },
	{ "status", run_status },
	{ "destroy", run_destroy },
	{ "list", run_list },
};

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
	if (verb->run == run_status && args->json)
		status_print_json(NULL, stdout);
	else if (verb->run == run_status)
		puts("vm factory is off");
	(void)ctl_fail(err);
	return CTL_OFF;
}

static int run_verb(const struct verb *verb, const struct factory_args *args)
{
	_cleanup_(factory_link_done) struct factory_link link = {};
	_cleanup_(error_done) struct error err = {};

	if (factory_link_open(args->socket, &link, &err) < 0)
		return not_running(verb, args, &err);
	return verb->run(&link, args);
}

/* CTL_OK: args are filled and optind is at the first word. */
static int parse_options(int argc, char **argv, struct factory_args *args, bool *ret_help)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "json", no_argument, NULL, 'j' },
		{ "socket", required_argument, NULL, 's' },
		{ "template", required_argument, NULL, 't' },
		{ "timeout", required_argument, NULL, 'T' },
		{},
	};
	int c;

	optind = 0;
	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (c == 'h')
			*ret_help = true;
		else if (c == 'j')
			args->json = true;
		else if (c == 's')
			args->socket = optarg;
		else if (c == 't')
			args->template_name = optarg;
		else if (c != 'T')
			return ctl_usage_option(&ctl_factory, c, argv);
		else if (!ctl_parse_seconds(optarg, &args->timeout_s))
			return ctl_usage(&ctl_factory, "--timeout wants seconds, 1 to 86400");
	}
	if (args->template_name && !id_is_valid(args->template_name))
		return ctl_usage(&ctl_factory, "'%s' cannot name a template", args->template_name);
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
		return ctl_usage(&ctl_factory, "init, status, destroy or list?");
	const struct verb *verb = find_verb(argv[optind]);
	if (!verb)
		return ctl_usage(&ctl_factory, "'%s' is none of init, status, destroy, list",
				 argv[optind]);
	if (optind + 1 < argc)
		return ctl_usage(&ctl_factory, "'%s' is one word too many", argv[optind + 1]);
	return run_verb(verb, &args);
}

const struct ctl_command ctl_factory = {
	.name = "factory",
	.usage = "kiln-ctl factory init|status|destroy|list [OPTIONS]",
	.summary = "bake templates, see the pool of warm machines, destroy them",
	.help = "  init      bake what is configured unless it is there already, and fill the "
		"pool;\n"
		"            shows its progress on stderr, prints 'vm factory initialized'\n"
		"  status    print 'vm factory is on' or 'vm factory is off', then the templates,\n"
		"            their pools and what was counted\n"
		"  destroy   destroy the pool and the template; machines in use go on;\n"
		"            prints 'vm factory destroyed'\n"
		"  list      every machine: parked, on its way, or claimed by a sandbox\n"
		"\n"
		"Options:\n"
		"      --json            JSON instead of text: of status its answer with the key\n"
		"                        \"on\" before, the same for init and destroy once they "
		"are\n"
		"                        done, and of list an object with the array \"vms\"\n"
		"      --socket PATH     of the factory, default $KILN_FACTORY or\n"
		"                        " FACTORY_SOCKET "\n"
		"      --template NAME   this template only\n"
		"      --timeout SECONDS for init (default 600) and destroy (default 120)\n"
		"  -h, --help            this text\n"
		"\n"
		"The factory is on when kiln-factory answers and a template is ready.\n"
		"\n"
		"Exit codes: 0 done, or the factory is on; 1 the operation failed; 2 the command\n"
		"line is wrong; 3 the factory is off or not running.\n",
	.run = factory_run,
};
