/* kiln-ctl check: can this host run Kiln, and how well. */
#include "ctl/check.h"

#include <assert.h>
#include <getopt.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "ctl/check_run.h"
#include "ctl/ctl.h"

static const char *const check_verdict_names[] = {
	[CHECK_FINE] = "fine",
	[CHECK_UNSEEN] = "unseen",
	[CHECK_WITHOUT] = "without",
	[CHECK_MEND] = "mend",
};
DEFINE_STRING_TABLE(check_verdict, enum check_verdict, check_verdict_names)

/* clang-format off */
const struct check_probe check_probes[] = {
	{ "processor", "virtualization in the processor", check_processor },
	{ "kvm", "/dev/kvm, and who may open it", check_kvm },
	{ "kernel", "the kernel's version", check_kernel },
	{ "idmapped-mounts", "user namespaces and idmapped mounts, tried", check_idmapped_mounts },
	{ "cgroups", "control groups and their controllers", check_cgroups },
	{ "traffic-control", "what joins a pod's interface to its machine, tried", check_traffic_control },
	{ "tap", "network cards of machines", check_tap },
	{ "vhost", "vhost-vsock, by which agents can be reached", check_vhost },
	{ "vhost-net", "vhost-net, which moves the packets of machines", check_vhost_net },
	{ "huge-pages", "transparent ones, and those of a template's memory_dir", check_huge_pages },
	{ "userfaultfd", "userfaultfd", check_userfaultfd },
	{ "page-merging", "KSM, for merge_pages", check_page_merging },
	{ "landlock", "what the factory shuts itself in with", check_landlock },
	{ "seccomp", "filters of system calls", check_seccomp },
	{ "qemu", "QEMU and its version", check_qemu },
	{ "libvirt", "libvirt, its driver and the user of bakes", check_libvirt },
	{ "tools", "mkfs.erofs and mkfs.ext4", check_tools },
	{ "virtiofsd", "the daemon of virtio-fs", check_virtiofsd },
	{ "programs", "Kiln's own programs", check_programs },
	{ "containerd", "containerd and its version", check_containerd },
	{ "containerd-runtime", "whether containerd's configuration names Kiln", check_containerd_runtime },
	{ "containerd-annotations", "whether it lets annotations io.kiln.* through", check_containerd_annotations },
	{ "configuration", "the factory's configuration", check_configuration },
	{ "definitions", "templates' definitions, and the guest's kernel and image", check_definitions },
	{ "run-dir", "the run folder", check_run_dir },
	{ "store", "the store: on tmpfs, and large enough", check_store },
	{ "memory", "memory for the templates", check_memory },
	{ "scratch", "room for what containers write", check_scratch },
	{ "image-cache", "room for images of containers' layers", check_image_cache },
	{ "descriptors", "how many files the factory may have open", check_descriptors },
	{ "user-ids", "the ids that machines have", check_user_ids },
	{ "factory-user", "the user that the factory is", check_factory_user },
	{ "processes", "whether /proc shows the factory those of others, tried", check_processes },
	{ "clock", "whether something keeps the clock", check_clock },
	{ "factory", "whether a factory answers", check_factory },
	{ "templates", "whether its templates are ready", check_templates },
};
/* clang-format on */
const size_t check_probe_count = ARRAY_SIZE(check_probes);
static_assert(ARRAY_SIZE(check_probes) <= CHECKS_MAX, "a result a probe");

/* ---------------------------------------------------------------- verdicts */

/* Strings move in. */
static void set(struct check_result *result, enum check_verdict verdict, char *found,
		const char *lost, const char *command)
{
	if (result->found && result->verdict >= verdict) {
		free(found);
		return;
	}
	check_result_done(result);
	result->verdict = verdict;
	result->found = found;
	result->lost = xstrdup(lost);
	result->command = xstrdup(command);
}

void check_fine(struct check_result *result, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	set(result, CHECK_FINE, xvasprintf(fmt, args), NULL, NULL);
	va_end(args);
}

void check_unseen(struct check_result *result, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	set(result, CHECK_UNSEEN, xvasprintf(fmt, args), NULL, NULL);
	va_end(args);
}

void check_without(struct check_result *result, const char *lost, const char *command,
		   const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	set(result, CHECK_WITHOUT, xvasprintf(fmt, args), lost, command);
	va_end(args);
}

