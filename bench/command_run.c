/* kiln-bench run: options, the rounds of scenarios, the result. */

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/trace.h"
#include "bench/booted.h"
#include "bench/command.h"
#include "bench/factory_client.h"
#include "bench/host.h"
#include "bench/plans.h"
#include "bench/report.h"
#include "bench/scenarios.h"
#include "bench/targets.h"

#define COUNT_LARGEST 100000

struct arguments {
	struct bench_options bench;
	const char *set;
	const char *out; /* NULL: no file */
	bool json;
	bool progress;
	char **wanted; /* scenario names; NULL-terminated, empty: all */
};

void command_run_help(void)
{
	const struct scenario *scenario;

	puts("run measures real parts: running factories, their machines, a containerd. Without\n"
	     "SCENARIO all that the options allow are run, in turn:\n");
	for (size_t i = 0; (scenario = scenario_at(i)); i++)
		printf("  %-11s %s\n", scenario->name, scenario->summary);
	puts("\n"
	     "  -f, --factory ADDRESS     factory with pool_size 0 (unix:///run/kiln/factory.sock)\n"
	     "  -p, --pool ADDRESS        factory with a pool that refills\n"
	     "      --unshared ADDRESS    factory with pool_size 0, its template \"share\": \"never\"\n"
	     "      --slots ADDRESS       factory with pool_size 0, its template \"dax_windows\": 0\n"
	     "  -c, --containerd SOCKET   containerd that has the image and finds the kiln shim\n"
	     "      --cri SOCKET          containerd with CRI and CNI, runtimes kiln and runc; for pods\n"
	     "      --pods-image NAME     what its pods run (docker.io/kiln/pods:test)\n"
	     "      --namespace NAME      of containerd (default)\n"
	     "      --image NAME          (docker.io/kiln/busybox:test)\n"
	     "      --files-image NAME    of what bench/files-image makes, for `files`\n"
	     "      --limit FOLDER        its folder of that name, for the plain machine of `files`\n"
	     "      --crun FOLDER         what bench/crun-folder makes, for `crun`\n"
	     "      --rootfs DRIVER,...   of roots (io.kiln.rootfs) to measure `files` with (overlay)\n"
	     "  -s, --set NAME            how much: full, quick (the default), node, demo, smoke\n"
	     "  -n, --count WHAT=N        changes one count of the set; 0 leaves it out\n"
	     "  -r, --rounds N            scenarios take turns N times\n"
	     "  -o, --out FILE            the result as JSON\n"
	     "  -j, --json                JSON instead of text on stdout\n"
	     "      --progress            also where stderr is no terminal\n");
	fputs("Counts:", stdout);
	for (int i = 0; i < COUNT_MAX_; i++)
		printf(" %s", count_to_string((enum count)i));
	puts("\n");
}

/* ---------------------------------------------------------------- options */

static int usage(const char *what, const char *value)
{
	fprintf(stderr, PROGRAM ": %s: \"%s\". Try `" PROGRAM " --help`.\n", what, value);
	return STATUS_USAGE;
}

static int parse_count(char *text, struct bench_options *options)
{
	char *equals = strchr(text, '=');
	uint64_t value = 0;

	if (equals)
		*equals = '\0';
	int count = count_from_string(text);
	if (!equals || count < 0)
		return usage("no such count", text);
	if (str_to_u64(equals + 1, 0, COUNT_LARGEST, &value) < 0)
		return usage("not a number from 0 to 100000", equals + 1);
	options->counts[count] = (unsigned)value;
	return -1;
}

static int parse_rounds(const char *text, struct bench_options *options)
{
	uint64_t value = 0;

	if (str_to_u64(text, 1, COUNT_LARGEST, &value) < 0)
		return usage("not a number from 1 to 100000", text);
	options->rounds = (unsigned)value;
	return -1;
}

