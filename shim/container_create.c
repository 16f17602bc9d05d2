/* A container's creation: container_create() -> its spec's hooks are run -> its writable image is
 * made, where there is to be one -> a machine -> its disks -> the image of its layers -> mounts on
 * the host -> CreateContainer. Each step ends where the container is not CREATING any more. */
#include <libgen.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/pidfd.h"
#include "base/trace.h"
#include "factory/guest/storages.h"
#include "proto/events.pb-c.h"
#include "proto/root_note.h"
#include "shim/bundle.h"
#include "shim/container_priv.h"
#include "shim/images.h"
#include "shim/large_ids.h"
#include "shim/layer_losses.h"
#include "shim/netns.h"
#include "shim/upper_image.h"

#define CREATE_TIMEOUT_MS 60000

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

static void on_hooks_stopped(int number, const struct error *err, void *userdata)
{
	_cleanup_(container_unref_cleanup) struct container *container = userdata;

	if (number < 0)
		log_warning(container->id, "after its creation failed: %s", error_message(err));
	container_finish(container, &container->failure);
}

/* What hooks began they end before the answer: who gets it may end the shim. */
static void create_failed(struct container *container, const struct error *err)
{
	container_ref(container);
	container_set_state(container, CONTAINER_GONE);
	(void)error_set(&container->failure, err->number, "%s", error_message(err));
	if (container->hooks)
		hooks_run(container->hooks, HOOKS_STOP, on_hooks_stopped, container_ref(container));
	else
		container_finish(container, err);
	container_unref(container);
}

void container_break_creation(struct container *container)
{
	_cleanup_(error_done) struct error err = {};

	(void)error_set(&err, ECONNRESET, "the sandbox's machine ended during the creation");
	create_failed(container, &err);
}

/* An answer that the creation waited for: false where nobody waits any more, or where it is a
 * failure, which is dealt with. */
static bool take_answer(struct container *container, int number, const struct error *why)
{
	if (container->state != CONTAINER_CREATING)
		return false;
	if (number < 0)
		create_failed(container, why);
	return number >= 0;
}

/* Of what waited with a machine: false where that went meanwhile, which fails the creation. */
static bool still_has_machine(struct container *container)
{
	bool has = sandbox_claim(container->sandbox) != NULL;

	if (!has)
		container_break_creation(container);
	return has;
}

/* The number goes with the processes, because it keeps the network's namespace, which is removed
 * before the container is. */
static void on_stopped(int number _unused_, const struct error *err _unused_, void *userdata)
{
	struct container *container = userdata;

	netns_keeper_free(steal_ptr(container->number));
}

/* The VMM's; or where that is not in the network namespace whose path is made of it, that of the
 * thread that is. */
static uint32_t first_pid(const struct container *container)
{
	pid_t pid = sandbox_netns_pid(container->sandbox);

	if (pid == 0 && container->hooks && hooks_have_first(container->hooks))
		pid = hooks_pid(container->hooks);
	return (uint32_t)(pid != 0 ? pid : sandbox_vmm_pid(container->sandbox));
}

/* The pid to tell. Containers of a pod have one each, so that the path of a pid namespace that is
 * made of it says whose it is (shim/pid_sharing.h): that of a thread in the pod's network
 * namespace, which ends with the shim whatever becomes of it. */
static int take_number(struct container *container, uint32_t *ret_pid, struct error *err)
{
	const char *netns = sandbox_netns(container->sandbox);
	int r;

	*ret_pid = first_pid(container);
	if (!container->is_member)
		return 0;
	r = netns ? netns_keep(netns, &container->number, err)
		  : netns_keep_process(sandbox_vmm_pidfd(container->sandbox), &container->number,
				       err);
	if (r == 0)
		*ret_pid = (uint32_t)netns_keeper_id(container->number);
	return r;
}

