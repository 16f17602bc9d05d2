#include "shim/container.h"

#include <libgen.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/pidfd.h"
#include "base/trace.h"
#include "factory/guest/storages.h"
#include "proto/agent.pb-c.h"
#include "proto/events.pb-c.h"
#include "proto/root_note.h"
#include "shim/bundle.h"
#include "shim/container_disks.h"
#include "shim/images.h"
#include "shim/layer_image.h"
#include "shim/layer_losses.h"
#include "shim/rootfs.h"
#include "shim/share_folder.h"
#include "shim/timestamp.h"
#include "shim/upper_image.h"
#include "shim/volumes.h"

#define CREATE_TIMEOUT_MS 60000
#define REMOVE_TIMEOUT_MS 30000
#define EXECS_MAX         1024

#define CRI_ANNOTATION "io.kubernetes.cri.container-type"

static const char *const container_state_names[] = {
	[CONTAINER_CREATING] = "creating",
	[CONTAINER_CREATED] = "created",
	[CONTAINER_REMOVING] = "removing",
	[CONTAINER_GONE] = "gone",
};
DEFINE_STRING_TABLE(container_state, enum container_state, container_state_names)

static const unsigned container_next[] = {
	[CONTAINER_CREATING] = STATE(CONTAINER_CREATED) | STATE(CONTAINER_GONE),
	[CONTAINER_CREATED] = STATE(CONTAINER_REMOVING),
	[CONTAINER_REMOVING] = STATE(CONTAINER_GONE),
	[CONTAINER_GONE] = 0,
};
const struct state_machine container_states = STATE_MACHINE("container", container_state_names,
							    container_next);

struct exec {
	TAILQ_ENTRY(exec) link;
	struct process *process; /* one reference */
};

struct container {
	TAILQ_ENTRY(container) link;
	unsigned refs;
	struct loop *loop;
	struct sandbox *sandbox;
	struct events *events;
	const char *shim_address; /* borrowed */
	char *id;
	char *bundle;
	enum container_state state;
	const Containerd__Task__V2__CreateTaskRequest *request; /* borrowed; CREATING only */
	struct settings settings;
	bool is_cri;                /* made by containerd's CRI plugin, for a pod */
	struct spec *spec;          /* until the agent has it */
	struct layer_mounts layers; /* of an EROFS snapshotter's mounts; else empty */
	bool makes_upper;           /* the image for what is written is not there yet */
	struct slots *image_slots;  /* with the image of its layers; a reference; NULL: none */
	struct layer_image image;   /* in a window, or on a slot of image_slots */
	bool looked_for_losses;     /* of its layers, while there was no image of them */
	enum rootfs_driver rootfs_driver;
	struct container_disks *disks; /* NULL: it has none */
	struct share_folder folder;
	struct rootfs *rootfs;   /* in the folder; NULL: not mounted */
	struct volumes *volumes; /* in the folder; NULL: not mounted */
	char *root_note;         /* the factory's to read; NULL: none */
	struct process *init;
	TAILQ_HEAD(exec_list, exec) execs;
	size_t nexecs;
	container_done_fn done; /* of create or delete under way; NULL: none */
	void *done_userdata;
	uint64_t begun_ns; /* trace_begin() of what the agent was asked */
	void (*on_gone)(struct container *container, bool failed, void *userdata);
	void *userdata;
};

static void unmount_files(struct container *container)
{
	volumes_unmount(steal_ptr(container->volumes));
	rootfs_unmount(steal_ptr(container->rootfs));
	root_note_remove(steal_ptr(container->root_note));
	share_folder_remove(&container->folder);
	if (container->image_slots)
		slots_release(container->image_slots, (size_t)container->image.slot);
	layer_image_done(&container->image);
	slots_unref(steal_ptr(container->image_slots));
	container_disks_release(steal_ptr(container->disks), NULL, NULL);
}

static void container_free(void *userdata)
{
	struct container *container = userdata;

	process_unref(container->init);
	unmount_files(container);
	spec_free(container->spec);
	settings_done(&container->settings);
	layer_mounts_done(&container->layers);
	free(container->id);
	free(container->bundle);
	free(container);
}

struct container *container_ref(struct container *container)
{
	container->refs++;
	return container;
}