void check_mend(struct check_result *result, const char *command, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	set(result, CHECK_MEND, xvasprintf(fmt, args), NULL, command);
	va_end(args);
}

void check_result_done(struct check_result *result)
{
	free(result->found);
	free(result->lost);
	free(result->command);
	*result = (struct check_result){};
}

/* ---------------------------------------------------------------- a report of all */

void check_run(const struct check_host *host, char *const *names, size_t count,
	       struct check_report *ret_report)
{
	struct check_report report = {};

	for (size_t i = 0; i < check_probe_count; i++) {
		bool wanted = count == 0;
		for (size_t n = 0; n < count; n++)
			wanted |= str_equal(names[n], check_probes[i].name);
		if (!wanted)
			continue;
		struct check_result *result = &report.results[i];
		check_probes[i].fn(host, result);
		report.counts[result->verdict]++;
		if (result->verdict > report.worst)
			report.worst = result->verdict;
	}
	*ret_report = report;
}

void check_report_done(struct check_report *report)
{
	for (size_t i = 0; i < check_probe_count; i++)
		check_result_done(&report->results[i]);
}

static void print_line(FILE *out, const char *head, const char *text)
{
	_cleanup_free_ char *shown = xstrdup(text);

	if (!shown)
		return;
	str_neutralise(shown, "");
	fprintf(out, "%s%s\n", head, shown);
}

static const char *conclusion(const struct check_report *report)
{
	switch (report->worst) {
	case CHECK_FINE:
		return "this host runs Kiln";
	case CHECK_UNSEEN:
		return "as far as was seen, this host runs Kiln";
	case CHECK_WITHOUT:
		return "this host runs Kiln, with losses";
	case CHECK_MEND:
		break;
	}
	return "this host does not run Kiln as it is";
}

void check_report_print(const struct check_report *report, FILE *out)
{
	for (size_t i = 0; i < check_probe_count; i++) {
		const struct check_result *result = &report->results[i];
		if (!result->found)
			continue;
		_cleanup_free_ char *head = xasprintf("%-8s %-22s ",
						      check_verdict_to_string(result->verdict),
						      check_probes[i].name);
		print_line(out, head, result->found);
		print_line(out, "           lost: ", result->lost);
		print_line(out, "           do:   ", result->command);
	}
	fprintf(out, "\n%u fine, %u without, %u to mend, %u unseen: %s\n",
		report->counts[CHECK_FINE], report->counts[CHECK_WITHOUT],
		report->counts[CHECK_MEND], report->counts[CHECK_UNSEEN], conclusion(report));
}

static json_t *text_json(const char *text)
{
	_cleanup_free_ char *shown = xstrdup(text);

	if (!shown)
		return json_null();
	str_neutralise(shown, "");
	return json_string(shown);
}

json_t *check_report_json(const struct check_report *report)
{
	json_t *checks = json_array();

	for (size_t i = 0; i < check_probe_count; i++) {
		const struct check_result *result = &report->results[i];
		if (!result->found)
			continue;
		json_array_append_new(checks, json_pack("{s:s, s:s, s:o, s:o, s:o}", "name",
							check_probes[i].name, "verdict",
							check_verdict_to_string(result->verdict),
							"found", text_json(result->found), "lost",
							text_json(result->lost), "command",
							text_json(result->command)));
	}
	return json_pack("{s:s, s:i, s:i, s:i, s:i, s:o}", "verdict",
			 check_verdict_to_string(report->worst), "fine", report->counts[CHECK_FINE],
			 "without", report->counts[CHECK_WITHOUT], "mend",
			 report->counts[CHECK_MEND], "unseen", report->counts[CHECK_UNSEEN],
			 "checks", checks);
}

/* ---------------------------------------------------------------- the command */

static int exit_code(const struct check_report *report)
{
	if (report->worst == CHECK_MEND)
		return CTL_CHECK_MEND;
	return report->worst == CHECK_FINE ? CTL_OK : CTL_CHECK_WITHOUT;
}

static void list_probes(void)
{
	for (size_t i = 0; i < check_probe_count; i++)
		printf("%-22s  %s\n", check_probes[i].name, check_probes[i].about);
}

static bool is_probe(const char *name)
{
	for (size_t i = 0; i < check_probe_count; i++)
		if (str_equal(check_probes[i].name, name))
			return true;
	return false;
}