/* The agent has it, and where the pod has a network, it is joined. */
static void created(struct container *container)
{
	const struct error *sandbox_failure = sandbox_error(container->sandbox);
	_cleanup_(error_done) struct error err = {};
	uint32_t pid = 0;

	if (sandbox_failure->number)
		(void)error_set(&err, sandbox_failure->number, "%s",
				error_message(sandbox_failure));
	else
		(void)!take_number(container, &pid, &err);
	if (err.number) {
		create_failed(container, &err);
		return;
	}
	container_set_state(container, CONTAINER_CREATED);
	process_created(container->init, pid);
	process_wait(container->init, on_stopped, container);
	publish_create(container);
	container_finish(container, &err);
}

static void on_network(int number, const struct error *why, void *userdata)
{
	_cleanup_(container_unref_cleanup) struct container *container = userdata;

	if (container->state != CONTAINER_CREATING) {
		if (!container->is_sandbox)
			container_remove_in_guest(container, NULL, NULL);
	} else if (number < 0) {
		create_failed(container, why);
	} else if (still_has_machine(container)) {
		created(container);
	}
}

static void create_when_joined(struct container *container)
{
	if (sandbox_is_joining(container->sandbox))
		sandbox_await_network(container->sandbox, on_network, container_ref(container));
	else
		created(container);
}

static void end_span(const struct container *container, const char *why)
{
	trace_end_as(TRACE_CREATE_CONTAINER, NULL, &container->span,
		     &(struct trace_detail){ .container = container->id, .error = why });
}

static void on_created(const struct ttrpc_reply *reply, void *userdata)
{
	_cleanup_(container_unref_cleanup) struct container *container = userdata;
	const struct error *sandbox_failure = sandbox_error(container->sandbox);
	_cleanup_(error_done) struct error err = {};

	if (container->state != CONTAINER_CREATING) {
		if (reply->code == TTRPC_OK)
			container_remove_in_guest(container, NULL, NULL);
		return;
	}
	if (sandbox_failure->number)
		(void)error_set(&err, sandbox_failure->number, "%s",
				error_message(sandbox_failure));
	else if (ttrpc_reply_error(reply, &err) < 0)
		(void)error_wrap(&err, "OCI runtime create failed");
	if (err.number) {
		container_disks_explain(container->disks, &err);
		end_span(container, error_message(&err));
		create_failed(container, &err);
		return;
	}
	end_span(container, NULL);
	create_when_joined(container);
}

static void create_in_guest(struct container *container, const struct storages *storages)
{
	Grpc__CreateContainerRequest request = GRPC__CREATE_CONTAINER_REQUEST__INIT;

	request.container_id = container->id;
	request.oci = container->spec->oci;
	request.no_stdin = str_empty(container->request->stdin);
	request.sandbox_pidns = container->pids.with_pod;
	if (container->pids.with)
		request.pidns_container = container->pids.with;
	container->span = trace_begin();
	request.storages = storages->items;
	request.n_storages = storages->count;
	if (container->disks)
		request.n_devices = container_disks_devices(container->disks, &request.devices);
	struct trace_context outer = trace_enter(&container->span.self);
	agent_call(sandbox_agent(container->sandbox), "CreateContainer", &request.base,
		   CREATE_TIMEOUT_MS, on_created, container_ref(container));
	(void)trace_enter(&outer);
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
	r = FAULT_ERROR("create.noting", err);
	return r < 0 ? r : bundle_write_machine(container->bundle, &machine, err);
}

static int mount_root(struct container *container, const struct idmap *idmap,
		      const char *scratch_dir, struct storages *storages, struct error *err)
{
	_cleanup_free_ char *upper = container_disks_show_upper(container->disks, storages);
	const struct rootfs_options options = {
		.driver = container->rootfs_driver,
		.lowers = sandbox_lower_folders(container->sandbox),
		.container_id = container->id,
		.image = &container->image,
		.upper = upper,
		.folder = &container->folder,
		.scratch_dir = scratch_dir,
		.idmap = idmap,
		.spec = container->spec,
		.mounts = container->root_mounts,
		.nmounts = container->nroot_mounts,
	};

	return rootfs_mount(&options, storages, &container->rootfs, err);
}

