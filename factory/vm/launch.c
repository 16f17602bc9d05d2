#include "factory/vm/launch.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/log_pipe.h"
#include "base/memory.h"
#include "base/pidfd.h"
#include "base/socket.h"
#include "base/spawn.h"
#include "factory/guest/dax_window.h"
#include "factory/guest/guest_share.h"
#include "factory/jail/cgroup.h"
#include "factory/jail/jailer.h"
#include "factory/jail/keeper.h"
#include "factory/jail/tap.h"
#include "factory/vm/argv.h"
#include "factory/vm/guest_cid.h"
#include "factory/vm/preload.h"
#include "factory/vm/remains.h"

#define MAX_VCPUS_NOTE "max_vcpus" /* in the machine's folder, where it has a control group */

enum { NOTE_MAX = 64 };
enum { THREADS_MAX = 256 }; /* of a VMM beside its vCPUs: virtio-9p's requests have up to 64 */

/* The sockets QEMU serves (the last by the library it is started with), and which descriptor each
 * is there. They are bound and listen before QEMU starts and are given to it, so that connecting
 * to them never waits and never races with its start. */
enum { SOCKET_AGENT, SOCKET_QMP, SOCKET_SHIM, SOCKET_DAX, SOCKETS };
static const struct {
	const char *name;
	const char *child_fd;
} sockets[SOCKETS] = {
	[SOCKET_AGENT] = { "agent.sock", "3" },
	[SOCKET_QMP] = { "qmp.sock", "4" },
	[SOCKET_SHIM] = { "shim.sock", "5" },
	[SOCKET_DAX] = { DAX_WINDOW_SOCKET, "6" },
};

enum {
	FIRST_COPY_FD = 3 + SOCKETS, /* in QEMU: factory/vm/clone_files.h */
	FIRST_TAP_FD = FIRST_COPY_FD + CLONE_FILES_MAX,
	VHOST_FD = FIRST_TAP_FD + NETWORK_CARDS_MAX,
	FIRST_VHOST_NET_FD,
};

struct launch {
	struct clone_files files;
	struct jailer *jailer; /* borrowed; NULL: what follows `request` is used */
	struct jailer_request request;
	char *dir, *share_dir;
	int log;
	int sockets[SOCKETS];
	struct taps taps;
	int vhost; /* has guest_cid reserved; -EBADF: none */
	uint32_t guest_cid;
	struct strv argv;
	struct strv libraries, environment; /* of QEMU's: factory/vm/preload.h */
	struct jail *jail;                  /* NULL: none */
	bool merge_pages;
};

void launch_free(struct launch *launch)
{
	if (!launch)
		return;
	clone_files_done(&launch->files);
	jailer_request_done(&launch->request);
	free(launch->dir);
	free(launch->share_dir);
	close_fd(launch->log);
	for (size_t i = 0; i < SOCKETS; i++)
		close_fd(launch->sockets[i]);
	taps_done(&launch->taps);
	close_fd(launch->vhost);
	strv_done(&launch->argv);
	strv_done(&launch->libraries);
	strv_done(&launch->environment);
	if (launch->jail)
		jail_free(launch->jail);
	free(launch);
}

struct clone_files *launch_files(struct launch *launch)
{
	return &launch->files;
}

/* ---------------------------------------------------------------- folder, sockets, log */

/* Root's, also where its name is there already: nobody else has anything to make there. */
static int make_folders(const struct launch *launch, const struct keeper *keeper, uint32_t uid,
			struct error *err)
{
	_cleanup_free_ char *lower = path_join(launch->share_dir, GUEST_LOWER_DIR);

	if (mkdir(launch->dir, 0700) < 0)
		return error_set_errno(err, errno, "cannot make the folder %s", launch->dir);
	int r = keeper_let_through(keeper, launch->dir, err);
	if (r == 0)
		r = dir_make(lower, 0755, err);
	if (r == 0 && uid > 0)
		r = jail_share_make(launch->share_dir, err);
	return r < 0 ? r : FAULT_ERROR("clone.folder", err);
}