static int parse_option(int option, struct arguments *arguments)
{
	switch (option) {
	case 'f':
		arguments->bench.factory = optarg;
		return -1;
	case 'p':
		arguments->bench.pool = optarg;
		return -1;
	case 'U':
		arguments->bench.unshared = optarg;
		return -1;
	case 'S':
		arguments->bench.slots = optarg;
		return -1;
	case 'c':
		arguments->bench.containerd = optarg;
		return -1;
	case 'C':
		arguments->bench.cri = optarg;
		return -1;
	case 'O':
		arguments->bench.pods_image = optarg;
		return -1;
	case 'N':
		arguments->bench.namespace_ = optarg;
		return -1;
	case 'I':
		arguments->bench.image = optarg;
		return -1;
	case 'F':
		arguments->bench.files_image = optarg;
		return -1;
	case 'L':
		arguments->bench.limit = optarg;
		return -1;
	case 'X':
		arguments->bench.crun = optarg;
		return -1;
	case 'R':
		arguments->bench.rootfs = optarg;
		return -1;
	case 's':
		arguments->set = optarg;
		return plan_apply(optarg, &arguments->bench) == 0
			       ? -1
			       : usage("no such set; there are full, quick, node, demo, smoke",
				       optarg);
	case 'n':
		return parse_count(optarg, &arguments->bench);
	case 'r':
		return parse_rounds(optarg, &arguments->bench);
	case 'o':
		arguments->out = optarg;
		return -1;
	case 'j':
		arguments->json = true;
		return -1;
	case 'P':
		arguments->progress = true;
		return -1;
	case 'h':
		command_run_help();
		return 0;
	default:
		return STATUS_USAGE;
	}
}

