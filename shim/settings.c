#include "shim/settings.h"

#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/memory.h"
#include "base/strings.h"
#include "factory/guest/carried_device.h"
#include "proto/claim_priority.h"
#include "proto/runtimeoptions.pb-c.h"
#include "shim/hooks.h"
#include "shim/limits.h"
#include "shim/pod_cgroup.h"
#include "shim/pod_network.h"
#include "shim/rootfs.h"
#include "shim/spec.h"
#include "shim/volumes.h"

#define KILN "io.kiln."
#define CRI  "io.kubernetes.cri.sandbox-"

#define LIFE_MAX_S (366 * 24 * 3600)
#define MIB        ((uint64_t)1 << 20)

static const struct config_key keys[] = {
	CONFIG_STRING(struct settings, factory, "factory", "unix:///run/kiln/factory.sock",
		      "Address of kiln-factory"),
	CONFIG_STRING(struct settings, template_name, "template", "",
		      "Template a sandbox is cloned from; empty: the factory chooses"),
	CONFIG_ENUM(struct settings, priority, "priority", "normal", claim_priority_from_string,
		    "Place in the line for a machine: normal, high or system"),
	CONFIG_UINT(struct settings, vcpus, "vcpus", 0, 0, LIMITS_VCPUS_MAX,
		    "vCPUs a sandbox has at least; 0: the template's"),
	CONFIG_UINT(struct settings, memory_mib, "memory_mib", 0, 0, LIMITS_MEMORY_MAX_MIB,
		    "MiB a sandbox has at least; 0: the template's"),
	CONFIG_ENUM(struct settings, rootfs, "rootfs", "overlay", rootfs_driver_from_string,
		    "What containers write their root file system to: overlay (a disk of the "
		    "guest; or the device, where the snapshotter gives one), block (such a device "
		    "only) or share (the host's, slower)"),
	CONFIG_ENUM(
		struct settings, volumes, "volumes", "9p", volumes_driver_from_string,
		"How the host's folders are shown as volumes: 9p, virtiofs (a daemon a sandbox; "
		"its template needs \"share\": \"never\") or virtiofs-locks (with the host's "
		"locks, which never wait)"),
	CONFIG_ENUM(
		struct settings, internetworking_model, "internetworking_model", "tcfilter",
		network_model_from_string,
		"How a pod's interfaces and its machine's cards are joined: tcfilter, by a tap "
		"that waits and redirects, or macvtap, by a card that is plugged in, which takes "
		"longer"),
	CONFIG_UINT(
		struct settings, check_s, "check_s", 10, 0, 3600,
		"Seconds between two questions to a guest whether it is there; 0: none is asked"),
	CONFIG_UINT(struct settings, check_misses, "check_misses", 6, 1, 1000,
		    "So many intervals in a row without an answer, and the machine is ended"),
	CONFIG_UINT(
		struct settings, kill_s, "kill_s", 10, 1, 3600,
		"Seconds from SIGKILL until a process must have ended; else the machine is ended, "
		"with all that is in it"),
	CONFIG_UINT(
		struct settings, ttl_s, "ttl_s", 0, 0, LIFE_MAX_S,
		"Seconds that a sandbox may live; then it is ended, as by a stop; 0: any number"),
	CONFIG_UINT(
		struct settings, idle_s, "idle_s", 0, 0, LIFE_MAX_S,
		"Seconds after which a sandbox that nobody uses is ended: no exec, no bytes of a "
		"stream, no more processor time than idle_cpu_percent; 0: it is not"),
	CONFIG_UINT(struct settings, idle_cpu_percent, "idle_cpu_percent", 5, 0, 100,
		    "Percent of one processor that a sandbox which nobody uses takes at most"),
	CONFIG_BOOL(struct settings, sandbox_cgroup_only, "sandbox_cgroup_only", false,
		    "The VMM is in the pod's control group, whose limits and accounts hold for it "
		    "then; its own limits stay"),
	CONFIG_STRING(struct settings, annotations, "annotations", "",
		      "Words the template has to carry, separated by commas"),
	CONFIG_STRING(
		struct settings, enable_annotations, "enable_annotations",
		"template,annotations,images,rootfs,volumes,ttl_s,idle_s",
		"Annotations io.kiln.NAME that pods and containers may have, by NAME, separated "
		"by commas; others (vcpus, memory_mib, internetworking_model) are refused"),
};

/* What enable_annotations may name. */
static const char *const annotation_names[] = {
	"template", "vcpus",   "memory_mib", "annotations", "images",
	"rootfs",   "volumes", "ttl_s",      "idle_s",      "internetworking_model",
};

static void read_environment(struct settings *settings)
{
	const char *factory = getenv("KILN_FACTORY");
	const char *template_name = getenv("KILN_TEMPLATE");

	if (!str_empty(factory))
		replace_string(&settings->factory, factory);
	if (!str_empty(template_name))
		replace_string(&settings->template_name, template_name);
}