/* The factory moves what QEMU says from one to the other (base/log_pipe.h). */
static int open_log(struct launch *launch, const struct keeper *keeper, struct error *err)
{
	_cleanup_free_ char *log = path_join(launch->dir, VM_LOG);
	int r = file_write_volatile(log, "", 0, 0600, err);

	if (r == 0)
		r = keeper_give(keeper, log, err);
	if (r == 0)
		r = log_pipe_open(log, &launch->log, err);
	return r < 0 ? r : keeper_give_fd(keeper, launch->log, log, err);
}

static int open_sockets(struct launch *launch, const struct keeper *keeper, struct error *err)
{
	for (size_t i = 0; i < SOCKETS; i++) {
		_cleanup_free_ char *path = path_join(launch->dir, sockets[i].name);
		int r = socket_listen_unix(path, 0600, &launch->sockets[i], err);
		if (r == 0)
			r = keeper_give(keeper, path, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---------------------------------------------------------------- arguments */

/* Of a machine that is booted, what its size fills in. */
struct size_text {
	char vcpus[24], last_vcpu[24], memory_kib[24], max_memory_kib[24];
};

static void size_print(const struct vm_size *size, const struct template_manifest *manifest,
		       struct size_text *text)
{
	uint64_t memory_kib = (uint64_t)size->memory_mib * 1024;
	snprintf(text->vcpus, sizeof(text->vcpus), "%u", size->vcpus);
	snprintf(text->last_vcpu, sizeof(text->last_vcpu), "%u", size->vcpus - 1);
	snprintf(text->memory_kib, sizeof(text->memory_kib), "%" PRIu64, memory_kib);
	snprintf(text->max_memory_kib, sizeof(text->max_memory_kib), "%" PRIu64,
		 memory_kib + manifest->boot_room_kib);
}

static const struct strv *vector_of(const struct launch_options *options)
{
	return options->boot ? &options->manifest->boot_argv : &options->manifest->argv;
}

static int reserve_guest_cid(struct launch *launch, const struct launch_options *options,
			     struct error *err)
{
	if (!argv_has_vsock(vector_of(options)))
		return 0;
	return guest_cid_reserve(&launch->vhost, &launch->guest_cid, err);
}

static int make_arguments(struct launch *launch, const struct launch_options *options,
			  struct error *err)
{
	const struct template_manifest *manifest = options->manifest;
	const struct clone_files *files = &launch->files;
	struct placeholder paths[CLONE_FILES_MAX];
	struct vm_size template = template_size(manifest);
	struct size_text size = {};
	_cleanup_free_ char *guest_cid = xasprintf("%" PRIu32, launch->guest_cid);
	_cleanup_free_ char *vhost_fd = xasprintf("%d", VHOST_FD);
	size_print(options->boot ? options->boot : &template, manifest, &size);
	for (size_t i = 0; i < files->count; i++)
		paths[i] = (struct placeholder){ files->items[i].placeholder,
						 files->items[i].opened };
	return argv_expand(vector_of(options),
			   &(struct argv_values){
				   .files = paths,
				   .nfiles = files->count,
				   .share_dir = launch->share_dir,
				   .agent_fd = sockets[SOCKET_AGENT].child_fd,
				   .qmp_fd = sockets[SOCKET_QMP].child_fd,
				   .shim_fd = sockets[SOCKET_SHIM].child_fd,
				   .first_tap_fd = FIRST_TAP_FD,
				   .taps = launch->taps.count,
				   .first_vhost_net_fd = FIRST_VHOST_NET_FD,
				   .guest_cid = guest_cid,
				   .vhost_fd = vhost_fd,
				   .vcpus = size.vcpus,
				   .last_vcpu = size.last_vcpu,
				   .memory_kib = size.memory_kib,
				   .max_memory_kib = size.max_memory_kib,
			   },
			   &launch->argv, err);
}

/* ---------------------------------------------------------------- control group, jail */

static struct vm_size max_size(const struct launch_options *options)
{
	return options->boot ? *options->boot : template_max_size(options->manifest);
}

/* What QEMU may use beyond the guest's RAM; TCG keeps up to 1 GiB of translated code. Files the
 * guest reads and writes through the share count as well, but such pages can be dropped. */
static struct cgroup_limits limits_of(const struct launch_options *options)
{
	const struct template_manifest *manifest = options->manifest;
	struct vm_size size = options->boot ? *options->boot : template_size(manifest);
	struct vm_size max = max_size(options);
	uint64_t overhead_mib = manifest->accelerator == ACCELERATOR_TCG ? 1024 + 256 : 256;
	return (struct cgroup_limits){
		.memory_bytes = ((uint64_t)max.memory_mib + overhead_mib) << 20,
		.threads = THREADS_MAX + max.vcpus,
		.vcpus = size.vcpus, /* more when it grows: host_grow() */
	};
}

/* NULL: the option is not there, as in a clone's vector. */
static const char *option_value(const struct strv *argv, const char *option)
{
	for (size_t i = 0; i + 1 < argv->count; i++) {
		if (str_equal(argv->items[i], option))
			return argv->items[i + 1];
	}
	return NULL;
}

/* Its template may be gone when it grows. */
static int note_max_vcpus(const struct launch *launch, const struct launch_options *options,
			  struct error *err)
{
	_cleanup_free_ char *path = path_join(launch->dir, MAX_VCPUS_NOTE);
	_cleanup_free_ char *text = xasprintf("%u\n", max_size(options).vcpus);

	return file_write_volatile(path, text, strlen(text), 0600, err);
}

static int make_cgroup(const struct launch *launch, const struct launch_options *options,
		       struct error *err)
{
	struct cgroup_limits limits = limits_of(options);
	int r = options->cgroup ? note_max_vcpus(launch, options, err) : 0;

	if (r == 0 && options->cgroup)
		r = cgroup_make(options->cgroup, &limits, err);
	return r < 0 ? r : FAULT_ERROR("clone.cgroup", err);
}

/* The template's memory, where the machine maps that. */
static const char *template_memory(const struct launch *launch,
				   const struct launch_options *options)
{
	return launch->files.copied || options->boot ? NULL : options->manifest->memory;
}

static int find_libraries(struct launch *launch, const struct launch_options *options,
			  struct error *err)
{
	const struct template_manifest *manifest = options->manifest;

	return preload_find(
		&(struct preload_options){
			.memory = template_memory(launch, options),
			.dax_dir = manifest->dax_windows > 0 && options->uid > 0 ? manifest->dir
										 : NULL,
			.dax_socket = sockets[SOCKET_DAX].child_fd,
			.share_dir = launch->share_dir,
		},
		&launch->libraries, &launch->environment, err);
}

static int prepare_jail(struct launch *launch, const struct launch_options *options,
			struct error *err)
{
	const struct template_manifest *manifest = options->manifest;
	bool copied = launch->files.copied;
	int r = make_cgroup(launch, options, err);
	if (r < 0 || options->uid == 0)
		return r;
	return jail_new(
		&(struct jail_options){
			.dir = launch->dir,
			.share_dir = launch->share_dir,
			.template_dir = copied ? NULL : manifest->dir,
			.memory = template_memory(launch, options),
			.libraries = &launch->libraries,
			.qemu_binary = launch->argv.items[0],
			.kernel = option_value(&launch->argv, "-kernel"),
			.initrd = option_value(&launch->argv, "-initrd"),
			.cgroup = options->cgroup,
			.taps = &launch->taps,
			.uid = options->uid,
			.kvm = manifest->accelerator == ACCELERATOR_KVM,
		},
		&launch->jail, err);
}

/* ---------------------------------------------------------------- before the process */

static int prepare(struct launch *launch, const struct launch_options *options, struct error *err)
{
	struct keeper keeper = keeper_of(options->run_dir);
	int r = make_folders(launch, &keeper, options->uid, err);
	if (r == 0)
		r = open_log(launch, &keeper, err);
	if (r == 0)
		r = open_sockets(launch, &keeper, err);
	if (r == 0)
		r = taps_reserve(options->manifest->network_cards,
				 argv_has_vhost_net(vector_of(options)), &launch->taps, err);
	if (r == 0)
		r = reserve_guest_cid(launch, options, err);
	if (r == 0)
		r = make_arguments(launch, options, err);
	if (r == 0)
		r = find_libraries(launch, options, err);
	if (r == 0)
		r = prepare_jail(launch, options, err);
	return r < 0 ? r : FAULT_ERROR("clone.prepared", err);
}

static void describe(struct launch *launch, const struct launch_options *options)
{
	struct jailer_request *request = &launch->request;

	request->verb = JAILER_LAUNCH;
	memcpy(request->machine, options->id, sizeof(request->machine));
	memcpy(request->template_id, options->manifest->id, sizeof(request->template_id));
	request->uid = options->uid;
	request->flags = (options->boot ? JAILER_BOOTED : 0) |
			 (options->merge_pages ? JAILER_MERGE : 0);
	if (options->boot) {
		request->vcpus = options->boot->vcpus;
		request->memory_mib = options->boot->memory_mib;
	}
}

int launch_new(const struct launch_options *options, struct launch **ret_launch, struct error *err)
{
	_cleanup_(launch_free_cleanup) struct launch *launch = xnew(struct launch);
	int r = 0;

	launch->jailer = options->jail.jailer;
	launch->merge_pages = options->merge_pages;
	launch->dir = remains_dir(options->run_dir, options->id);
	launch->share_dir = path_join(launch->dir, "share");
	launch->log = launch->vhost = -EBADF;
	for (size_t i = 0; i < SOCKETS; i++)
		launch->sockets[i] = -EBADF;
	clone_files_init(&launch->files,
			 &(struct clone_files_options){ .manifest = options->manifest,
							.scratch_dir = options->scratch_dir,
							.booted = options->boot != NULL,
							.owner = options->uid,
							.first_fd = FIRST_COPY_FD,
							.jailer = options->jail.jailer });
	if (launch->jailer)
		describe(launch, options);
	else
		r = prepare(launch, options, err);
	if (r == 0)
		*ret_launch = steal_ptr(launch);
	return r;
}

/* ---------------------------------------------------------------- the process */

/* One that is not in the journal yet must not go on. */
static int note_start(const char *dir, struct launched *launched, struct error *err)
{
	_cleanup_(error_done) struct error left = {};
	int status, r = FAULT_ERROR("clone.spawned", err);

	if (r == 0) {
		r = process_start_time(launched->pid, &launched->start_time);
		if (r < 0)
			(void)error_set_errno(err, r, "QEMU ended at once");
	}
	if (r == 0)
		r = remains_note_process(dir, launched->pid, launched->start_time, err);
	if (r < 0 && pidfd_kill(launched->pidfd, &left) < 0)
		error_wrap(err, "%s", error_message(&left));
	if (r < 0)
		(void)!spawn_reap(launched->pidfd, &status);
	return r;
}

static int spawn_here(const struct launch *launch, struct launched *ret, struct error *err)
{
	struct spawn_fd fds[2 + SOCKETS + CLONE_FILES_MAX + 2 * NETWORK_CARDS_MAX + 1] = {
		{ launch->log, 1 },
		{ launch->log, 2 },
		{ launch->sockets[SOCKET_AGENT], 3 },
		{ launch->sockets[SOCKET_QMP], 4 },
		{ launch->sockets[SOCKET_SHIM], 5 },
		{ launch->sockets[SOCKET_DAX], 6 },
	};
	size_t nfds = 2 + SOCKETS;
	for (size_t i = 0; i < launch->files.count; i++)
		if (launch->files.items[i].copy >= 0)
			fds[nfds++] = (struct spawn_fd){ launch->files.items[i].copy,
							 launch->files.items[i].child_fd };
	for (size_t i = 0; i < launch->taps.count; i++)
		fds[nfds++] = (struct spawn_fd){ launch->taps.fds[i], FIRST_TAP_FD + (int)i };
	for (size_t i = 0; i < launch->taps.count; i++)
		if (launch->taps.vhost_net[i] >= 0)
			fds[nfds++] = (struct spawn_fd){ launch->taps.vhost_net[i],
							 FIRST_VHOST_NET_FD + (int)i };
	if (launch->vhost >= 0)
		fds[nfds++] = (struct spawn_fd){ launch->vhost, VHOST_FD };
	struct spawn_options options = {
		.argv = launch->argv.items,
		.env = launch->environment.items,
		.cwd = "/",
		.fds = fds,
		.nfds = nfds,
		.new_session = true,
		.no_huge_pages = true,
		.merge_pages = launch->merge_pages && !launch->files.copied,
	};
	if (launch->jail) {
		options.in_child = jail_enter;
		options.in_parent = jail_admit;
		options.limits_files = true;
		options.hook_data = launch->jail;
	} else if (launch->taps.count > 0) {
		options.in_child = taps_enter;
		options.hook_data = (void *)&launch->taps;
	}
	_cleanup_close_ int pidfd = -EBADF;
	struct launched launched = {};
	int r = spawn(&options, &launched.pid, &pidfd, err);
	if (r < 0)
		return r;
	launched.pidfd = pidfd;
	launched.guest_cid = launch->guest_cid;
	r = note_start(launch->dir, &launched, err);
	if (r < 0)
		return r;
	steal_fd(&pidfd);
	*ret = launched;
	return 0;
}

static int spawn_there(const struct launch *launch, struct launched *ret, struct error *err)
{
	struct jailer_reply reply = {};
	int fds[CLONE_FILES_MAX];
	size_t nfds = 0;

	for (size_t i = 0; i < launch->files.count; i++)
		if (launch->files.items[i].copy >= 0)
			fds[nfds++] = launch->files.items[i].copy;
	int r = jailer_call(launch->jailer, &launch->request, fds, nfds, &reply, err);
	if (r == 0)
		r = FAULT_ERROR("clone.answered", err);
	if (r == 0 && reply.nfds != 1)
		r = error_set(err, EPROTO, "kiln-jailer gives no process");
	if (r == 0)
		*ret = (struct launched){ reply.pid, reply.start_time, steal_fd(&reply.fds[0]),
					  reply.guest_cid };
	jailer_reply_done(&reply);
	return r;
}

int launch_read_max_vcpus(const char *run_dir, const char *id, unsigned *ret_vcpus,
			  struct error *err)
{
	_cleanup_free_ char *dir = remains_dir(run_dir, id);
	_cleanup_free_ char *path = path_join(dir, MAX_VCPUS_NOTE);
	_cleanup_free_ char *text = NULL;
	uint64_t vcpus;
	int r = file_read(path, NOTE_MAX, &text, NULL, err);

	if (r < 0)
		return r;
	text[strcspn(text, "\n")] = '\0';
	if (str_to_u64(text, 1, UINT32_MAX, &vcpus) < 0)
		return error_set(err, EBADMSG, "%s has no number of vCPUs", path);
	*ret_vcpus = (unsigned)vcpus;
	return 0;
}

int launch_run(struct launch *launch, struct launched *ret, struct error *err)
{
	return launch->jailer ? spawn_there(launch, ret, err) : spawn_here(launch, ret, err);
}