/* -1: go on; else the exit status. */
static int parse_arguments(int argc, char **argv, struct arguments *arguments)
{
	static const struct option options[] = {
		{ "factory", required_argument, NULL, 'f' },
		{ "pool", required_argument, NULL, 'p' },
		{ "unshared", required_argument, NULL, 'U' },
		{ "slots", required_argument, NULL, 'S' },
		{ "containerd", required_argument, NULL, 'c' },
		{ "cri", required_argument, NULL, 'C' },
		{ "pods-image", required_argument, NULL, 'O' },
		{ "namespace", required_argument, NULL, 'N' },
		{ "image", required_argument, NULL, 'I' },
		{ "files-image", required_argument, NULL, 'F' },
		{ "limit", required_argument, NULL, 'L' },
		{ "crun", required_argument, NULL, 'X' },
		{ "rootfs", required_argument, NULL, 'R' },
		{ "set", required_argument, NULL, 's' },
		{ "count", required_argument, NULL, 'n' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "out", required_argument, NULL, 'o' },
		{ "json", no_argument, NULL, 'j' },
		{ "progress", no_argument, NULL, 'P' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int option, status = -1;

	while (status < 0 &&
	       (option = getopt_long(argc, argv, "f:p:c:s:n:r:o:jh", options, NULL)) != -1)
		status = parse_option(option, arguments);
	arguments->wanted = argv + optind;
	for (char **name = arguments->wanted; status < 0 && *name; name++) {
		const struct scenario *scenario = scenario_find(*name);
		if (!scenario)
			return usage("no such scenario", *name);
		const char *obstacle = scenario_obstacle(scenario, &arguments->bench);
		if (obstacle)
			return usage(obstacle, *name);
	}
	return status;
}

/* ---------------------------------------------------------------- running */

static bool is_wanted(const struct arguments *arguments, const struct scenario *scenario)
{
	if (!*arguments->wanted)
		return !scenario_obstacle(scenario, &arguments->bench);
	for (char **name = arguments->wanted; *name; name++) {
		if (str_equal(*name, scenario->name))
			return true;
	}
	return false;
}

/* The others are measured all the same, and what it has measured so far stays. */
static void note_failure(struct result *result, const char *scenario, const struct error *why)
{
	json_t *failed = json_object_get(result->about, "failed");

	if (!failed) {
		failed = json_object();
		json_object_set_new(result->about, "failed", failed);
	}
	json_object_set_new(failed, scenario, json_string(error_message(why)));
	fprintf(stderr, PROGRAM ": scenario %s: %s\n", scenario, error_message(why));
}

static void run_round(struct bench *bench, const struct arguments *arguments)
{
	const struct scenario *scenario;

	for (size_t i = 0; (scenario = scenario_at(i)); i++) {
		if (!is_wanted(arguments, scenario) || (scenario->once && bench->round > 0))
			continue;
		_cleanup_(error_done) struct error why = {};
		progress_begin(&bench->progress, scenario->name);
		int r = scenario->run(bench, &why);
		progress_end(&bench->progress);
		if (r < 0)
			note_failure(bench->result, scenario->name, &why);
	}
}

static int about_begin(struct bench *bench, const struct arguments *arguments, struct error *err)
{
	_cleanup_(status_response_free_cleanup) Kiln__Factory__V1__StatusResponse *status = NULL;
	json_t *about = bench->result->about;
	json_t *counts = json_object();
	char begun[32];
	time_t now = time(NULL);
	struct tm tm;

	int r = factory_status(bench->loop, bench->options.factory, &status, err);
	if (r < 0) {
		json_decref(counts);
		return r;
	}
	strftime(begun, sizeof(begun), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
	json_object_set_new(about, "set", json_string(arguments->set));
	json_object_set_new(about, "begun", json_string(begun));
	json_object_set_new(about, "rounds", json_integer(bench->options.rounds));
	for (int i = 0; i < COUNT_MAX_; i++)
		json_object_set_new(counts, count_to_string((enum count)i),
				    json_integer(bench->options.counts[i]));
	json_object_set_new(about, "counts", counts);
	json_t *machine = host_describe();
	json_object_set_new(machine, "accelerator", json_string(status->accelerator));
	json_object_set_new(about, "machine", machine);
	return 0;
}

static void about_end(struct bench *bench)
{
	json_object_set_new(json_object_get(bench->result->about, "machine"), "load_after",
			    json_real(host_load()));
}

/* Claimed machines are taken back by their factory when this process is gone. */
static void on_signal(int signo, void *userdata)
{
	booted_free_all(userdata);
	_exit(128 + signo);
}

static int run_all(const struct arguments *arguments, struct result *result, struct error *err)
{
	_cleanup_(loop_free_cleanup) struct loop *loop = loop_new();
	struct bench bench = {
		.loop = loop,
		.options = arguments->bench,
		.result = result,
	};

	_cleanup_(loop_signal_free_cleanup) struct loop_signal *interrupt _unused_ =
		loop_signal_new(loop, SIGINT, on_signal, &bench);
	_cleanup_(loop_signal_free_cleanup) struct loop_signal *end _unused_ = loop_signal_new(
		loop, SIGTERM, on_signal, &bench);
	progress_init(&bench.progress, arguments->progress);
	/* The baseline of all ratios: what is not baked yet is not to be measured. */
	int r = factory_init(loop, bench.options.factory, err);
	if (r == 0 && bench.options.pool)
		r = factory_init(loop, bench.options.pool, err);
	if (r == 0)
		r = about_begin(&bench, arguments, err);
	if (r < 0)
		return r;
	for (; bench.round < bench.options.rounds; bench.round++)
		run_round(&bench, arguments);
	about_end(&bench);
	return 0;
}

/* ---------------------------------------------------------------- output */

static int write_result(const struct arguments *arguments, const struct result *result,
			struct error *err)
{
	struct outcome outcomes[TARGETS];
	int r = 0;

	targets_evaluate(result, outcomes);
	json_t *json = result_to_json(result, targets_to_json(outcomes));
	char *text = json_dumps(json, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
	json_decref(json);
	if (arguments->out)
		r = file_write_atomic(arguments->out, text, strlen(text), 0644, err);
	if (arguments->json) {
		puts(text);
	} else {
		report_print(result, stdout);
		targets_print(outcomes, stdout);
	}
	free(text);
	return r;
}

int command_run(int argc, char **argv)
{
	_cleanup_(result_free_cleanup) struct result *result = result_new();
	_cleanup_(error_done) struct error err = {};
	struct arguments arguments = {
		.bench = { .factory = "unix:///run/kiln/factory.sock",
			   .namespace_ = "default",
			   .image = "docker.io/kiln/busybox:test",
			   .pods_image = "docker.io/kiln/pods:test" },
		.set = "quick",
	};

	(void)!plan_apply(arguments.set, &arguments.bench);
	int status = parse_arguments(argc, argv, &arguments);
	if (status >= 0)
		return status;
	trace_init("bench", NULL, NULL);
	int r = run_all(&arguments, result, &err);
	if (r == 0)
		r = write_result(&arguments, result, &err);
	if (r < 0)
		return command_fail(STATUS_WORSE, &err);
	return json_object_get(result->about, "failed") ? STATUS_WORSE : 0;
}