/* Names, with commas or blanks between. */
static bool is_enabled(const struct settings *settings, const char *name)
{
	_cleanup_free_ char *copy = xstrdup(settings->enable_annotations);
	char *save = NULL;

	for (char *at = strtok_r(copy, ", ", &save); at; at = strtok_r(NULL, ", ", &save))
		if (str_equal(at, name))
			return true;
	return false;
}

static bool is_annotation_name(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(annotation_names); i++)
		if (str_equal(annotation_names[i], name))
			return true;
	return false;
}

static int check_enabled(const struct settings *settings, struct error *err)
{
	_cleanup_free_ char *copy = xstrdup(settings->enable_annotations);
	char *save = NULL;

	for (char *at = strtok_r(copy, ", ", &save); at; at = strtok_r(NULL, ", ", &save))
		if (!is_annotation_name(at))
			return error_set(err, EINVAL,
					 "enable_annotations: there is no annotation " KILN "%.64s",
					 at);
	return 0;
}

static int read_file(const char *path, struct settings *settings, struct error *err)
{
	json_t *object = NULL;
	int r;

	r = config_load_file(path, &object, err);
	if (r < 0)
		return r;
	r = config_read(keys, ARRAY_SIZE(keys), object, path, settings, err);
	json_decref(object);
	return r < 0 ? r : check_enabled(settings, err);
}

static int read_options(const Google__Protobuf__Any *any, struct settings *settings,
			struct error *err)
{
	Runtimeoptions__V1__Options *options;
	int r = 0;

	if (!any || !str_equal(any->type_url, runtimeoptions__v1__options__descriptor.name))
		return 0;
	options = runtimeoptions__v1__options__unpack(NULL, any->value.len, any->value.data);
	if (!options)
		return error_set(err, EINVAL, "the runtime options are no %s", any->type_url);
	if (!str_empty(options->config_path))
		r = read_file(options->config_path, settings, err);
	runtimeoptions__v1__options__free_unpacked(options, NULL);
	return r;
}

int settings_load(const Google__Protobuf__Any *options, struct settings *ret_settings,
		  struct error *err)
{
	struct settings settings = {};
	int r;

	config_set_defaults(keys, ARRAY_SIZE(keys), &settings);
	read_environment(&settings);
	r = read_options(options, &settings, err);
	if (r < 0) {
		settings_done(&settings);
		return error_wrap(err, "runtime options");
	}
	*ret_settings = settings;
	return 0;
}

/* ---------------------------------------------------------------- annotations */

/* *ret_number is untouched where there is no such annotation. */
static int read_number(const struct spec *spec, const char *key, uint64_t max, uint64_t *ret_number,
		       struct error *err)
{
	const char *text = spec_annotation(spec, key);

	if (text && str_to_u64(text, 0, max, ret_number) < 0)
		return error_set(err, EINVAL, "annotation %s is \"%.64s\", no number from 0 to %lu",
				 key, text, (unsigned long)max);
	return 0;
}

/* A tenant may make its sandbox's life shorter than the host says, not longer. */
static int read_life(const struct spec *spec, const char *key, uint64_t *seconds, struct error *err)
{
	uint64_t wanted = 0;
	int r = read_number(spec, key, LIFE_MAX_S, &wanted, err);

	if (r == 0 && wanted > 0 && (*seconds == 0 || wanted < *seconds))
		*seconds = wanted;
	return r;
}

/* What containerd says of a pod's limits; 0, or a quota of -1, says that there is none. */
static int read_pod_limits(const struct spec *spec, struct limits *limits, struct error *err)
{
	const char *no_limit = spec_annotation(spec, CRI "cpu-quota");
	bool limited = no_limit && no_limit[0] != '-';
	struct limits pod = {};

	int r = read_number(spec, CRI "cpu-period", UINT32_MAX, &pod.period, err);
	if (r == 0 && limited)
		r = read_number(spec, CRI "cpu-quota", UINT32_MAX, &pod.quota, err);
	if (r == 0)
		r = read_number(spec, CRI "memory", LIMITS_MEMORY_MAX_MIB * MIB, &pod.memory, err);
	if (r < 0)
		return r;
	if (pod.memory > 0)
		limits->memory = pod.memory;
	if (pod.quota > 0) {
		limits->quota = pod.quota;
		limits->period = pod.period;
	}
	return 0;
}

/* Of a pod's container the limits say nothing: its machine is the pod's. */
static int read_limits(const struct spec *spec, struct settings *settings, struct error *err)
{
	const Grpc__Linux *linux = spec->oci->linux;
	struct limits limits = {};

	if (linux && !spec_is_of_pod(spec))
		limits_take(&limits, linux->resources);
	int r = read_pod_limits(spec, &limits, err);
	if (r < 0)
		return r;
	if (limits.quota > 0)
		settings->vcpus = limits_vcpus(&limits);
	if (limits.memory > 0)
		settings->memory_mib = limits_memory_mib(&limits);
	return 0;
}