static int mount_volumes(struct container *container, const struct idmap *idmap,
			 const char *scratch_dir, struct storages *storages, struct error *err)
{
	const struct volumes_options options = {
		.driver = (enum volumes_driver)container->settings.volumes,
		.folder = &container->folder,
		.container_id = container->id,
		.scratch_dir = scratch_dir,
		.idmap = idmap,
		.loop = container->loop,
		.vmm_pid = sandbox_vmm_pid(container->sandbox),
		.vmm_pidfd = sandbox_vmm_pidfd(container->sandbox),
		.shares_shm = container->spec->in_pod && container->spec->shares_ipc,
	};

	return volumes_mount(container->spec->oci, &options, storages, &container->volumes, err);
}

/* large is for what is the container's own and goes by virtio-9p; without large ids in the pod it
 * is as the machine's, and costs nothing. The layers are shared by all containers, and virtio-fs
 * translates nothing. */
struct idmaps {
	struct idmap machine, large;
};

static void idmaps_close(struct idmaps *idmaps)
{
	idmap_close(&idmaps->machine);
	idmap_close(&idmaps->large);
}

static int idmaps_open(const struct container *container, struct idmaps *idmaps, struct error *err)
{
	const struct large_ids *ids = sandbox_large_ids(container->sandbox);
	int r = idmap_open(sandbox_vmm_pid(container->sandbox),
			   sandbox_vmm_pidfd(container->sandbox), &idmaps->machine, err);

	if (r < 0 || ids->count == 0 || idmaps->machine.userns < 0)
		return r;
	r = large_ids_map(ids, &idmaps->machine, &idmaps->large, err);
	return r < 0 ? r : large_ids_show(ids, &container->folder, err);
}

static const struct idmap *idmap_for(const struct idmaps *idmaps, bool is_own_by_9p)
{
	return is_own_by_9p && idmaps->large.userns >= 0 ? &idmaps->large : &idmaps->machine;
}

/* What it mounts is unmounted with the container, also after a failure. To containerd "not found"
 * is a task, so a missing file is an invalid argument. */
static int mount_files(struct container *container, struct storages *storages, struct error *err)
{
	_cleanup_free_ char *scratch = path_join(sandbox_vm_dir(container->sandbox), "layers");
	_cleanup_(idmaps_close) struct idmaps idmaps = { IDMAP_NONE, IDMAP_NONE };
	const struct trace_span span = trace_begin();
	int r = FAULT_ERROR("create.ids", err);

	if (r == 0)
		r = share_folder_make(sandbox_share_dir(container->sandbox), container->id,
				      &container->folder, err);
	if (r == 0)
		r = idmaps_open(container, &idmaps, err);
	if (r == 0)
		r = mount_root(container,
			       idmap_for(&idmaps, container->rootfs_driver == ROOTFS_SHARE),
			       scratch, storages, err);
	if (r == 0)
		r = mount_volumes(container,
				  idmap_for(&idmaps, container->settings.volumes == VOLUMES_9P),
				  scratch, storages, err);
	if (r == 0)
		r = FAULT_ERROR("create.mounted", err);
	trace_end_as(TRACE_ROOTFS, NULL, &span,
		     &(struct trace_detail){ .error = r < 0 ? error_message(err) : NULL });
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
	const struct trace_span span = trace_begin();

	if (root_note_write(sandbox_vm_dir(container->sandbox), container->id, kind,
			    &container->root_note, &err) < 0)
		log_warning(container->id, "the factory's list does not show its root: %s",
			    error_message(&err));
	trace_end(steps[kind], NULL, &span);
}

static void mount_and_create_in_trace(struct container *container)
{
	_cleanup_(storages_done) struct storages storages = {};
	_cleanup_(error_done) struct error err = {};

	/* Volumes before images and disks, whose mounts become binds of the guest's. */
	if (write_machine(container, &err) < 0 || mount_files(container, &storages, &err) < 0 ||
	    images_mount(container->spec->oci, container->sandbox, &storages, &err) < 0) {
		volumes_unmount(steal_ptr(container->volumes)); /* they may show the share */
		rootfs_undo(steal_ptr(container->rootfs));
		create_failed(container, &err);
		return;
	}
	if (container->disks)
		container_disks_show(container->disks, container->spec->oci, &storages);
	create_in_guest(container, &storages);
	tell_root(container);
}