static int run_probes(const struct check_options *options, char *const *names, size_t count,
		      bool json)
{
	struct check_report report;
	struct check_host host;

	check_host_open(options, &host);
	check_run(&host, names, count, &report);
	if (json) {
		json_t *object = check_report_json(&report);
		json_dumpf(object, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
		putchar('\n');
		json_decref(object);
	} else {
		check_report_print(&report, stdout);
	}
	int code = exit_code(&report);
	check_report_done(&report);
	check_host_done(&host);
	return code;
}

/* Kata's words for all of ours: none asks the network. */
static bool is_all(const char *word)
{
	return str_equal(word, "all") || str_equal(word, "no-network-checks");
}

static int run_words(const struct check_options *options, char *const *words, int count, bool json)
{
	if (count == 1 && str_equal(words[0], "list")) {
		list_probes();
		return CTL_OK;
	}
	if (count == 1 && is_all(words[0]))
		count = 0;
	for (int i = 0; i < count; i++)
		if (!is_probe(words[i]))
			return ctl_usage(&ctl_check, "there is no check '%s'; 'check list' has all",
					 words[i]);
	return run_probes(options, words, (size_t)count, json);
}

static const struct option option_table[] = {
	{ "config", required_argument, NULL, 'c' },
	{ "containerd-config", required_argument, NULL, 'C' },
	{ "help", no_argument, NULL, 'h' },
	{ "json", no_argument, NULL, 'j' },
	{ "no-network-checks", no_argument, NULL, 'n' },
	{ "socket", required_argument, NULL, 's' },
	{},
};

static int check_command_run(int argc, char **argv)
{
	struct check_options check = { .root = "" };
	bool json = false;
	int c;

	optind = 0;
	while ((c = getopt_long(argc, argv, ":hn", option_table, NULL)) != -1) {
		if (c == 'h')
			return ctl_help(&ctl_check);
		else if (c == 'c')
			check.config = optarg;
		else if (c == 'C')
			check.containerd = optarg;
		else if (c == 'j')
			json = true;
		else if (c == 'n')
			continue; /* none asks the network */
		else if (c == 's')
			check.socket = optarg;
		else
			return ctl_usage_option(&ctl_check, c, argv);
	}
	return run_words(&check, &argv[optind], argc - optind, json);
}

/* For completion. */
static const char *word(size_t i)
{
	static const char *const others[] = { "all", "list", "no-network-checks" };

	if (i < check_probe_count)
		return check_probes[i].name;
	i -= check_probe_count;
	return i < ARRAY_SIZE(others) ? others[i] : NULL;
}

const struct ctl_command ctl_check = {
	.name = "check",
	.usage = "kiln-ctl check [NAME...] [OPTIONS]\n"
		 "       kiln-ctl check list",
	.summary = "can this host run Kiln, and how well",
	.help = "Looks at the host, changes nothing, and prints a line for each check:\n"
		"  fine      it is there\n"
		"  without   Kiln works without it; what is lost follows, and what brings it back\n"
		"  mend      Kiln does not work until it is mended; the command follows\n"
		"  unseen    this user cannot see it, or nothing is there to look at\n"
		"NAME: these checks only; 'list' names all. The factory's configuration is read as the\n"
		"factory reads it, and a running factory is asked. Some checks try something out, in\n"
		"namespaces of their own, and only root can.\n"
		"\n"
		"Options:\n"
		"      --config FILE     the factory's configuration, default " FACTORY_CONFIG_PATH
		"\n"
		"      --containerd-config FILE  containerd's, default its own default\n"
		"      --json            an object: verdict (the worst), fine, without, mend, unseen\n"
		"                        (how many), checks[]: name, verdict, found, lost, command\n"
		"  -n, --no-network-checks  changes nothing, as 'all' does: no check asks the network\n"
		"      --socket PATH     of the factory, default $KILN_FACTORY or as configured\n"
		"  -h, --help            this text\n"
		"\n"
		"Exit codes: 0 all is fine; 1 it works without something, or not all was seen;\n"
		"2 something must be mended, or the command line is wrong (and nothing is printed\n"
		"on stdout).\n",
	.options = option_table,
	.word = word,
	.words_repeat = true,
	.run = check_command_run,
};
