/* What a factory may ask to be done to machines. A request is not believed: what it names is looked
 * up here, by names that hold digits only and below folders that are root's. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/spawn.h"
#include "factory/base/layout.h"
#include "factory/jail/cgroup.h"
#include "factory/jail/uid_range.h"
#include "factory/jailer/jailer_server.h"
#include "factory/vm/journal.h"
#include "factory/vm/launch.h"
#include "factory/vm/rehearsal.h"
#include "factory/vm/remains.h"

enum { FDINFO_MAX = 4096, VCPUS_MAX = 4096, MEMORY_MIB_MAX = 1 << 26 };

/* ---------------------------------------------------------------- what is not believed */

/* Of all machines. */
static struct owner owners_of(const struct server *server)
{
	uint32_t first = (uint32_t)server->config.uid_first;

	return first == 0 ? (struct owner){ 0, 1 }
			  : (struct owner){ first, UID_RANGES * UID_RANGE_SIZE };
}

bool server_has_range(const struct server *server, uint32_t uid)
{
	uint32_t first = (uint32_t)server->config.uid_first;

	return first == 0 ? uid == 0
			  : uid >= first && (uid - first) % UID_RANGE_SIZE == 0 &&
				    (uid - first) / UID_RANGE_SIZE < UID_RANGES;
}

static int check_uid(const struct server *server, uint32_t uid, struct error *err)
{
	if (server_has_range(server, uid))
		return 0;
	return error_set(err, EPERM, "the user id %u begins none of the machines' ranges", uid);
}

/* Whether the user ids are noted as the machine's: no other one's, and not the bakes'. */
static bool has_range(const struct server *server, const struct jailer_request *request)
{
	return request->uid > 0
		       ? uid_range_is(server->config.run_dir, request->uid, request->machine)
		       : server->config.uid_first == 0;
}

static int check_range(const struct server *server, const struct jailer_request *request,
		       struct error *err)
{
	int r = check_uid(server, request->uid, err);

	if (r == 0 && !has_range(server, request))
		r = error_set(err, EPERM, "the user ids %u are not the machine's", request->uid);
	return r;
}

/* It was made by launch_new(): nobody else can make one that is root's. A missing one is one
 * without anything. */
static int check_folder(const struct server *server, const char *id, struct error *err)
{
	_cleanup_free_ char *dir = remains_dir(server->config.run_dir, id);
	struct stat st;

	if (lstat(dir, &st) < 0)
		return errno == ENOENT ? 0 : error_set_errno(err, errno, "cannot look at %s", dir);
	if (S_ISDIR(st.st_mode) && st.st_uid == 0)
		return 0;
	return error_set(err, EPERM, "%s is no folder of root's", dir);
}

static int check_cgroup(const struct jailer_request *request, struct error *err)
{
	const char *cgroup = request->text.items[0];

	return journal_cgroup_is_valid(cgroup, request->machine)
		       ? 0
		       : error_set(err, EPERM, "the control group \"%.128s\" is not the machine's",
				   cgroup);
}

/* The process that a pidfd is of; it cannot be another one's number as long as that is open. */
static int pid_of(int pidfd, pid_t *ret_pid, struct error *err)
{
	_cleanup_free_ char *path = xasprintf("/proc/self/fdinfo/%d", pidfd);
	_cleanup_free_ char *text = NULL;
	int pid = 0, r = file_read(path, FDINFO_MAX, &text, NULL, err);

	if (r < 0)
		return r;
	const char *line = strstr(text, "\nPid:");
	if (!line || sscanf(line, "\nPid: %d", &pid) != 1 || pid == 0)
		return error_set(err, EPERM, "a descriptor that is of no process here");
	*ret_pid = pid;
	return 0;
}

/* Of a machine that was made when "uid_first" was another one. */
static bool is_former_machine(const struct server *server, pid_t pid)
{
	struct owner owner = { .count = UID_RANGE_SIZE };
	uint32_t uid;

	if (!remains_owner(pid, &uid))
		return false;
	owner.first = uid_range_find(server->config.run_dir, uid);
	return owner.first > 0 && remains_is_machine(pid, &owner);
}

static int check_process(const struct server *server, pid_t pid, struct error *err)
{
	const struct owner owners = owners_of(server);

	if (pid > 1 && (remains_is_machine(pid, &owners) || is_former_machine(server, pid)))
		return 0;
	return error_set(err, EPERM, "the process %d is no machine", (int)pid);
}

static int load_template(const struct server *server, const struct jailer_request *request,
			 struct template_manifest **ret, struct error *err)
{
	return template_manifest_load(server->config.store, request->template_id, ret, err);
}