void container_unref(struct container *container)
{
	if (container && --container->refs == 0)
		loop_defer(container->loop, container_free, container);
}

static void finish(struct container *container, const struct error *err)
{
	container_done_fn done = steal_ptr(container->done);

	container->request = NULL;
	if (done)
		done(-err->number, err, container->done_userdata);
}

static void forget_execs(struct container *container)
{
	struct exec *exec;

	while ((exec = TAILQ_FIRST(&container->execs))) {
		TAILQ_REMOVE(&container->execs, exec, link);
		process_end(exec->process);
		process_unref(exec->process);
		free(exec);
	}
	container->nexecs = 0;
}

static void set_state(struct container *container, enum container_state state)
{
	bool failed = container->state == CONTAINER_CREATING;

	state_change(&container_states, container->id, container->state, state);
	container->state = state;
	if (state != CONTAINER_GONE)
		return;
	forget_execs(container);
	if (container->init)
		process_end(container->init);
	unmount_files(container);
	container->on_gone(container, failed, container->userdata);
}

static struct stdio stdio_copy(const struct container *container, const char *in, const char *out,
			       const char *err)
{
	return (struct stdio){
		.in = xstrdup(in),
		.out = xstrdup(out),
		.err = xstrdup(err),
		.keep_stdin = container->is_cri,
	};
}

static int make_init(struct container *container, struct error *err)
{
	const Containerd__Task__V2__CreateTaskRequest *request = container->request;
	struct process_options options = {
		.loop = container->loop,
		.agent = sandbox_agent(container->sandbox),
		.events = container->events,
		.container_id = container->id,
		.exec_id = "",
		.stdio = stdio_copy(container, request->stdin, request->stdout, request->stderr),
	};

	options.stdio.terminal = request->terminal;
	return process_new(&options, &container->init, err);
}

/* Which images there are, and that what is written can be kept: before a machine is asked for. */
static int load_layers(struct container *container, struct error *err)
{
	const Containerd__Task__V2__CreateTaskRequest *request = container->request;
	struct layer_mounts *layers = &container->layers;
	int r = layer_mounts_find(request->rootfs, request->n_rootfs, layers, err);

	if (r == 0 && layers->writable.path) {
		r = upper_image_check(&layers->writable, err);
		container->makes_upper = r == -ENOENT && layers->writable.bytes > 0;
		if (container->makes_upper) {
			error_done(err);
			r = 0;
		}
	}
	if (r == 0 && layers->count > 0 && !layers->writable.path && !layers->upper)
		container->spec->oci->root->readonly = true;
	if (r == -ENOENT)
		err->number = EINVAL; /* to containerd "not found" is a task */
	return r;
}

static int load(struct container *container, struct error *err)
{
	int r;

	if (*container->request->checkpoint)
		return error_set(err, EOPNOTSUPP, "checkpoints are not supported");
	r = spec_load(container->bundle, &container->spec, err);
	if (r < 0)
		return r == -ENOENT
			       ? error_set(err, EINVAL, "%s has no " SPEC_FILE, container->bundle)
			       : r;
	r = settings_load(container->request->options, &container->settings, err);
	if (r == 0)
		r = settings_annotate(&container->settings, container->spec, err);
	if (r < 0)
		return r;
	r = load_layers(container, err);
	if (r == 0)
		r = rootfs_choose((enum rootfs_driver)container->settings.rootfs,
				  &container->layers, container->request->rootfs,
				  container->request->n_rootfs, &container->rootfs_driver, err);
	if (r < 0)
		return r;
	container->is_cri = spec_annotation(container->spec, CRI_ANNOTATION);
	spec_for_guest(container->spec, container->id);
	container->spec->oci->process->terminal = container->request->terminal;
	return make_init(container, err);
}

int container_new(const struct container_options *options, struct container **ret_container,
		  struct error *err)
{
	struct container *container = xnew(struct container);
	int r;

