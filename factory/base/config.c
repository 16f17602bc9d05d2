#include "factory/base/config.h"

#include <inttypes.h>
#include <string.h>

#include "base/config.h"
#include "base/file.h"
#include "base/id.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/strings.h"
#include "base/trace.h"
#include "factory/base/collector.h"
#include "factory/base/layout.h"

#define C struct factory_config

static const struct config_key factory_keys[] = {
	CONFIG_STRING(C, run_dir, "run_dir", "/run/kiln",
		      "Folder of sockets, journal and share folders, 47 bytes at most; best on "
		      "tmpfs"),
	CONFIG_STRING(C, socket, "socket", NULL,
		      "Unix socket served; default RUN_DIR/factory.sock"),
	CONFIG_STRING(
		C, http_socket, "http_socket", NULL,
		"Unix socket for /metrics, /healthz, /readyz, /status; default RUN_DIR/http.sock"),
	CONFIG_UINT(
		C, http_port, "http_port", 0, 0, 65535,
		"TCP port on 127.0.0.1 for the same pages, open to everybody on the host; 0: none"),
	CONFIG_STRING(C, store, "store", NULL,
		      "Folder of the baked templates, best on tmpfs; default RUN_DIR/store"),
	CONFIG_STRING(C, scratch_dir, "scratch_dir", "/var/lib/kiln/scratch",
		      "Folder for what containers write, best on a disk: each machine has a file "
		      "without a name there, which takes as much room as was written to it"),
	CONFIG_STRING(C, templates, "templates", KILN_DATA_DIR "/default.json",
		      "Template definition, or a folder of them (*.json)"),
	CONFIG_STRING(
		C, image_cache, "image_cache", "/var/lib/kiln/images",
		"Folder of the images made of containers' layers, on a disk; empty: no images are "
		"made"),
	CONFIG_UINT(C, image_cache_mib, "image_cache_mib", 10240, 1, 16 * 1024 * 1024,
		    "MiB the images may take together; those used least recently go first",
		    .reloadable = true),
	CONFIG_STRING(
		C, qemu, "qemu", "/usr/bin/qemu-system-x86_64",
		"The QEMU to run, or a program that becomes one: a file of root's that nobody else "
		"may write to, whose name begins with qemu, so that a machine is known by it"),
	CONFIG_STRING(C, accelerator, "accelerator", "auto",
		      "tcg, kvm, or auto: KVM where the CPU has vmx or svm, else TCG"),
	CONFIG_STRING(
		C, channel, "channel", "auto",
		"How agents are reached: serial, by a port of each machine that its claimer has; "
		"vsock, by vsock as well, for root on the host; auto: vsock where the host "
		"has vhost-vsock"),
	CONFIG_STRING(
		C, vhost_net, "vhost_net", "auto",
		"Whether the host's kernel moves the packets of machines' network cards (vhost-net): yes, "
		"no, or auto: where the host has it and KVM; by no, QEMU does, and guests talk to less of the "
		"kernel"),
	CONFIG_STRING(C, libvirt_uri, "libvirt_uri", NULL,
		      "libvirt to bake with, such as qemu:///system; default: the embedded driver"),
	CONFIG_STRING(C, log_file, "log_file", NULL,
		      "File to log to; default stderr, as a daemon RUN_DIR/factory.log"),
	CONFIG_ENUM(C, log_level, "log_level", "info", log_level_from_string,
		    "debug, info, warning or error", .reloadable = true),
	CONFIG_ENUM(C, log_format, "log_format", "text", log_format_from_string,
		    "text, or json for one JSON object a line", .reloadable = true),
	CONFIG_STRING(C, trace, "trace", NULL,
		      "Folder that the spans of claims are written to, or unix:///SOCKET; default "
		      "RUN_DIR/trace/collector.sock with trace_collector, else the environment's "
		      "KILN_TRACE, else none; for a reload it has to be below run_dir",
		      .reloadable = true),
	CONFIG_STRING(
		C, trace_collector, "trace_collector", NULL,
		"Where spans are sent to, by OTLP/HTTP: http://ADDRESS[:4318][/v1/traces], an "
		"IPv4 address in numbers; takes those of shims at "
		"RUN_DIR/trace/collector.sock"),
	CONFIG_UINT(C, clones_at_once, "clones_at_once", 2, 1, 64,
		    "Clones being made at the same time for all refills, or for the claims of one "
		    "template",
		    .reloadable = true),
	CONFIG_UINT(
		C, max_vms, "max_vms", 256, 1, 4096,
		"Machines that may exist at the same time, whatever their state; beyond it claims "
		"are refused",
		.reloadable = true),
	CONFIG_UINT(C, max_waiting, "max_waiting", 256, 1, 4096,
		    "Claims that may wait for a machine; beyond it they are refused",
		    .reloadable = true),
	CONFIG_UINT(C, boots_at_once, "boots_at_once", 2, 0, 64,
		    "Machines being booted at the same time, for claims that no template fits; 0: "
		    "such claims are refused",
		    .reloadable = true),
	CONFIG_UINT(C, max_vcpus, "max_vcpus", 0, 0, 1024,
		    "vCPUs a claim may ask for; 0: as many as the host has processors",
		    .reloadable = true),
	CONFIG_UINT(C, max_memory_mib, "max_memory_mib", 0, 0, 16 * 1024 * 1024,
		    "MiB of memory a claim may ask for; 0: as many as the host has",
		    .reloadable = true),
	CONFIG_UINT(C, min_free_mib, "min_free_mib", 0, 0, 16 * 1024 * 1024,
		    "MiB of the host's memory to leave available: below it no clones are made, and "
		    "claims that need one are refused; 0: no such limit",
		    .reloadable = true),
	CONFIG_UINT(C, lease_grace_s, "lease_grace_s", 30, 1, 86400,
		    "Seconds from a claimer's death to the end of its machine, unless another "
		    "process renews the lease"),
	CONFIG_BOOL(
		C, merge_pages, "merge_pages", false,
		"Let the kernel (KSM, if it runs) merge equal pages of all machines: less memory "
		"for some CPU time, and one more side channel"),
	CONFIG_BOOL(C, init_on_start, "init_on_start", true,
		    "Bake the template and fill the pool at the start, without `factory init`"),
	CONFIG_STRING(
		C, user, "user", NULL,
		"User (number or name) that the factory is, while kiln-jailer does what only root can do; "
		"by default kiln-factory where the host has such a user, else root without capabilities"),
	CONFIG_UINT(
		C, uid_first, "uid_first", UID_RANGE_FIRST, 0,
		UINT32_MAX - UID_RANGES * UID_RANGE_SIZE,
		"First of the user ids that machines run as: 4096 times 65536 of them; 0: machines "
		"run as root, without a jail"),
	CONFIG_STRING(
		C, cgroup, "cgroup", "kiln",
		"Control group below which each machine has its own, with its limits, and nothing else is "
		"(not a namespace of containerd's, either); empty: none"),
	CONFIG_STRING(
		C, allow_uids, "allow_uids", NULL,
		"Users (numbers or names, separated by commas) that may use the socket, besides root",
		.reloadable = true),
	CONFIG_STRING(
		C, allow_groups, "allow_groups", NULL,
		"Groups (numbers or names, separated by commas) whose members may use the socket",
		.reloadable = true),
};

