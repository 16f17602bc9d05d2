/* kiln-ctl env. */
#include "ctl/env.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/config.h"
#include "base/file.h"
#include "base/format.h"
#include "base/memory.h"
#include "base/strings.h"
#include "ctl/ctl.h"
#include "ctl/programs.h"
#include "ctl/replaced.h"
#include "ctl/sandboxes.h"
#include "ctl/toml_write.h"
#include "factory/store/template.h"

/* ---------------------------------------------------------------- values */

/* Foreign text; NULL and "" are null. */
static json_t *text_json(const char *text)
{
	_cleanup_free_ char *shown = xstrdup(text);

	if (str_empty(shown))
		return json_null();
	str_neutralise(shown, "");
	return json_string(shown);
}

static void add_text(json_t *array, const char *text)
{
	if (!str_empty(text))
		json_array_append_new(array, text_json(text));
}

/* Of a sentence that stands in for a value. */
static json_t *error_json(const struct error *err)
{
	return err->number != 0 ? text_json(error_message(err)) : json_null();
}

static void put(json_t *object, const char *key, json_t *value)
{
	json_object_set_new(object, key, value);
}

static void put_number(json_t *object, const char *key, uint64_t number)
{
	put(object, key, json_integer((json_int_t)number));
}

char *env_address(const char *address)
{
	const char *begin = strstr(address, "://"), *at = strrchr(address, '@');

	if (!begin || !at || at < begin)
		return xstrdup(address);
	return xasprintf("%.*s…%s", (int)(begin + 3 - address), address, at);
}

char *env_assignment(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (const char *line = text; *line;) {
		size_t end = strcspn(line, "\n");
		if (strncmp(line, key, len) == 0 && line[len] == '=') {
			const char *value = line + len + 1;
			size_t size = end - len - 1;
			if (size >= 2 && (*value == '"' || *value == '\'') &&
			    value[size - 1] == *value)
				return xstrndup(value + 1, size - 2);
			return xstrndup(value, size);
		}
		line += end + (line[end] == '\n');
	}
	return NULL;
}

/* ---------------------------------------------------------------- programs */

static json_t *versions_json(const struct check_host *host)
{
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *libvirt = NULL, *containerd = NULL, *factory = NULL;
	const struct template_host_choice choice = { "tcg", "serial", "no" };
	struct template_host facts;
	json_t *object = json_object();

	put(object, "kiln-ctl", json_string(KILN_VERSION));
	if (program_version("kiln-factory", &factory, NULL) == 0)
		put(object, "kiln-factory", text_json(factory));
	if (host->status)
		put(object, "running_factory", text_json(host->status->version));
	if (host->status)
		put(object, "running_factory_replaced",
		    json_boolean(program_is_replaced((pid_t)host->status->pid)));
	if (template_host_probe(host->config.qemu, &choice, &facts, &err) == 0) {
		put(object, "qemu", text_json(facts.qemu_version));
		template_host_done(&facts);
	}
	if (libvirt_version(&libvirt, NULL) == 0)
		put(object, "libvirt", text_json(libvirt));
	if (program_version("containerd", &containerd, NULL) == 0)
		put(object, "containerd", text_json(containerd));
	return object;
}

/* How many shims run of each version, and how many of them are not the installed one; null where
 * they cannot be asked. */
static json_t *shims_json(void)
{
	_cleanup_(sandboxes_done) struct sandboxes sandboxes = {};
	json_t *object, *versions;
	json_int_t replaced = 0;

	if (sandboxes_get(&(struct sandboxes_options){}, &sandboxes, NULL) < 0)
		return json_null();
	object = json_object();
	versions = json_object();
	for (size_t i = 0; i < sandboxes.count; i++) {
		const struct sandbox *sandbox = &sandboxes.items[i];
		const char *version = sandbox->info ? sandbox->info->version : "unknown";
		json_int_t before = json_integer_value(json_object_get(versions, version));
		put(versions, version, json_integer(before + 1));
		replaced += sandbox->replaced;
	}
	put(object, "versions", versions);
	put(object, "replaced", json_integer(replaced));
	return object;
}