	*container = (struct container){
		.refs = 1,
		.loop = options->loop,
		.sandbox = options->sandbox,
		.events = options->events,
		.shim_address = options->shim_address,
		.id = xstrdup(options->request->id),
		.bundle = xstrdup(options->request->bundle),
		.state = CONTAINER_CREATING,
		.request = options->request,
		.folder = SHARE_FOLDER_NONE,
		.image = LAYER_IMAGE_EMPTY,
		.execs = TAILQ_HEAD_INITIALIZER(container->execs),
		.on_gone = options->on_gone,
		.userdata = options->userdata,
	};
	r = load(container, err);
	if (r < 0) {
		container_unref(container);
		return r;
	}
	*ret_container = container;
	return 0;
}

static void publish_create(const struct container *container)
{
	const Containerd__Task__V2__CreateTaskRequest *request = container->request;
	Containerd__Events__TaskCreate event = CONTAINERD__EVENTS__TASK_CREATE__INIT;
	Containerd__Events__TaskIO io = CONTAINERD__EVENTS__TASK_IO__INIT;

	io.stdin = request->stdin;
	io.stdout = request->stdout;
	io.stderr = request->stderr;
	io.terminal = request->terminal;
	event.container_id = container->id;
	event.bundle = container->bundle;
	event.rootfs = request->rootfs;
	event.n_rootfs = request->n_rootfs;
	event.io = &io;
	event.pid = process_pid(container->init);
	events_publish(container->events, &event.base);
}

static void create_failed(struct container *container, const struct error *err)
{
	container_ref(container);
	set_state(container, CONTAINER_GONE);
	finish(container, err);
	container_unref(container);
}

static void remove_in_guest(struct container *container, ttrpc_reply_fn fn, void *userdata)
{
	Grpc__RemoveContainerRequest request = GRPC__REMOVE_CONTAINER_REQUEST__INIT;

	request.container_id = container->id;
	agent_call(sandbox_agent(container->sandbox), "RemoveContainer", &request.base,
		   REMOVE_TIMEOUT_MS, fn, userdata);
}

static void on_created(const struct ttrpc_reply *reply, void *userdata)
{
	_cleanup_(container_unref_cleanup) struct container *container = userdata;
	const struct error *sandbox_failure = sandbox_error(container->sandbox);
	_cleanup_(error_done) struct error err = {};

	if (container->state != CONTAINER_CREATING) {
		if (reply->code == TTRPC_OK)
			remove_in_guest(container, NULL, NULL);
		return;
	}
	if (sandbox_failure->number)
		(void)error_set(&err, sandbox_failure->number, "%s",
				error_message(sandbox_failure));
	else if (ttrpc_reply_error(reply, &err) < 0)
		(void)error_wrap(&err, "OCI runtime create failed");
	if (err.number) {
		container_disks_explain(container->disks, &err);
		create_failed(container, &err);
		return;
	}
	trace_end(TRACE_CREATE_CONTAINER, NULL, container->begun_ns);
	set_state(container, CONTAINER_CREATED);
	process_created(container->init, (uint32_t)sandbox_vmm_pid(container->sandbox));
	publish_create(container);
	finish(container, &err);
}

static void create_in_guest(struct container *container, const struct storages *storages)
{
	Grpc__CreateContainerRequest request = GRPC__CREATE_CONTAINER_REQUEST__INIT;

	request.container_id = container->id;
	request.oci = container->spec->oci;
	container->begun_ns = trace_begin();
	request.storages = storages->items;
	request.n_storages = storages->count;
	if (container->disks)
		request.n_devices = container_disks_devices(container->disks, &request.devices);
	agent_call(sandbox_agent(container->sandbox), "CreateContainer", &request.base,
		   CREATE_TIMEOUT_MS, on_created, container_ref(container));
	spec_free(steal_ptr(container->spec));
}

/* VM_DIR is RUN_DIR/vms/ID; the caller frees. */
static char *run_dir(const struct container *container)
{
	_cleanup_free_ char *dir = xstrdup(sandbox_vm_dir(container->sandbox));

	return xstrdup(dirname(dirname(dir)));
}

static int write_machine(const struct container *container, struct error *err)
{
	_cleanup_free_ char *dir = run_dir(container);
	struct bundle_machine machine = {
		.run_dir = dir,
		.vm_id = (char *)sandbox_vm_id(container->sandbox),
		.vmm_pid = sandbox_vmm_pid(container->sandbox),
		.shim_pid = getpid(),
	};
	int r;

	r = process_start_time(machine.shim_pid, &machine.shim_start_time);
	if (r < 0)
		return error_set_errno(err, r, "own start time");
	return bundle_write_machine(container->bundle, &machine, err);
}

