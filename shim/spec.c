#include "shim/spec.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "proto/message_text.h"
#include "proto/pbjson.h"

static void free_message(void *message)
{
	if (message)
		protobuf_c_message_free_unpacked(message, NULL);
}

/* Those of the host are shim/hooks.h's. */
static int check_hooks(const Grpc__Hooks *hooks, struct error *err)
{
	const char *name = NULL;

	if (hooks && hooks->n_createcontainer > 0)
		name = "createContainer";
	else if (hooks && hooks->n_startcontainer > 0)
		name = "startContainer";
	return name ? error_set(err, EOPNOTSUPP,
				"%s: hooks.%s is for the inside of a container, and no hooks are "
				"run in a guest",
				SPEC_FILE, name)
		    : 0;
}

static int check(const struct spec *spec, struct error *err)
{
	const Grpc__Spec *oci = spec->oci;

	if (!oci->process)
		return error_set(err, EINVAL, "%s has no process", SPEC_FILE);
	if (oci->process->n_args == 0)
		return error_set(err, EINVAL, "%s: process.args is empty", SPEC_FILE);
	if (str_empty(oci->process->cwd) || oci->process->cwd[0] != '/')
		return error_set(err, EINVAL, "%s: process.cwd is not an absolute path", SPEC_FILE);
	if (!oci->root || str_empty(oci->root->path))
		return error_set(err, EINVAL, "%s has no root.path", SPEC_FILE);
	for (size_t i = 0; i < oci->n_mounts; i++)
		if (str_empty(oci->mounts[i]->destination))
			return error_set(err, EINVAL, "%s: mounts[%zu] has no destination",
					 SPEC_FILE, i);
	return check_hooks(oci->hooks, err);
}

/* A rule about devices that has no number means all numbers. The message says so with -1: without
 * it the number would be 0, which is one of a device. */
static void numbers_complete(json_t *json)
{
	json_t *list = json_object_get(json_object_get(json_object_get(json, "linux"), "resources"),
				       "devices");
	json_t *rule;
	size_t i;

	json_array_foreach (list, i, rule) {
		static const char *const keys[] = { "major", "minor" };
		for (size_t k = 0; json_is_object(rule) && k < ARRAY_SIZE(keys); k++) {
			const json_t *number = json_object_get(rule, keys[k]);
			if (!number || json_is_null(number))
				(void)json_object_set_new(rule, keys[k], json_integer(-1));
		}
	}
}

/* Whatever is in it, or not. */
static int parse(const char *text, size_t len, const char *bundle, struct spec **ret_spec,
		 struct error *err)
{
	_cleanup_(spec_free_cleanup) struct spec *spec = xnew(struct spec);
	ProtobufCMessage *message = NULL;
	json_t *json = NULL;
	const char *version;
	int r;

	r = pbjson_parse(text, len, &json, err);
	if (r < 0)
		return error_wrap(err, "%s is not JSON", SPEC_FILE);
	version = json_string_value(json_object_get(json, "ociVersion"));
	numbers_complete(json);
	r = pbjson_to_message(&grpc__spec__descriptor, json, 0, &message, err);
	if (r >= 0) {
		spec->oci = (Grpc__Spec *)message;
		message_text_set(&spec->oci->version, xstrdup(version ? version : ""));
	}
	json_decref(json);
	if (r < 0)
		return error_wrap(err, "%s", SPEC_FILE);

	if (spec->oci->root)
		spec->rootfs = path_join(bundle, spec->oci->root->path);
	*ret_spec = steal_ptr(spec);
	return 0;
}

int spec_parse(const char *text, size_t len, const char *bundle, struct spec **ret_spec,
	       struct error *err)
{
	_cleanup_(spec_free_cleanup) struct spec *spec = NULL;
	int r = parse(text, len, bundle, &spec, err);

	if (r == 0)
		r = check(spec, err);
	if (r == 0)
		*ret_spec = steal_ptr(spec);
	return r;
}

static int load(const char *bundle,
		int (*parse_fn)(const char *text, size_t len, const char *bundle,
				struct spec **ret_spec, struct error *err),
		struct spec **ret_spec, struct error *err)
{
	_cleanup_free_ char *path = path_join(bundle, SPEC_FILE);
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	r = file_read(path, SPEC_MAX, &text, &len, err);
	if (r < 0)
		return r;
	r = parse_fn(text, len, bundle, ret_spec, err);
	if (r < 0)
		return error_wrap(err, "bundle %s", bundle);
	return 0;
}

int spec_load(const char *bundle, struct spec **ret_spec, struct error *err)
{
	return load(bundle, spec_parse, ret_spec, err);
}

int spec_load_pod(const char *bundle, struct spec **ret_spec, struct error *err)
{
	int r = load(bundle, parse, ret_spec, err);

	if (r != -ENOENT)
		return r;
	error_done(err);
	return parse("{}", strlen("{}"), bundle, ret_spec, err);
}

void spec_free(struct spec *spec)
{
	if (!spec)
		return;
	free_message(spec->oci);
	free(spec->rootfs);
	free(spec);
}