#undef C

static int check_accelerator(const char *accelerator, struct error *err)
{
	if (str_equal(accelerator, "auto") || str_equal(accelerator, "tcg") ||
	    str_equal(accelerator, "kvm"))
		return 0;
	return error_set(err, EINVAL, "accelerator is \"%s\": must be auto, tcg or kvm",
			 accelerator);
}

static int check_channel(const char *channel, struct error *err)
{
	if (str_equal(channel, "auto") || str_equal(channel, "vsock") ||
	    str_equal(channel, "serial"))
		return 0;
	return error_set(err, EINVAL, "channel is \"%s\": must be auto, vsock or serial", channel);
}

static int check_vhost_net(const char *vhost_net, struct error *err)
{
	if (str_equal(vhost_net, "auto") || str_equal(vhost_net, "yes") ||
	    str_equal(vhost_net, "no"))
		return 0;
	return error_set(err, EINVAL, "vhost_net is \"%s\": must be auto, yes or no", vhost_net);
}

static int check_absolute(const char *key, const char *path, struct error *err)
{
	if (path[0] == '/')
		return 0;
	return error_set(err, EINVAL, "%s is \"%s\": must be an absolute path", key, path);
}

static int check_cgroup(const char *name, struct error *err)
{
	if (name[0] != '/' && !strstr(name, "..") && !strstr(name, "//"))
		return 0;
	return error_set(
		err, EINVAL,
		"cgroup is \"%s\": must be a name below the controllers, without .. and without a slash before it",
		name);
}

/* A run_dir may be short enough for the factory's own sockets and too long for those that a machine
 * has in its folder, or for the monitor that the embedded libvirt makes for a bake (its domain's
 * name cut to 20 characters): nothing would ever be baked or cloned there. */