/* ---------------------------------------------------------------- deeds */

int serve_take(struct server *server, const struct jailer_request *request, const int *fds _unused_,
	       size_t nfds _unused_, struct jailer_reply *reply _unused_, struct error *err)
{
	int r = check_uid(server, request->uid, err);

	if (r == 0 && request->uid == 0)
		r = error_set(err, EPERM, "machines that are root have no user ids to take");
	return r < 0 ? r
		     : uid_range_take(server->config.run_dir, request->uid, request->machine, err);
}

int serve_copy(struct server *server, const struct jailer_request *request, const int *fds _unused_,
	       size_t nfds _unused_, struct jailer_reply *reply, struct error *err)
{
	_cleanup_(template_manifest_free_cleanup) struct template_manifest *manifest = NULL;
	struct clone_files files = {};
	int r = check_uid(server, request->uid, err);

	if (r == 0)
		r = load_template(server, request, &manifest, err);
	if (r < 0)
		return r;
	clone_files_init(&files, &(struct clone_files_options){
					 .manifest = manifest,
					 .scratch_dir = server->config.scratch_dir,
					 .booted = request->flags & JAILER_BOOTED,
					 .owner = request->uid,
				 });
	if (request->number >= files.count || !files.items[request->number].copy_dir)
		r = error_set(err, EPERM, "the template has no file %u to copy", request->number);
	if (r == 0)
		r = clone_files_open_copy(&files, request->number, &reply->fds[0], err);
	reply->nfds = r == 0;
	clone_files_done(&files);
	return r;
}

/* The copies, in the order of the files. */
static int take_copies(struct clone_files *files, const int *fds, size_t nfds, struct error *err)
{
	size_t taken = 0;

	for (size_t i = 0; i < files->count; i++) {
		struct clone_file *file = &files->items[i];
		if (!file->copy_dir)
			continue;
		if (taken == nfds)
			return error_set(err, EPERM, "a copy of %s is missing", file->path);
		file->copy = fcntl(fds[taken++], F_DUPFD_CLOEXEC, 0);
		if (file->copy < 0)
			return error_set_errno(err, errno, "cannot take the copy of %s",
					       file->path);
	}
	return taken == nfds ? 0 : error_set(err, EPERM, "%zu copies too many", nfds - taken);
}

static int check_size(const struct jailer_request *request, struct error *err)
{
	bool booted = request->flags & JAILER_BOOTED;

	if (booted ? request->vcpus > 0 && request->vcpus <= VCPUS_MAX && request->memory_mib > 0 &&
			     request->memory_mib <= MEMORY_MIB_MAX
		   : request->vcpus == 0 && request->memory_mib == 0)
		return 0;
	return error_set(err, EPERM, "no machine has %u vCPUs and %u MiB", request->vcpus,
			 request->memory_mib);
}

static int launch(struct server *server, const struct jailer_request *request,
		  const struct template_manifest *manifest, const int *fds, size_t nfds,
		  struct launched *ret, struct error *err)
{
	const struct vm_size size = { request->vcpus, request->memory_mib };
	_cleanup_(launch_free_cleanup) struct launch *launch = NULL;
	_cleanup_free_ char *cgroup = server->jail.cgroup && request->uid > 0
					      ? xasprintf("%s/%s", server->jail.cgroup,
							  request->machine)
					      : NULL;
	int r = launch_new(
		&(struct launch_options){
			.run_dir = server->config.run_dir,
			.id = request->machine,
			.manifest = manifest,
			.scratch_dir = server->config.scratch_dir,
			.jail = server->jail,
			.uid = request->uid,
			.cgroup = cgroup,
			.boot = request->flags & JAILER_BOOTED ? &size : NULL,
			.merge_pages = request->flags & JAILER_MERGE,
		},
		&launch, err);

	if (r == 0)
		r = take_copies(launch_files(launch), fds, nfds, err);
	return r < 0 ? r : launch_run(launch, ret, err);
}

int serve_launch(struct server *server, const struct jailer_request *request, const int *fds,
		 size_t nfds, struct jailer_reply *reply, struct error *err)
{
	_cleanup_(template_manifest_free_cleanup) struct template_manifest *manifest = NULL;
	struct launched launched = {};
	int r = check_range(server, request, err);

	if (r == 0)
		r = check_size(request, err);
	if (r == 0)
		r = load_template(server, request, &manifest, err);
	if (r == 0)
		r = launch(server, request, manifest, fds, nfds, &launched, err);
	if (r < 0)
		return r;
	reply->pid = launched.pid;
	reply->guest_cid = launched.guest_cid;
	reply->start_time = launched.start_time;
	reply->fds[reply->nfds++] = launched.pidfd;
	return 0;
}

