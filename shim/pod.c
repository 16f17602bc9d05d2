#include "shim/pod.h"

#include "base/clock.h"
#include "base/memory.h"
#include "proto/pod_config.pb-c.h"
#include "shim/pod_cgroup.h"
#include "shim/settings.h"
#include "shim/spec.h"

#define CRI "io.kubernetes.cri.sandbox-" /* shim/settings.h */

enum { LIMITS = 3 };

static const char *const pod_state_names[] = {
	[POD_NONE] = "none",   [POD_CREATING] = "creating", [POD_CREATED] = "created",
	[POD_READY] = "ready", [POD_ENDED] = "ended",
};
DEFINE_STRING_TABLE(pod_state, enum pod_state, pod_state_names)

static const unsigned pod_next[] = {
	[POD_NONE] = STATE(POD_CREATING),
	[POD_CREATING] = STATE(POD_NONE) | STATE(POD_CREATED) | STATE(POD_ENDED),
	[POD_CREATED] = STATE(POD_READY) | STATE(POD_ENDED),
	[POD_READY] = STATE(POD_ENDED),
	[POD_ENDED] = 0,
};
const struct state_machine pod_states = STATE_MACHINE("pod", pod_state_names, pod_next);

struct pod {
	struct loop *loop;
	struct sandbox *sandbox;        /* borrowed */
	Google__Protobuf__Any *options; /* owned; of `start` */
	enum pod_state state;
	uint64_t created_ns, exited_ns;
	uint32_t exit_status;
	waiter_fn on_created; /* in CREATING */
	void *userdata;
	struct waiters waiters;
	struct pod_names names;
};

static void set_state(struct pod *pod, enum pod_state state)
{
	state_change(&pod_states, sandbox_id(pod->sandbox), pod->state, state);
	pod->state = state;
}

struct pod *pod_new(struct loop *loop, struct sandbox *sandbox)
{
	struct pod *pod = xnew(struct pod);

	pod->loop = loop;
	pod->sandbox = sandbox;
	return pod;
}

void pod_free(struct pod *pod)
{
	if (!pod)
		return;
	if (pod->options)
		google__protobuf__any__free_unpacked(pod->options, NULL);
	waiters_done(&pod->waiters);
	free(pod->names.name);
	free(pod->names.ns);
	free(pod->names.uid);
	free(pod);
}

void pod_set_options(struct pod *pod, const Google__Protobuf__Any *options)
{
	size_t len = options ? google__protobuf__any__get_packed_size(options) : 0;
	_cleanup_free_ uint8_t *bytes = xcalloc(1, len + 1);

	if (!options)
		return;
	google__protobuf__any__pack(options, bytes);
	pod->options = google__protobuf__any__unpack(NULL, len, bytes);
}

/* ---------------------------------------------------------------- what it shall be */

/* The annotations of a pod, as those of a config.json. Keys and values are borrowed. */
struct annotations {
	Grpc__Spec__AnnotationsEntry *entries; /* owned */
	Grpc__Spec__AnnotationsEntry **list;   /* owned */
	size_t count;
	char numbers[LIMITS][24];
};

static void annotations_done(struct annotations *annotations)
{
	free(annotations->entries);
	free(annotations->list);
}

static void add(struct annotations *annotations, const char *key, const char *value)
{
	Grpc__Spec__AnnotationsEntry *entry = &annotations->entries[annotations->count];

	grpc__spec__annotations_entry__init(entry);
	entry->key = (char *)key;
	entry->value = (char *)value;
	annotations->list[annotations->count++] = entry;
}

/* As containerd writes them for a pod's first container. */
static void add_limits(struct annotations *annotations,
		       const Runtime__V1__LinuxContainerResources *resources)
{
	const struct {
		const char *key;
		int64_t value;
	} limits[LIMITS] = {
		{ CRI "cpu-period", resources->cpu_period },
		{ CRI "cpu-quota", resources->cpu_quota },
		{ CRI "memory", resources->memory_limit_in_bytes },
	};

	for (size_t i = 0; i < LIMITS; i++) {
		snprintf(annotations->numbers[i], sizeof(annotations->numbers[i]), "%lld",
			 (long long)limits[i].value);
		add(annotations, limits[i].key, annotations->numbers[i]);
	}
}