static int check_run_dir_length(const struct factory_config *config, struct error *err)
{
	const char id[ID_HEX_SIZE] = "00000000000000000000000000000000";
	_cleanup_free_ char *machine = xasprintf(LAYOUT_VM_DIR, config->run_dir, id);
	_cleanup_free_ char *agent = path_join(machine, "agent.sock");
	_cleanup_free_ char *monitor = xasprintf("%s/libvirt/lib/qemu/domain-1-%.20s/monitor.sock",
						 config->run_dir,
						 LAYOUT_DOMAIN_PREFIX "000000000000");

	int r = socket_check_path(agent, err);
	if (r == 0 && !config->libvirt_uri)
		r = socket_check_path(monitor, err);
	return r < 0 ? error_wrap(err, "run_dir is too long") : 0;
}

static int check_collector(const struct factory_config *config, struct error *err)
{
	_cleanup_free_ char *path = xasprintf(LAYOUT_TRACE_SOCKET, config->run_dir);
	_cleanup_(collector_done) struct collector collector = {};

	int r = collector_parse(config->trace_collector, &collector, err);
	return r < 0 ? error_wrap(err, "trace_collector") : socket_check_path(path, err);
}

/* Fills in what depends on another key, and checks what the table cannot. */
static int config_complete(struct factory_config *config, struct error *err)
{
	if (!config->socket)
		config->socket = path_join(config->run_dir, "factory.sock");
	if (!config->http_socket)
		config->http_socket = path_join(config->run_dir, "http.sock");
	if (!config->trace && config->trace_collector)
		config->trace = xasprintf(TRACE_SOCKET LAYOUT_TRACE_SOCKET, config->run_dir);
	if (!config->store)
		config->store = path_join(config->run_dir, "store");

	int r = check_accelerator(config->accelerator, err);
	if (r == 0)
		r = check_channel(config->channel, err);
	if (r == 0)
		r = check_vhost_net(config->vhost_net, err);
	if (r == 0)
		r = check_absolute("run_dir", config->run_dir, err);
	if (r == 0)
		r = check_absolute("socket", config->socket, err);
	if (r == 0)
		r = check_absolute("http_socket", config->http_socket, err);
	if (r == 0)
		r = socket_check_path(config->socket, err);
	if (r == 0)
		r = socket_check_path(config->http_socket, err);
	if (r == 0)
		r = check_run_dir_length(config, err);
	if (r == 0)
		r = check_absolute("store", config->store, err);
	if (r == 0)
		r = check_absolute("scratch_dir", config->scratch_dir, err);
	if (r == 0)
		r = check_absolute("templates", config->templates, err);
	if (r == 0 && config->image_cache[0] != '\0')
		r = check_absolute("image_cache", config->image_cache, err);
	if (r == 0 && config->trace && !str_after(config->trace, TRACE_SOCKET))
		r = check_absolute("trace", config->trace, err);
	if (r == 0 && config->trace_collector)
		r = check_collector(config, err);
	if (r == 0)
		r = check_cgroup(config->cgroup, err);
	if (r == 0 && config->uid_first != 0 && config->uid_first < UID_RANGE_SIZE)
		r = error_set(err, EINVAL,
			      "uid_first is %" PRIu64
			      ": must be 0 or at least %u, above the host's own users",
			      config->uid_first, UID_RANGE_SIZE);
	return r;
}

static int config_read_file(const char *path, struct factory_config *config, struct error *err)
{
	json_t *object = NULL;
	int r = config_load_file(path, &object, err);
	if (r < 0)
		return r;
	r = config_read(factory_keys, ARRAY_SIZE(factory_keys), object, path, config, err);
	json_decref(object);
	return r;
}

int factory_config_load(const char *path, struct factory_config *ret_config, struct error *err)
{
	struct factory_config config = {};
	int r = 0;

	config_set_defaults(factory_keys, ARRAY_SIZE(factory_keys), &config);
	if (path || path_exists(FACTORY_CONFIG_PATH))
		r = config_read_file(path ? path : FACTORY_CONFIG_PATH, &config, err);
	if (r == 0) {
		r = config_complete(&config, err);
		if (r < 0)
			r = error_wrap(err, "in %s", path ? path : FACTORY_CONFIG_PATH);
	}
	if (r < 0) {
		factory_config_done(&config);
		return r;
	}
	*ret_config = config;
	return 0;
}

void factory_config_done(struct factory_config *config)
{
	config_done(factory_keys, ARRAY_SIZE(factory_keys), config);
}

const struct config_key *factory_config_keys(size_t *ret_count)
{
	*ret_count = ARRAY_SIZE(factory_keys);
	return factory_keys;
}

void factory_config_print(FILE *out)
{
	config_print(factory_keys, ARRAY_SIZE(factory_keys), out);
}