static int mount_for(struct container *container, const struct idmap *idmap,
		     struct storages *storages, struct error *err)
{
	_cleanup_free_ char *upper = container_disks_show_upper(container->disks, storages);
	_cleanup_free_ char *scratch = path_join(sandbox_vm_dir(container->sandbox), "layers");
	const struct rootfs_options rootfs = {
		.driver = container->rootfs_driver,
		.share_dir = sandbox_share_dir(container->sandbox),
		.container_id = container->id,
		.image = &container->image,
		.upper = upper,
		.folder = &container->folder,
		.scratch_dir = scratch,
		.idmap = idmap,
		.spec = container->spec,
		.mounts = container->request->rootfs,
		.nmounts = container->request->n_rootfs,
	};
	const struct volumes_options volumes = {
		.driver = (enum volumes_driver)container->settings.volumes,
		.folder = &container->folder,
		.container_id = container->id,
		.scratch_dir = scratch,
		.idmap = idmap,
	};
	int r = share_folder_make(sandbox_share_dir(container->sandbox), container->id,
				  &container->folder, err);

	if (r == 0)
		r = rootfs_mount(&rootfs, storages, &container->rootfs, err);
	if (r == 0)
		r = volumes_mount(container->spec->oci, &volumes, storages, &container->volumes,
				  err);
	return r;
}

/* What it mounts is unmounted with the container, also after a failure. To containerd "not found"
 * is a task, so a missing file is an invalid argument. */
static int mount_files(struct container *container, struct storages *storages, struct error *err)
{
	_cleanup_(idmap_close) struct idmap idmap = IDMAP_NONE;
	uint64_t begin = trace_begin();
	int r = idmap_open(sandbox_vmm_pid(container->sandbox),
			   sandbox_vmm_pidfd(container->sandbox), &idmap, err);

	if (r == 0)
		r = mount_for(container, &idmap, storages, err);
	trace_end(TRACE_ROOTFS, NULL, begin);
	if (r == -ENOENT)
		err->number = EINVAL;
	return r;
}

static enum root_kind root_kind(const struct container *container)
{
	bool is_kept = container->layers.writable.path;

	if (container->rootfs_driver == ROOTFS_SHARE)
		return ROOT_SHARE;
	if (container->rootfs_driver == ROOTFS_BLOCK)
		return ROOT_BLOCK;
	if (container->image.window)
		return is_kept ? ROOT_OVERLAY_DAX_BLOCK : ROOT_OVERLAY_DAX;
	if (container->image_slots)
		return is_kept ? ROOT_OVERLAY_IMAGE_BLOCK : ROOT_OVERLAY_IMAGE;
	return ROOT_OVERLAY_SHARE;
}

/* For `kiln-ctl factory list` and the trace. */
static void tell_root(struct container *container)
{
	static const enum trace_step steps[] = {
		[ROOT_OVERLAY_DAX] = TRACE_ROOT_OVERLAY_DAX,
		[ROOT_OVERLAY_IMAGE] = TRACE_ROOT_OVERLAY_IMAGE,
		[ROOT_OVERLAY_SHARE] = TRACE_ROOT_OVERLAY_SHARE,
		[ROOT_OVERLAY_DAX_BLOCK] = TRACE_ROOT_OVERLAY_DAX_BLOCK,
		[ROOT_OVERLAY_IMAGE_BLOCK] = TRACE_ROOT_OVERLAY_IMAGE_BLOCK,
		[ROOT_BLOCK] = TRACE_ROOT_BLOCK,
		[ROOT_SHARE] = TRACE_ROOT_SHARE,
	};
	enum root_kind kind = root_kind(container);
	_cleanup_(error_done) struct error err = {};
	uint64_t begin_ns = trace_begin();

	if (root_note_write(sandbox_vm_dir(container->sandbox), container->id, kind,
			    &container->root_note, &err) < 0)
		log_warning(container->id, "the factory's list does not show its root: %s",
			    error_message(&err));
	trace_end(steps[kind], NULL, begin_ns);
}