/* Of this program, and so of those that are installed with it. */
static json_t *formats_json(void)
{
	json_t *object = json_object();

	for (size_t i = 0; i < FORMATS; i++)
		put_number(object, format_versions[i].name, format_versions[i].version);
	return object;
}

static json_t *containerd_json(const struct check_host *host)
{
	_cleanup_(error_done) struct error err = {};
	struct containerd_config config;
	json_t *object = json_object(), *runtimes = json_array();

	if (containerd_config_ask(host->options.containerd, &config, &err) == 0) {
		for (size_t i = 0; i < config.count; i++) {
			const struct containerd_runtime *runtime = &config.runtimes[i];
			json_t *annotations = json_array();
			for (size_t n = 0; n < runtime->annotations.count; n++)
				add_text(annotations, runtime->annotations.items[n]);
			json_array_append_new(runtimes, json_pack("{s:o, s:o, s:o}", "name",
								  text_json(runtime->name), "type",
								  text_json(runtime->type),
								  "pod_annotations", annotations));
		}
		put(object, "cri_disabled", json_boolean(config.cri_disabled));
		containerd_config_done(&config);
	}
	put(object, "error", error_json(&err));
	put(object, "runtimes", runtimes);
	return object;
}

/* ---------------------------------------------------------------- host */

static json_t *kvm_json(const struct check_host *host)
{
	json_t *object = json_object();
	struct stat st;
	bool there = stat("/dev/kvm", &st) == 0;

	put(object, "device", json_boolean(there));
	if (there) {
		_cleanup_free_ char *mode = xasprintf("%04o", st.st_mode & 07777);
		put(object, "mode", json_string(mode));
		put_number(object, "group", st.st_gid);
		put(object, "opens", json_boolean(access("/dev/kvm", R_OK | W_OK) == 0));
	}
	if (host->status)
		put(object, "obstacle", text_json(host->status->kvm_obstacle));
	return object;
}

static uint64_t meminfo_mib(const char *meminfo, const char *key)
{
	const char *at = strstr(meminfo, key);

	return at ? strtoull(at + strlen(key), NULL, 10) / 1024 : 0;
}