/* Here as below, what began with a Create goes on in its trace. */
static void mount_and_create(struct container *container)
{
	struct trace_context outer = trace_enter(&container->creation.self);

	mount_and_create_in_trace(container);
	(void)trace_enter(&outer);
}

static void get_layer_image(struct container *container);

static void on_losses(bool was_made, void *userdata)
{
	_cleanup_(container_unref_cleanup) struct container *container = userdata;

	if (container->state != CONTAINER_CREATING || !still_has_machine(container))
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

	if (container->state != CONTAINER_CREATING || !still_has_machine(container)) {
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
		.mounts = container->root_mounts,
		.nmounts = container->nroot_mounts,
	};

	struct trace_context outer = trace_enter(&container->creation.self);
	layer_image_get(&options, on_layer_image, container_ref(container));
	(void)trace_enter(&outer);
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

	if (take_answer(container, number, why) && still_has_machine(container))
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
		.root = is_block ? container->root_mounts : NULL,
		.upper = &container->layers.writable,
	};

	return container_disks_new(&options, &container->disks, err);
}

static void on_machine(int number, const struct error *why, void *userdata)
{
	_cleanup_(container_unref_cleanup) struct container *container = userdata;
	_cleanup_(error_done) struct error err = {};

	if (!take_answer(container, number, why) || !still_has_machine(container))
		return;
	if (serve_volumes(container, &err) < 0 || list_disks(container, &err) < 0)
		create_failed(container, &err);
	else if (container->disks)
		container_disks_attach(container->disks, on_disks, container_ref(container));
	else
		prepare_root(container);
}

/* A guest that waits for cards may not have an interface yet that a sysctl of the spec's names. */
static void on_sandbox(int number, const struct error *why, void *userdata)
{
	_cleanup_(container_unref_cleanup) struct container *container = userdata;
	_cleanup_(error_done) struct error err = {};

	if (container->is_sandbox) {
		if (!take_answer(container, number, why) || !still_has_machine(container))
			return;
		if (write_machine(container, &err) < 0)
			create_failed(container, &err);
		else
			create_when_joined(container);
	} else if (number >= 0 && sandbox_is_plugging(container->sandbox)) {
		sandbox_await_network(container->sandbox, on_machine, container_ref(container));
	} else {
		on_machine(number, why, container_ref(container));
	}
}

static void acquire(struct container *container)
{
	sandbox_acquire(container->sandbox, &container->settings, container->spec->oci->hostname,
			on_sandbox, container_ref(container));
}

static void on_upper_made(int number, const struct error *why, void *userdata)
{
	_cleanup_(container_unref_cleanup) struct container *container = userdata;

	if (take_answer(container, number, why))
		acquire(container);
}

static void prepare_upper(struct container *container)
{
	if (container->makes_upper)
		upper_image_make(container->loop, &container->layers.writable, on_upper_made,
				 container_ref(container));
	else
		acquire(container);
}

/* A network that the spec leaves to them is the pod's now. */
static void on_hooks(int number, const struct error *why, void *userdata)
{
	_cleanup_(container_unref_cleanup) struct container *container = userdata;

	if (!take_answer(container, number, why))
		return;
	if (!container->settings.netns)
		container->settings.netns = hooks_netns(container->hooks);
	prepare_upper(container);
}

void container_create(struct container *container, container_done_fn done, void *userdata)
{
	container->done = done;
	container->done_userdata = userdata;
	container->creation = trace_begin();
	struct trace_context outer = trace_enter(&container->creation.self);
	if (container->hooks && hooks_have_first(container->hooks))
		hooks_run(container->hooks, HOOKS_CREATE, on_hooks, container_ref(container));
	else
		prepare_upper(container);
	(void)trace_enter(&outer);
}

void container_abort(struct container *container)
{
	_cleanup_(error_done) struct error err = {};

	if (container->state != CONTAINER_CREATING)
		return;
	(void)error_set(&err, ECANCELED, "creation was cancelled");
	container_ref(container);
	create_failed(container, &err);
	container_finish(container, &err); /* nobody waits for hooks */
	container_unref(container);
}