static void mount_and_create(struct container *container)
{
	_cleanup_(storages_done) struct storages storages = {};
	_cleanup_(error_done) struct error err = {};

	/* Volumes before images and disks, whose mounts become binds of the guest's. */
	if (write_machine(container, &err) < 0 || mount_files(container, &storages, &err) < 0 ||
	    images_mount(container->spec->oci, container->sandbox, &storages, &err) < 0) {
		create_failed(container, &err);
		return;
	}
	if (container->disks)
		container_disks_show(container->disks, container->spec->oci, &storages);
	create_in_guest(container, &storages);
	tell_root(container);
}

static void get_layer_image(struct container *container);

static void on_losses(bool was_made, void *userdata)
{
	_cleanup_(container_unref_cleanup) struct container *container = userdata;

	if (container->state != CONTAINER_CREATING)
		return;
	if (was_made)
		get_layer_image(container);
	else
		mount_and_create(container);
}

static void on_layer_image(struct layer_image *image, const struct error *why, void *userdata)
{
	_cleanup_(container_unref_cleanup) struct container *container = userdata;
	struct slots *slots = sandbox_slots(container->sandbox);

	if (container->state != CONTAINER_CREATING) {
		if (image->slot != LAYER_IMAGE_NONE && slots)
			slots_release(slots, (size_t)image->slot);
		layer_image_done(image);
		return;
	}
	if (image->wanted.count > 0 && !container->looked_for_losses) {
		container->looked_for_losses = true;
		layer_losses_avoid(container->loop, container->settings.factory, container->id,
				   &image->wanted, on_losses, container_ref(container));
		layer_image_done(image);
		return;
	}
	container->image = *image;
	if (image->slot != LAYER_IMAGE_NONE)
		container->image_slots = slots_ref(slots);
	if (why->number)
		create_failed(container, why);
	else
		mount_and_create(container);
}

static void get_layer_image(struct container *container)
{
	const struct layer_image_options options = {
		.loop = container->loop,
		.windows = sandbox_dax_windows(container->sandbox),
		.slots = sandbox_slots(container->sandbox),
		.cache_dir = sandbox_image_cache(container->sandbox),
		.factory_address = container->settings.factory,
		.container_id = container->id,
		.layers = &container->layers,
		.mounts = container->request->rootfs,
		.nmounts = container->request->n_rootfs,
	};

	layer_image_get(&options, on_layer_image, container_ref(container));
}

static int serve_volumes(struct container *container, struct error *err)
{
	int driver = container->settings.volumes;

	if (driver == VOLUMES_9P)
		return 0;
	return sandbox_serve_volumes(
		container->sandbox,
		driver == VOLUMES_VIRTIOFS_LOCKS ? VIRTIOFS_LOCKS_HOST : VIRTIOFS_LOCKS_GUEST, err);
}

static void prepare_root(struct container *container)
{
	if (container->rootfs_driver == ROOTFS_OVERLAY)
		get_layer_image(container);
	else
		mount_and_create(container);
}

static void on_disks(int number, const struct error *why, void *userdata)
{
	_cleanup_(container_unref_cleanup) struct container *container = userdata;

	if (container->state != CONTAINER_CREATING)
		return;
	if (number < 0)
		create_failed(container, why);
	else
		prepare_root(container);
}

/* To containerd "not found" is a task. */
static int list_disks(struct container *container, struct error *err)
{
	bool is_block = container->rootfs_driver == ROOTFS_BLOCK;
	_cleanup_free_ char *dir = run_dir(container);
	const struct container_disks_options options = {
		.disks = sandbox_disks(container->sandbox),
		.run_dir = dir,
		.sandbox_id = sandbox_id(container->sandbox),
		.shim_address = container->shim_address,
		.container_id = container->id,
		.oci = container->spec->oci,
		.root = is_block ? container->request->rootfs : NULL,
		.upper = &container->layers.writable,
	};

	return container_disks_new(&options, &container->disks, err);
}