static Runtime__V1__PodSandboxConfig *read_config(const Google__Protobuf__Any *any)
{
	if (!any || !str_equal(any->type_url, runtime__v1__pod_sandbox_config__descriptor.name))
		return NULL;
	return runtime__v1__pod_sandbox_config__unpack(NULL, any->value.len, any->value.data);
}

/* -EOPNOTSUPP: it wants a namespace of the host's. */
static int check_namespaces(const Runtime__V1__PodSandboxConfig *config, struct error *err)
{
	const Runtime__V1__LinuxSandboxSecurityContext *security =
		config && config->linux ? config->linux->security_context : NULL;
	const Runtime__V1__NamespaceOption *option = security ? security->namespace_options : NULL;
	const char *name = NULL;

	if (!option)
		return 0;
	if (option->network == RUNTIME__V1__NAMESPACE_MODE__NODE)
		name = "network";
	else if (option->pid == RUNTIME__V1__NAMESPACE_MODE__NODE)
		name = "pid";
	else if (option->ipc == RUNTIME__V1__NAMESPACE_MODE__NODE)
		name = "ipc";
	return name ? error_set(
			      err, EOPNOTSUPP,
			      "the host's %s namespace is asked for, and a machine cannot join it",
			      name)
		    : 0;
}

/* The parent as the path of a group below it, as containerd would make one for a container. The
 * caller frees. */
static char *cgroups_path(const char *parent)
{
	const char *slash = strrchr(parent, '/'), *last = slash ? slash + 1 : parent;
	size_t len = strlen(last), suffix = strlen(".slice");

	return len > suffix && str_equal(last + len - suffix, ".slice")
		       ? xasprintf("%s:kiln:pod", last)
		       : xasprintf("%s/pod", parent);
}

static int read_cgroup(const Runtime__V1__PodSandboxConfig *config, struct settings *settings,
		       struct error *err)
{
	const char *parent = config && config->linux ? config->linux->cgroup_parent : NULL;
	_cleanup_free_ char *path = NULL, *group = NULL;

	if (!settings->sandbox_cgroup_only || str_empty(parent))
		return 0;
	path = cgroups_path(parent);
	int r = pod_cgroup_find(path, &group, err);
	if (r == 0)
		replace_string(&settings->cgroup, group);
	return r;
}

static int read_settings(const struct pod *pod,
			 const Containerd__Runtime__Sandbox__V1__CreateSandboxRequest *request,
			 const Runtime__V1__PodSandboxConfig *config, struct settings *ret_settings,
			 struct error *err)
{
	size_t most = LIMITS + request->n_annotations + (config ? config->n_annotations : 0);
	_cleanup_(annotations_done) struct annotations annotations = {
		.entries = xnew_array(Grpc__Spec__AnnotationsEntry, most),
		.list = xnew_array(Grpc__Spec__AnnotationsEntry *, most),
	};
	Grpc__Spec oci = GRPC__SPEC__INIT;
	const struct spec spec = { .oci = &oci };
	int r;

	if (config && config->linux && config->linux->resources)
		add_limits(&annotations, config->linux->resources);
	for (size_t i = 0; i < request->n_annotations; i++)
		add(&annotations, request->annotations[i]->key, request->annotations[i]->value);
	for (size_t i = 0; config && i < config->n_annotations; i++)
		add(&annotations, config->annotations[i]->key, config->annotations[i]->value);
	oci.annotations = annotations.list;
	oci.n_annotations = annotations.count;
	r = settings_load(pod->options, ret_settings, err);
	if (r < 0)
		return r;
	r = settings_annotate(ret_settings, &spec, err);
	if (r == 0 && !str_empty(request->netns_path))
		replace_string(&ret_settings->netns, request->netns_path);
	if (r == 0)
		r = read_cgroup(config, ret_settings, err);
	if (r < 0)
		settings_done(ret_settings);
	return r;
}