const char *spec_annotation(const struct spec *spec, const char *key)
{
	for (size_t i = 0; i < spec->oci->n_annotations; i++)
		if (str_equal(spec->oci->annotations[i]->key, key))
			return spec->oci->annotations[i]->value;
	return NULL;
}

static const char *const role_keys[] = {
	"io.kubernetes.cri.container-type",
	"io.kubernetes.cri-o.ContainerType",
};

bool spec_is_sandbox(const struct spec *spec)
{
	for (size_t i = 0; i < ARRAY_SIZE(role_keys); i++)
		if (str_equal(spec_annotation(spec, role_keys[i]), "sandbox"))
			return true;
	return false;
}

bool spec_is_of_pod(const struct spec *spec)
{
	for (size_t i = 0; i < ARRAY_SIZE(role_keys); i++)
		if (spec_annotation(spec, role_keys[i]))
			return true;
	return spec->in_pod;
}

static bool has_namespace(const Grpc__Linux *linux, const char *type)
{
	for (size_t i = 0; i < linux->n_namespaces; i++)
		if (str_equal(linux->namespaces[i]->type, type))
			return true;
	return false;
}

pid_t spec_namespace_pid(const Grpc__LinuxNamespace *ns)
{
	const char *rest = str_after(ns->path, "/proc/");
	char *end = NULL;
	long pid = rest ? strtol(rest, &end, 10) : 0;

	return pid > 0 && pid <= INT_MAX && str_after(end, "/ns/") ? (pid_t)pid : 0;
}

/* A shim that may not look into another user's process is not told whether it is there. */
static bool is_missing(const char *path)
{
	return access(path, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR);
}

/* What is not of /proc (a namespace that is pinned) may be the pod's. */
static int check_namespace(const Grpc__LinuxNamespace *ns, spec_pid_fn is_of_pod,
			   const void *userdata, struct error *err)
{
	if (str_empty(ns->path) || (!str_equal(ns->type, "pid") && !str_equal(ns->type, "ipc") &&
				    !str_equal(ns->type, "uts") && !str_equal(ns->type, "user")))
		return 0;
	if (is_of_pod && str_after(ns->path, "/proc/") &&
	    !is_of_pod(spec_namespace_pid(ns), userdata))
		return error_set(err, EOPNOTSUPP,
				 "cannot join %s namespace %s: it is not of this sandbox, and "
				 "another one is another machine",
				 ns->type, ns->path);
	if (is_missing(ns->path))
		return error_set(err, EINVAL, "cannot join %s namespace %s: there is no such file",
				 ns->type, ns->path);
	return 0;
}

bool spec_leaves_sandbox(const struct spec *spec)
{
	static const char *const ours[] = { "network", "pid", "ipc", "uts" };
	const Grpc__Linux *linux = spec->oci->linux;

	for (size_t i = 0; !spec->in_pod && linux && i < ARRAY_SIZE(ours); i++)
		if (has_namespace(linux, ours[i]))
			return false;
	return true;
}

int spec_check_namespaces(const struct spec *spec, bool is_sandbox, spec_pid_fn is_of_pod,
			  const void *userdata, struct error *err)
{
	static const char *const needed[] = { "pid", "ipc" };
	const Grpc__Linux *linux = spec->oci->linux;
	bool all;
	int r = 0;

	if (!linux || linux->n_namespaces == 0)
		return 0;
	all = is_sandbox || !spec_leaves_sandbox(spec);
	for (size_t i = 0; all && i < ARRAY_SIZE(needed); i++)
		if (!has_namespace(linux, needed[i]))
			return error_set(err, EOPNOTSUPP,
					 "the host's %s namespace is asked for, and a machine "
					 "cannot join it",
					 needed[i]);
	for (size_t i = 0; r == 0 && i < linux->n_namespaces; i++)
		r = check_namespace(linux->namespaces[i], is_of_pod, userdata, err);
	return r;
}

const Grpc__LinuxNamespace *spec_namespace(const struct spec *spec, const char *type)
{
	const Grpc__Linux *linux = spec->oci->linux;

	for (size_t i = 0; linux && i < linux->n_namespaces; i++)
		if (str_equal(linux->namespaces[i]->type, type))
			return linux->namespaces[i];
	return NULL;
}

static bool namespace_stays(Grpc__LinuxNamespace *ns)
{
	if (str_equal(ns->type, "network"))
		return false;
	if (str_empty(ns->path))
		return true;
	if (str_equal(ns->type, "ipc") || str_equal(ns->type, "uts") || str_equal(ns->type, "pid"))
		return false;
	message_text_set(&ns->path, xstrdup(""));
	return true;
}

static void namespaces_adjust(Grpc__Linux *linux)
{
	size_t kept = 0;

	for (size_t i = 0; i < linux->n_namespaces; i++) {
		Grpc__LinuxNamespace *ns = linux->namespaces[i];
		if (namespace_stays(ns))
			linux->namespaces[kept++] = ns;
		else
			free_message(ns);
	}
	linux->n_namespaces = kept;
}