static void on_sandbox(int number, const struct error *why, void *userdata)
{
	_cleanup_(container_unref_cleanup) struct container *container = userdata;
	_cleanup_(error_done) struct error err = {};

	if (container->state != CONTAINER_CREATING)
		return;
	if (number < 0)
		create_failed(container, why);
	else if (serve_volumes(container, &err) < 0 || list_disks(container, &err) < 0)
		create_failed(container, &err);
	else if (container->disks)
		container_disks_attach(container->disks, on_disks, container_ref(container));
	else
		prepare_root(container);
}

static void acquire(struct container *container)
{
	sandbox_acquire(container->sandbox, &container->settings, container->spec->oci->hostname,
			on_sandbox, container_ref(container));
}

static void on_upper_made(int number, const struct error *why, void *userdata)
{
	_cleanup_(container_unref_cleanup) struct container *container = userdata;

	if (container->state != CONTAINER_CREATING)
		return;
	if (number < 0)
		create_failed(container, why);
	else
		acquire(container);
}

void container_create(struct container *container, container_done_fn done, void *userdata)
{
	container->done = done;
	container->done_userdata = userdata;
	if (container->makes_upper)
		upper_image_make(container->loop, &container->layers.writable, on_upper_made,
				 container_ref(container));
	else
		acquire(container);
}

void container_abort(struct container *container)
{
	_cleanup_(error_done) struct error err = {};

	if (container->state != CONTAINER_CREATING)
		return;
	(void)error_set(&err, ECANCELED, "creation was cancelled");
	create_failed(container, &err);
}

void container_discard(struct container *container)
{
	container_abort(container);
	forget_execs(container);
	process_end(container->init);
	container_unref(container);
}

static void publish_delete(const struct container *container)
{
	Containerd__Events__TaskDelete event = CONTAINERD__EVENTS__TASK_DELETE__INIT;
	Google__Protobuf__Timestamp time = timestamp_from_ns(process_exited_ns(container->init));

	event.container_id = container->id;
	event.id = container->id;
	event.pid = process_pid(container->init);
	event.exit_status = process_exit_status(container->init);
	event.exited_at = &time;
	events_publish(container->events, &event.base);
}

static void on_disks_out(void *userdata)
{
	_cleanup_(container_unref_cleanup) struct container *container = userdata;
	static const struct error none;

	publish_delete(container);
	set_state(container, CONTAINER_GONE);
	trace_end(TRACE_DELETE, NULL, container->begun_ns);
	finish(container, &none);
}

/* Its disks are out before containerd hears that it is deleted: a snapshotter takes the device away
 * then. */
static void on_removed(const struct ttrpc_reply *reply, void *userdata)
{
	struct container *container = userdata;

	if (reply->code != TTRPC_OK && reply->code != TTRPC_UNAVAILABLE)
		log_warning(container->id, "the guest did not remove the container: %s",
			    reply->message);
	if (container->disks)
		container_disks_release(steal_ptr(container->disks), on_disks_out, container);
	else
		on_disks_out(container);
}

static void remove_stopped(int number _unused_, const struct error *err _unused_, void *userdata)
{
	struct container *container = userdata;

	remove_in_guest(container, on_removed, container);
}

static void on_killed(int number _unused_, const struct error *err _unused_, void *userdata)
{
	struct container *container = userdata;

	process_wait(container->init, remove_stopped, container);
}

int container_delete(struct container *container, container_done_fn done, void *userdata,
		     struct error *err)
{
	enum process_state state = process_state(container->init);

	if (container->state != CONTAINER_CREATED)
		return error_set(err, EBUSY, "container %s is %s", container->id,
				 container_state_to_string(container->state));
	if (state != PROCESS_CREATED && state != PROCESS_STOPPED)
		return error_set(err, EBUSY, "container %s is not stopped", container->id);
	container->done = done;
	container->done_userdata = userdata;
	container->begun_ns = trace_begin();
	container_ref(container);
	set_state(container, CONTAINER_REMOVING);
	if (state == PROCESS_CREATED)
		process_kill(container->init, SIGKILL, on_killed, container);
	else
		remove_stopped(0, NULL, container);
	return 0;
}

void container_lost(struct container *container)
{
	struct exec *exec;

	process_lost(container->init);
	TAILQ_FOREACH (exec, &container->execs, link) {
		process_lost(exec->process);
	}
}

static struct exec *find_exec(const struct container *container, const char *exec_id)
{
	struct exec *exec;