static json_t *host_json(const struct check_host *host)
{
	_cleanup_free_ char *cpuinfo = check_host_read(host, "/proc/cpuinfo");
	_cleanup_free_ char *meminfo = check_host_read(host, "/proc/meminfo");
	_cleanup_free_ char *release = check_host_read(host, "/etc/os-release");
	_cleanup_free_ char *name = env_assignment(release ? release : "", "PRETTY_NAME");
	json_t *object = json_object();
	struct cpu_facts cpu;
	struct utsname kernel;

	put(object, "distribution", text_json(name));
	if (uname(&kernel) == 0) {
		put(object, "kernel", text_json(kernel.release));
		put(object, "architecture", text_json(kernel.machine));
	}
	cpu_facts_parse(cpuinfo ? cpuinfo : "", &cpu);
	put(object, "cpu", text_json(cpu.model));
	put(object, "virtualization", json_boolean(cpu.virtualization));
	free(cpu.model);
	put(object, "cpus", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
	if (meminfo) {
		put_number(object, "memory_mib", meminfo_mib(meminfo, "MemTotal:"));
		put_number(object, "memory_available_mib", meminfo_mib(meminfo, "MemAvailable:"));
	}
	put(object, "cgroup_version",
	    json_integer(check_host_has(host, "/sys/fs/cgroup/cgroup.controllers") ? 2 : 1));
	put(object, "kvm", kvm_json(host));
	return object;
}

/* ---------------------------------------------------------------- configuration */

static json_t *value_json(const struct config_key *key, const struct factory_config *config)
{
	const void *field = (const char *)config + key->offset;

	switch (key->type) {
	case CONFIG_TYPE_STRING: {
		const char *text = *(char *const *)field;
		_cleanup_free_ char *shown = text ? env_address(text) : NULL;
		return shown ? json_string(shown) : json_null();
	}
	case CONFIG_TYPE_UINT:
		return json_integer((json_int_t) * (const uint64_t *)field);
	case CONFIG_TYPE_BOOL:
		return json_boolean(*(const bool *)field);
	case CONFIG_TYPE_ENUM:
		break;
	}
	return json_integer(*(const int *)field);
}

json_t *env_configuration(const struct check_host *host)
{
	const char *path = host->options.config ? host->options.config : FACTORY_CONFIG_PATH;
	json_t *file = NULL, *values = json_object(), *from = json_object();
	size_t count;
	const struct config_key *keys = factory_config_keys(&count);

	if (path_exists(path) && config_load_file(path, &file, NULL) < 0)
		file = NULL;
	for (size_t i = 0; i < count; i++) {
		const json_t *written = json_object_get(file, keys[i].name);
		bool is_enum = keys[i].type == CONFIG_TYPE_ENUM;
		/* A name, in the file as in the table. */
		put(values, keys[i].name,
		    is_enum ? text_json(written ? json_string_value(written)
						: keys[i].default_string)
			    : value_json(&keys[i], &host->config));
		put(from, keys[i].name, text_json(written ? path : "default"));
	}
	json_decref(file);
	json_t *object = json_pack("{s:o, s:b, s:o, s:o}", "path", text_json(path), "valid",
				   host->configured, "values", values, "from", from);
	put(object, "error", error_json(&host->config_error));
	return object;
}

/* ---------------------------------------------------------------- templates */

static json_t *definition_json(const struct template_definition *template)
{
	json_t *images = json_array();
	json_t *object = json_pack(
		"{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name", text_json(template->name),
		"definition", text_json(template->path), "kernel", text_json(template->kernel),
		"initrd", text_json(template->initrd), "image", text_json(template->image),
		"machine", text_json(template->machine), "kernel_params",
		text_json(template->kernel_params));
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{ "vcpus", template->vcpus },
		{ "memory_mib", template->memory_mib },
		{ "spare_vcpus", template->spare_vcpus },
		{ "max_memory_mib", template->max_memory_mib },
		{ "scratch_mib", template->scratch_mib },
		{ "block_slots", template->block_slots },
		{ "dax_windows", template->dax_windows },
		{ "dax_window_mib", template->dax_window_mib },
		{ "network_cards", template->network_cards },
		{ "boot_timeout_s", template->boot_timeout_s },
		{ "pool_size", template->pool_size },
	};

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		put_number(object, numbers[i].name, numbers[i].value);
	put(object, "free_page_reporting", json_boolean(template->free_page_reporting));
	put(object, "annotations", text_json(template->annotations));
	put(object, "on_stale",
	    json_string(on_stale_to_string((enum on_stale) template->on_stale)));
	put(object, "share",
	    json_string(template_share_to_string((enum template_share) template->share)));
	put(object, "memory_dir", text_json(template->memory_dir));
	put(object, "debug_console", json_boolean(template->debug_console));
	for (size_t i = 0; i < template->images.count; i++)
		add_text(images, template->images.items[i].name);
	put(object, "images", images);
	return object;
}

static void add_status(json_t *object, const Kiln__Factory__V1__TemplateStatus *status)
{
	put(object, "state", text_json(status->state));
	put(object, "phase", text_json(status->phase));
	put(object, "id", text_json(status->id));
	put(object, "error", text_json(status->error));
	put(object, "stale", text_json(status->stale));
	put(object, "rebuild_error", text_json(status->rebuild_error));
	put_number(object, "baked_at", status->baked_at);
	put_number(object, "bake_ms", status->bake_ms);
	put_number(object, "boot_ms", status->boot_ms);
	if (!status->pool)
		return;
	put_number(object, "pool_target", status->pool->target);
	put_number(object, "pool_parked", status->pool->parked);
	put_number(object, "pool_claimed", status->pool->claimed);
	put(object, "pool_mode", text_json(status->pool->mode));
	put(object, "pool_obstacle", text_json(status->pool->obstacle));
}

static json_t *templates_json(const struct check_host *host)
{
	json_t *templates = json_array();

	for (size_t i = 0; i < host->definitions.count; i++) {
		const struct template_definition *definition = host->definitions.items[i];
		const Kiln__Factory__V1__TemplateStatus *status = check_host_template(
			host, definition->name);
		json_t *template = definition_json(definition);
		if (status)
			add_status(template, status);
		json_array_append_new(templates, template);
	}
	return templates;
}