static void add_namespace(Grpc__Linux *linux, const char *type)
{
	Grpc__LinuxNamespace *ns = xnew(Grpc__LinuxNamespace);

	grpc__linux_namespace__init(ns);
	ns->type = xstrdup(type);
	linux->namespaces = xrealloc_array(linux->namespaces, linux->n_namespaces + 1,
					   sizeof(linux->namespaces[0]));
	linux->namespaces[linux->n_namespaces++] = ns;
}

static bool is_character(const char *type)
{
	return str_equal(type, "c") || str_equal(type, "u");
}

/* Majors that name the same device on every kernel: mem, tty, misc (fuse, tun), what is in a
 * devpts. */
static bool major_is_everywhere(int64_t major)
{
	return major == 1 || major == 5 || major == 10 || major == 136;
}

static void devices_adjust(Grpc__Linux *linux, const char *container_id)
{
	size_t kept = 0, count = linux->n_devices;

	for (size_t i = 0; i < count; i++) {
		Grpc__LinuxDevice *device = linux->devices[i];
		if ((is_character(device->type) && major_is_everywhere(device->major)) ||
		    str_equal(device->type, "p") || str_equal(device->type, "b"))
			linux->devices[kept++] = device;
		else
			free_message(device);
	}
	linux->n_devices = kept;
	if (kept < count)
		log_warning(container_id, "%zu devices of the host are not in the guest",
			    count - kept);
}

static void rules_adjust(Grpc__LinuxResources *resources)
{
	size_t kept = 0;

	for (size_t i = 0; i < resources->n_devices; i++) {
		Grpc__LinuxDeviceCgroup *rule = resources->devices[i];
		if (!is_character(rule->type) || rule->major < 0 ||
		    major_is_everywhere(rule->major))
			resources->devices[kept++] = rule;
		else
			free_message(rule);
	}
	resources->n_devices = kept;
}

static void cpus_adjust(Grpc__LinuxCPU *cpu)
{
	message_text_set(&cpu->cpus, xstrdup(""));
	message_text_set(&cpu->mems, xstrdup(""));
}

void spec_for_guest(struct spec *spec, const char *container_id)
{
	Grpc__Spec *oci = spec->oci;

	free_message(steal_ptr(oci->hooks)); /* of the host */
	if (oci->linux) {
		bool has_uts = has_namespace(oci->linux, "uts");
		const Grpc__LinuxNamespace *ipc = spec_namespace(spec, "ipc");
		const Grpc__LinuxNamespace *uts = spec_namespace(spec, "uts");

		if (uts && !str_empty(uts->path)) /* the name is the pod's: CRI-O repeats it */
			message_text_set(&oci->hostname, xstrdup(""));
		spec->shares_ipc = ipc && !str_empty(ipc->path);
		namespaces_adjust(oci->linux);
		if (spec->in_pod && !has_uts)
			add_namespace(oci->linux, "uts");
		devices_adjust(oci->linux, container_id);
		if (oci->linux->resources)
			rules_adjust(oci->linux->resources);
		if (oci->linux->resources && oci->linux->resources->cpu)
			cpus_adjust(oci->linux->resources->cpu);
		message_text_set(&oci->linux->cgroupspath, xasprintf("/kiln/%s", container_id));
	}
}

/* what names it in a sentence. */
static int parse_message(const ProtobufCMessageDescriptor *descriptor, const char *what,
			 const void *json, size_t len, ProtobufCMessage **ret, struct error *err)
{
	json_t *object = NULL;
	int r;

	if (len > SPEC_MAX)
		return error_set(err, E2BIG, "%s: longer than %u bytes", what, SPEC_MAX);
	r = pbjson_parse(json, len, &object, err);
	if (r >= 0) {
		r = pbjson_to_message(descriptor, object, 0, ret, err);
		json_decref(object);
	}
	return r < 0 ? error_wrap(err, "%s", what) : 0;
}

int spec_parse_resources(const void *json, size_t len, Grpc__LinuxResources **ret_resources,
			 struct error *err)
{
	ProtobufCMessage *message = NULL;
	Grpc__LinuxResources *resources;
	int r = parse_message(&grpc__linux_resources__descriptor, "the update's resources", json,
			      len, &message, err);

	if (r < 0)
		return r;
	resources = (Grpc__LinuxResources *)message;
	if (resources->cpu)
		cpus_adjust(resources->cpu);
	*ret_resources = resources;
	return 0;
}

int spec_parse_process(const void *json, size_t len, Grpc__Process **ret_process, struct error *err)
{
	ProtobufCMessage *message = NULL;
	Grpc__Process *process;
	int r = parse_message(&grpc__process__descriptor, "the exec's process", json, len, &message,
			      err);

	if (r < 0)
		return r;
	process = (Grpc__Process *)message;
	if (process->n_args == 0 || str_empty(process->cwd)) {
		const char *missing = process->n_args == 0 ? "args" : "cwd";
		free_message(process);
		return error_set(err, EINVAL, "the exec's process has no %s", missing);
	}
	*ret_process = process;
	return 0;
}