	TAILQ_FOREACH (exec, &container->execs, link)
		if (str_equal(process_exec_id(exec->process), exec_id))
			return exec;
	return NULL;
}

int container_find(struct container *container, const char *exec_id, struct process **ret_process,
		   struct error *err)
{
	struct exec *exec = *exec_id ? find_exec(container, exec_id) : NULL;

	if (*exec_id && !exec)
		return error_set(err, ENOENT, "process %s: not found", exec_id);
	*ret_process = exec ? exec->process : container->init;
	return 0;
}

static int check_exec(const struct container *container,
		      const Containerd__Task__V2__ExecProcessRequest *request, struct error *err)
{
	if (!id_is_valid(request->exec_id))
		return error_set(err, EINVAL, "\"%s\" is no valid exec id", request->exec_id);
	if (find_exec(container, request->exec_id))
		return error_set(err, EEXIST, "exec id %s already exists", request->exec_id);
	if (process_state(container->init) != PROCESS_RUNNING)
		return error_set(err, EBUSY, "cannot exec in a container that is %s",
				 process_state_to_string(process_state(container->init)));
	if (container->nexecs >= EXECS_MAX)
		return error_set(err, EAGAIN, "container %s has %u execs already", container->id,
				 EXECS_MAX);
	if (!request->spec)
		return error_set(err, EINVAL, "the exec has no process");
	return 0;
}

static void publish_exec_added(const struct container *container, const char *exec_id)
{
	Containerd__Events__TaskExecAdded event = CONTAINERD__EVENTS__TASK_EXEC_ADDED__INIT;

	event.container_id = container->id;
	event.exec_id = (char *)exec_id;
	events_publish(container->events, &event.base);
}

int container_add_exec(struct container *container,
		       const Containerd__Task__V2__ExecProcessRequest *request, struct error *err)
{
	struct process_options options = {
		.loop = container->loop,
		.agent = sandbox_agent(container->sandbox),
		.events = container->events,
		.container_id = container->id,
		.exec_id = request->exec_id,
		.pid = process_pid(container->init),
	};
	struct process *process;
	struct exec *exec;
	int r;

	r = check_exec(container, request, err);
	if (r < 0)
		return r;
	r = spec_parse_process(request->spec->value.data, request->spec->value.len, &options.spec,
			       err);
	if (r < 0)
		return r;
	options.stdio = stdio_copy(container, request->stdin, request->stdout, request->stderr);
	options.stdio.terminal = request->terminal;
	r = process_new(&options, &process, err);
	if (r < 0)
		return r;
	exec = xnew(struct exec);
	exec->process = process;
	TAILQ_INSERT_TAIL(&container->execs, exec, link);
	container->nexecs++;
	publish_exec_added(container, request->exec_id);
	return 0;
}

int container_delete_exec(struct container *container, struct process *process, struct error *err)
{
	enum process_state state = process_state(process);
	struct exec *exec = find_exec(container, process_exec_id(process));

	if (state != PROCESS_CREATED && state != PROCESS_STOPPED)
		return error_set(err, EBUSY, "process %s is not stopped", process_exec_id(process));
	TAILQ_REMOVE(&container->execs, exec, link);
	container->nexecs--;
	process_end(process);
	process_unref(process);
	free(exec);
	return 0;
}

enum container_state container_state(const struct container *container)
{
	return container->state;
}

const char *container_id(const struct container *container)
{
	return container->id;
}

const char *container_bundle(const struct container *container)
{
	return container->bundle;
}

struct disk *container_find_volume(const struct container *container, const char *path,
				   char **ret_guest_path)
{
	return container_disks_find_volume(container->disks, path, ret_guest_path);
}

void container_list_add(struct container_list *list, struct container *container)
{
	TAILQ_INSERT_TAIL(list, container, link);
}

void container_list_remove(struct container_list *list, struct container *container)
{
	TAILQ_REMOVE(list, container, link);
}

struct container *container_list_find(const struct container_list *list, const char *id)
{
	struct container *container;

	TAILQ_FOREACH (container, list, link)
		if (str_equal(container->id, id))
			return container;
	return NULL;
}

struct container *container_list_next(struct container *container)
{
	return TAILQ_NEXT(container, link);
}
