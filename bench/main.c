/* kiln-bench: options, the table of scenarios, the report. */

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/trace.h"
#include "bench/scenarios.h"

#define PROGRAM "kiln-bench"

enum { EXIT_USAGE = 2 };

struct scenario {
	const char *name;
	const char *summary;
	int (*run)(struct loop *loop, const struct bench_options *options, struct results *results,
		   struct error *err);
	bool needs_empty;
	bool needs_containerd;
};

static const struct scenario scenarios[] = {
	{ "boot", "cold boot to agent ready (needs --empty)", bench_boot, true, false },
	{ "clone", "claims with the pool empty (needs --empty)", bench_clone, true, false },
	{ "claim", "claims from the pool, CreateSandbox, container start", bench_claim, false,
	  false },
	{ "ctr", "ctr run, kiln and runc in turn (needs --containerd)", bench_ctr, false, true },
};

static void print_usage(FILE *out)
{
	fputs("Usage: kiln-bench [OPTION...] [SCENARIO...]\n"
	      "\n"
	      "Measures real parts: a running kiln-factory, its machines, a containerd. Without\n"
	      "SCENARIO all that the options allow are run.\n"
	      "\n",
	      out);
	for (size_t i = 0; i < ARRAY_SIZE(scenarios); i++)
		fprintf(out, "  %-8s %s\n", scenarios[i].name, scenarios[i].summary);
	fputs("\n"
	      "  -f, --factory ADDRESS     factory with a pool (unix:///run/kiln/factory.sock)\n"
	      "  -e, --empty ADDRESS       factory with pool_size 0; its template is baked anew\n"
	      "  -c, --containerd SOCKET   containerd that has the image and finds the kiln shim\n"
	      "      --namespace NAME      of containerd (default)\n"
	      "      --image NAME          (docker.io/kiln/busybox:test)\n"
	      "  -n, --runs N              runs of each scenario (10)\n"
	      "      --boots N             cold boots (2)\n"
	      "  -j, --json                results as JSON, with every sample\n"
	      "  -V, --version\n"
	      "  -h, --help\n"
	      "\n"
	      "Exit status: 0 measured, 1 a scenario failed, 2 usage.\n",
	      out);
}

struct arguments {
	struct bench_options bench;
	bool json;
	char **wanted; /* scenario names; NULL-terminated, empty: all */
};

static int parse_count(const char *text, unsigned *ret_count)
{
	uint64_t value = 0;

	if (str_to_u64(text, 1, 100000, &value) < 0) {
		fprintf(stderr, PROGRAM ": \"%s\" is not a count from 1 to 100000\n", text);
		return EXIT_USAGE;
	}
	*ret_count = (unsigned)value;
	return -1;
}

static int parse_option(int option, struct arguments *arguments)
{
	switch (option) {
	case 'f':
		arguments->bench.pool = optarg;
		return -1;
	case 'e':
		arguments->bench.empty = optarg;
		return -1;
	case 'c':
		arguments->bench.containerd = optarg;
		return -1;
	case 'N':
		arguments->bench.namespace_ = optarg;
		return -1;
	case 'I':
		arguments->bench.image = optarg;
		return -1;
	case 'n':
		return parse_count(optarg, &arguments->bench.runs);
	case 'B':
		return parse_count(optarg, &arguments->bench.boots);
	case 'j':
		arguments->json = true;
		return -1;
	case 'V':
		puts(PROGRAM " " KILN_VERSION);
		return EXIT_SUCCESS;
	case 'h':
		print_usage(stdout);
		return EXIT_SUCCESS;
	default:
		fputs("Try `" PROGRAM " --help`.\n", stderr);
		return EXIT_USAGE;
	}
}

static const struct scenario *scenario_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(scenarios); i++) {
		if (str_equal(scenarios[i].name, name))
			return &scenarios[i];
	}
	return NULL;
}

/* -1: go on; else the exit status. */
static int parse_arguments(int argc, char **argv, struct arguments *arguments)
{
	static const struct option options[] = {
		{ "factory", required_argument, NULL, 'f' },
		{ "empty", required_argument, NULL, 'e' },
		{ "containerd", required_argument, NULL, 'c' },
		{ "namespace", required_argument, NULL, 'N' },
		{ "image", required_argument, NULL, 'I' },
		{ "runs", required_argument, NULL, 'n' },
		{ "boots", required_argument, NULL, 'B' },
		{ "json", no_argument, NULL, 'j' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int option, status = -1;

	while (status < 0 && (option = getopt_long(argc, argv, "f:e:c:n:jVh", options, NULL)) != -1)
		status = parse_option(option, arguments);
	arguments->wanted = argv + optind;
	for (char **name = arguments->wanted; status < 0 && *name; name++) {
		if (!scenario_find(*name)) {
			fprintf(stderr, PROGRAM ": no scenario is named \"%s\"\n", *name);
			status = EXIT_USAGE;
		}
	}
	return status;
}

static bool is_wanted(const struct arguments *arguments, const struct scenario *scenario)
{
	if (!*arguments->wanted)
		return (!scenario->needs_empty || arguments->bench.empty) &&
		       (!scenario->needs_containerd || arguments->bench.containerd);
	for (char **name = arguments->wanted; *name; name++) {
		if (str_equal(*name, scenario->name))
			return true;
	}
	return false;
}

static int run_scenarios(const struct arguments *arguments, struct results *results,
			 struct error *err)
{
	_cleanup_(loop_free_cleanup) struct loop *loop = loop_new();

	for (size_t i = 0; i < ARRAY_SIZE(scenarios); i++) {
		const struct scenario *scenario = &scenarios[i];
		if (!is_wanted(arguments, scenario))
			continue;
		if ((scenario->needs_empty && !arguments->bench.empty) ||
		    (scenario->needs_containerd && !arguments->bench.containerd))
			return error_set(err, EINVAL, "%s: %s", scenario->name, scenario->summary);
		fprintf(stderr, "bench: %s: %s\n", scenario->name, scenario->summary);
		int r = scenario->run(loop, &arguments->bench, results, err);
		if (r < 0)
			return error_wrap(err, "scenario %s", scenario->name);
	}
	return 0;
}

int main(int argc, char **argv)
{
	_cleanup_(results_done) struct results results = {};
	_cleanup_(error_done) struct error err = {};
	struct arguments arguments = {
		.bench = { .pool = "unix:///run/kiln/factory.sock",
			   .namespace_ = "default",
			   .image = "docker.io/kiln/busybox:test",
			   .runs = 10,
			   .boots = 2 },
	};

	int status = parse_arguments(argc, argv, &arguments);
	if (status >= 0)
		return status;
	log_init(PROGRAM, STDERR_FILENO, LOG_LEVEL_WARNING, LOG_FORMAT_TEXT);
	trace_init("bench", NULL, NULL);
	results_init(&results);
	if (run_scenarios(&arguments, &results, &err) < 0) {
		fprintf(stderr, PROGRAM ": %s\n", error_message(&err));
		return EXIT_FAILURE;
	}
	if (arguments.json) {
		json_t *json = results_to_json(&results);
		json_dumpf(json, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(json);
	} else {
		results_print(&results, stdout);
	}
	return EXIT_SUCCESS;
}