static json_t *factory_json(const struct check_host *host)
{
	_cleanup_free_ char *address = env_address(host->address);
	json_t *object = json_object();

	put(object, "address", text_json(address));
	put(object, "answers", json_boolean(host->status != NULL));
	put(object, "error", error_json(&host->status_error));
	if (host->status) {
		put_number(object, "uptime_s", host->status->uptime_s);
		put(object, "accelerator", text_json(host->status->accelerator));
	}
	return object;
}

json_t *env_collect(const struct check_host *host)
{
	json_t *object = json_object();

	put(object, "meta", json_pack("{s:i}", "version", ENV_VERSION));
	put(object, "versions", versions_json(host));
	put(object, "formats", formats_json());
	put(object, "shims", shims_json());
	put(object, "host", host_json(host));
	put(object, "containerd", containerd_json(host));
	put(object, "factory", factory_json(host));
	put(object, "configuration", env_configuration(host));
	put(object, "definitions_error", error_json(&host->definitions_error));
	put(object, "templates", templates_json(host));
	return object;
}

/* ---------------------------------------------------------------- the command */

struct env_args {
	struct check_options check;
	const char *file; /* NULL: stdout */
	bool json;
};

static char *render(const json_t *env, bool json)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		abort(); /* out of memory */
	if (json) {
		json_dumpf(env, out, JSON_INDENT(2) | JSON_ENSURE_ASCII);
		putc('\n', out);
	} else {
		toml_write(env, out);
	}
	fclose(out);
	return text;
}

static int show(const struct env_args *args)
{
	_cleanup_(error_done) struct error err = {};
	struct check_host host;

	check_host_open(&args->check, &host);
	json_t *env = env_collect(&host);
	_cleanup_free_ char *text = render(env, args->json);
	json_decref(env);
	check_host_done(&host);
	if (!args->file)
		fputs(text, stdout);
	else if (file_write_atomic(args->file, text, strlen(text), 0600, &err) < 0)
		return ctl_fail(&err);
	return CTL_OK;
}

static const struct option option_table[] = {
	{ "config", required_argument, NULL, 'c' },
	{ "containerd-config", required_argument, NULL, 'C' },
	{ "file", required_argument, NULL, 'f' },
	{ "help", no_argument, NULL, 'h' },
	{ "json", no_argument, NULL, 'j' },
	{ "socket", required_argument, NULL, 's' },
	{},
};

static int env_run(int argc, char **argv)
{
	struct env_args args = { .check.root = "" };
	int c;

	optind = 0;
	while ((c = getopt_long(argc, argv, ":hf:", option_table, NULL)) != -1) {
		if (c == 'h')
			return ctl_help(&ctl_env);
		else if (c == 'c')
			args.check.config = optarg;
		else if (c == 'C')
			args.check.containerd = optarg;
		else if (c == 'f')
			args.file = optarg;
		else if (c == 'j')
			args.json = true;
		else if (c == 's')
			args.check.socket = optarg;
		else
			return ctl_usage_option(&ctl_env, c, argv);
	}
	if (optind < argc)
		return ctl_usage(&ctl_env, "'%s' is one word too many", argv[optind]);
	return show(&args);
}

const struct ctl_command ctl_env = {
	.name = "env",
	.usage = "kiln-ctl env [OPTIONS]",
	.summary = "versions, configuration, templates and host, for a report of a fault",
	.help = "Prints as TOML what somebody needs to know who is to find a fault: versions of all\n"
		"programs, the host, the factory's configuration with its defaults and where each\n"
		"value is from, containerd's runtimes, the templates. It says nothing of pods and\n"
		"sandboxes, nothing of the environment, and no user or password of an address.\n"
		"\n"
		"Options:\n"
		"      --config FILE     the factory's configuration, default " FACTORY_CONFIG_PATH
		"\n"
		"      --containerd-config FILE  containerd's, default its own default\n"
		"  -f, --file FILE       write it there (readable by you alone), not on stdout\n"
		"      --json            JSON instead of TOML\n"
		"      --socket PATH     of the factory, default $KILN_FACTORY or as configured\n"
		"  -h, --help            this text\n"
		"\n"
		"meta.version is raised where a key goes or means something else; new ones may come.\n"
		"What cannot be had is left out, or \"error\" says why.\n",
	.options = option_table,
	.run = env_run,
};