static void keep_names(struct pod *pod, const Runtime__V1__PodSandboxConfig *config)
{
	const Runtime__V1__PodSandboxMetadata *metadata = config ? config->metadata : NULL;

	if (!metadata)
		return;
	replace_string(&pod->names.name, metadata->name);
	replace_string(&pod->names.ns, metadata->namespace_);
	replace_string(&pod->names.uid, metadata->uid);
}

/* ---------------------------------------------------------------- its life */

static void on_acquired(int number, const struct error *err, void *userdata)
{
	struct pod *pod = userdata;
	waiter_fn fn = pod->on_created;

	pod->on_created = NULL;
	if (pod->state == POD_CREATING)
		set_state(pod, number < 0 ? POD_NONE : POD_CREATED);
	if (pod->state == POD_CREATED)
		pod->created_ns = clock_realtime_ns();
	if (fn)
		fn(number, err, pod->userdata);
}

int pod_create(struct pod *pod,
	       const Containerd__Runtime__Sandbox__V1__CreateSandboxRequest *request, waiter_fn fn,
	       void *userdata, struct error *err)
{
	Runtime__V1__PodSandboxConfig *config;
	struct settings settings;
	int r;

	if (pod->state != POD_NONE)
		return error_set(err, EEXIST, "sandbox %s already exists",
				 sandbox_id(pod->sandbox));
	config = read_config(request->options);
	r = check_namespaces(config, err);
	if (r == 0)
		r = read_settings(pod, request, config, &settings, err);
	if (r == 0) {
		pod->on_created = fn;
		pod->userdata = userdata;
		keep_names(pod, config);
		set_state(pod, POD_CREATING);
		sandbox_acquire(pod->sandbox, &settings, config ? config->hostname : "",
				on_acquired, pod);
		settings_done(&settings);
	}
	if (config)
		runtime__v1__pod_sandbox_config__free_unpacked(config, NULL);
	return r;
}

int pod_start(struct pod *pod, struct error *err)
{
	if (pod->state != POD_CREATED)
		return error_set(err, EBUSY, "cannot start a sandbox that is %s",
				 pod_state_to_string(pod->state));
	set_state(pod, POD_READY);
	return 0;
}

void pod_end(struct pod *pod, uint32_t exit_status)
{
	if (pod->state == POD_NONE || pod->state == POD_ENDED)
		return;
	pod->exit_status = exit_status;
	pod->exited_ns = clock_realtime_ns();
	set_state(pod, POD_ENDED);
	waiters_answer(&pod->waiters, 0, NULL);
}

void pod_wait(struct pod *pod, waiter_fn fn, void *userdata)
{
	if (pod->state == POD_ENDED)
		fn(0, NULL, userdata);
	else
		waiters_add(&pod->waiters, fn, userdata);
}

void pod_wait_cancel(struct pod *pod, void *userdata)
{
	waiters_remove(&pod->waiters, userdata);
}

enum pod_state pod_state(const struct pod *pod)
{
	return pod->state;
}

const struct pod_names *pod_names(const struct pod *pod)
{
	return &pod->names;
}

bool pod_has_machine(const struct pod *pod)
{
	return pod->state != POD_NONE && pod->state != POD_ENDED;
}

struct agent_link *pod_agent(const struct pod *pod)
{
	return sandbox_agent(pod->sandbox);
}

uint32_t pod_pid(const struct pod *pod)
{
	return (uint32_t)sandbox_vmm_pid(pod->sandbox);
}

const char *pod_netns(const struct pod *pod)
{
	return sandbox_netns(pod->sandbox);
}

uint64_t pod_created_ns(const struct pod *pod)
{
	return pod->created_ns;
}

uint64_t pod_exited_ns(const struct pod *pod)
{
	return pod->exited_ns;
}

uint32_t pod_exit_status(const struct pod *pod)
{
	return pod->exit_status;
}