/* Its group gives no vCPU that its template has not. */
int serve_grow(struct server *server, const struct jailer_request *request, const int *fds _unused_,
	       size_t nfds _unused_, struct jailer_reply *reply _unused_, struct error *err)
{
	unsigned max = 0;
	int r = check_folder(server, request->machine, err);

	if (r == 0)
		r = check_cgroup(request, err);
	if (r == 0)
		r = launch_read_max_vcpus(server->config.run_dir, request->machine, &max, err);
	if (r == 0 && (request->vcpus == 0 || request->vcpus > max))
		r = error_set(err, EPERM, "the machine cannot have %u vCPUs, %u at most",
			      request->vcpus, max);
	return r < 0 ? r : cgroup_set_vcpus(request->text.items[0], request->vcpus, err);
}

int serve_rehearse(struct server *server, const struct jailer_request *request,
		   const int *fds _unused_, size_t nfds _unused_,
		   struct jailer_reply *reply _unused_, struct error *err)
{
	_cleanup_free_ char *dir = remains_dir(server->config.run_dir, request->machine);
	_cleanup_free_ char *share = path_join(dir, "share");
	int r = check_folder(server, request->machine, err);

	if (r == 0 && !path_exists(share))
		r = error_set(err, ENOENT, "the machine has no share");
	if (r < 0)
		return r;
	return request->flags & JAILER_UNDO ? rehearsal_share_remove(share, err)
					    : rehearsal_share_make(share, err);
}

int serve_kill(struct server *server, const struct jailer_request *request _unused_, const int *fds,
	       size_t nfds _unused_, struct jailer_reply *reply _unused_, struct error *err)
{
	struct pollfd ended = { .fd = fds[0], .events = POLLIN };
	pid_t pid = 0;
	int r = pid_of(fds[0], &pid, err);

	if (r < 0)
		return r;
	r = check_process(server, pid, err);
	if (poll(&ended, 1, 0) > 0) { /* asked after the check: it may have ended meanwhile */
		error_done(err);
		return 0;
	}
	if (r == 0 && pidfd_send_signal(fds[0], SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		r = error_set_errno(err, errno, "cannot kill the process %d", (int)pid);
	return r;
}

int serve_reap(struct server *server _unused_, const struct jailer_request *request _unused_,
	       const int *fds, size_t nfds _unused_, struct jailer_reply *reply, struct error *err)
{
	int status, r = spawn_reap(fds[0], &status);

	if (r < 0)
		return error_set_errno(err, r, "it is no child that has ended");
	reply->status = status;
	return 0;
}

int serve_find(struct server *server, const struct jailer_request *request, const int *fds _unused_,
	       size_t nfds _unused_, struct jailer_reply *reply, struct error *err)
{
	const struct journal_entry entry = { .id = (char *)request->machine, .uid = request->uid };
	/* Before its ids are taken there is none. */
	int r = has_range(server, request)
			? remains_find_process(server->config.run_dir, &entry, &reply->fds[0])
			: -ESRCH;

	if (r < 0)
		return error_set_errno(err, r, "no process of the machine is found");
	reply->nfds = 1;
	return 0;
}

int serve_remove(struct server *server, const struct jailer_request *request,
		 const int *fds _unused_, size_t nfds _unused_, struct jailer_reply *reply _unused_,
		 struct error *err)
{
	const char *cgroup = request->text.count > 0 ? request->text.items[0] : NULL;
	const struct journal_entry entry = {
		.id = (char *)request->machine,
		.uid = request->uid,
		.cgroup = (char *)cgroup,
	};
	int r = check_folder(server, request->machine, err);

	if (r == 0 && cgroup)
		r = check_cgroup(request, err);
	return r < 0 ? r : remains_remove(server->config.run_dir, &entry, err);
}

int serve_measure(struct server *server, const struct jailer_request *request,
		  const int *fds _unused_, size_t nfds _unused_, struct jailer_reply *reply,
		  struct error *err)
{
	_cleanup_free_ char *path = xasprintf("/proc/%u/smaps_rollup", request->number);
	/* First opened: what is then found to be a machine was one all along. */
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return error_set_errno(err, errno, "cannot open %s", path);
	int r = check_process(server, (pid_t)request->number, err);
	if (r == 0)
		reply->fds[reply->nfds++] = steal_fd(&fd);
	return r;
}