/* Names, with commas or blanks between. */
static int read_images(const struct spec *spec, struct settings *settings, struct error *err)
{
	const char *names = spec_annotation(spec, KILN "images");
	_cleanup_free_ char *copy = xstrdup(names ? names : "");
	char *save = NULL;

	for (char *name = strtok_r(copy, ", ", &save); name; name = strtok_r(NULL, ", ", &save)) {
		if (!carried_name_is_valid(name) || settings->images.count == CARRIED_MAX)
			return error_set(err, EINVAL,
					 "annotation " KILN "images: \"%.128s\" is no name of an "
					 "image, or one too many",
					 name);
		strv_add(&settings->images, name);
	}
	return 0;
}

/* An annotation that is one of a few words; without it what the file says stays. */
static int read_choice(const struct spec *spec, const char *key, int (*from_string)(const char *),
		       const char *words, int *value, struct error *err)
{
	const char *name = spec_annotation(spec, key);
	int choice = name ? from_string(name) : *value;

	if (choice < 0)
		return error_set(err, EINVAL, "annotation %s is \"%.64s\": must be %s", key, name,
				 words);
	*value = choice;
	return 0;
}

/* Annotations are a tenant's words, the file is the host's. */
static int check_allowed(const struct settings *settings, const struct spec *spec,
			 struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(annotation_names); i++) {
		_cleanup_free_ char *key = xasprintf(KILN "%s", annotation_names[i]);
		if (spec_annotation(spec, key) && !is_enabled(settings, annotation_names[i]))
			return error_set(
				err, EINVAL,
				"annotation %s is not allowed here: the shim's config file "
				"has to name \"%s\" in enable_annotations",
				key, annotation_names[i]);
	}
	return 0;
}

static int read_network(const struct spec *spec, struct settings *settings, struct error *err)
{
	const Grpc__LinuxNamespace *network = spec_namespace(spec, "network");

	if (spec_leaves_sandbox(spec))
		return 0;
	if (!network)
		return error_set(err, EOPNOTSUPP,
				 "the host's network (a pod with hostNetwork, ctr's --net-host) "
				 "cannot be a machine's");
	replace_string(&settings->netns, str_empty(network->path) ? NULL : network->path);
	settings->is_netns_new = !settings->netns && !hooks_come_first(spec);
	return 0;
}

static int read_cgroup(const struct spec *spec, struct settings *settings, struct error *err)
{
	const Grpc__Linux *oci = spec->oci->linux;
	char *group = NULL;
	int r = settings->sandbox_cgroup_only && oci
			? pod_cgroup_find(oci->cgroupspath, &group, err)
			: 0;

	if (r == 0) {
		replace_string(&settings->cgroup, group);
		free(group);
	}
	return r;
}

int settings_annotate(struct settings *settings, const struct spec *spec, struct error *err)
{
	int r = check_allowed(settings, spec, err);

	if (r < 0)
		return r;
	const char *template_name = spec_annotation(spec, KILN "template");
	const char *annotations = spec_annotation(spec, KILN "annotations");

	if (!str_empty(template_name))
		replace_string(&settings->template_name, template_name);
	if (annotations)
		replace_string(&settings->annotations, annotations);
	r = read_network(spec, settings, err);
	if (r == 0)
		r = read_cgroup(spec, settings, err);
	if (r == 0)
		r = read_choice(spec, KILN "rootfs", rootfs_driver_from_string,
				"overlay, block or share", &settings->rootfs, err);
	if (r == 0)
		r = read_choice(spec, KILN "volumes", volumes_driver_from_string,
				"9p, virtiofs or virtiofs-locks", &settings->volumes, err);
	if (r == 0)
		r = read_choice(spec, KILN "internetworking_model", network_model_from_string,
				"tcfilter or macvtap", &settings->internetworking_model, err);
	if (r == 0)
		r = read_limits(spec, settings, err);
	if (r == 0)
		r = read_number(spec, KILN "vcpus", LIMITS_VCPUS_MAX, &settings->vcpus, err);
	if (r == 0)
		r = read_number(spec, KILN "memory_mib", LIMITS_MEMORY_MAX_MIB,
				&settings->memory_mib, err);
	if (r == 0)
		r = read_life(spec, KILN "ttl_s", &settings->ttl_s, err);
	if (r == 0)
		r = read_life(spec, KILN "idle_s", &settings->idle_s, err);
	return r < 0 ? r : read_images(spec, settings, err);
}

bool settings_equal(const struct settings *a, const struct settings *b)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (!config_equal(&keys[i], a, b))
			return false;
	return strv_equal(&a->images, &b->images) && str_equal(a->netns, b->netns) &&
	       a->is_netns_new == b->is_netns_new && str_equal(a->cgroup, b->cgroup);
}

void settings_copy(struct settings *to, const struct settings *from)
{
	settings_done(to);
	config_copy(keys, ARRAY_SIZE(keys), from, to);
	strv_add_all(&to->images, &from->images);
	to->netns = xstrdup(from->netns);
	to->is_netns_new = from->is_netns_new;
	to->cgroup = xstrdup(from->cgroup);
}

void settings_print(FILE *out)
{
	config_print(keys, ARRAY_SIZE(keys), out);
}

void settings_done(struct settings *settings)
{
	strv_done(&settings->images);
	free(steal_ptr(settings->netns));
	free(steal_ptr(settings->cgroup));
	config_done(keys, ARRAY_SIZE(keys), settings);
}
