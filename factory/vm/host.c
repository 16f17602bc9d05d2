#include "factory/vm/host.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>

#include "base/fault.h"
#include "base/memory.h"
#include "base/spawn.h"
#include "factory/jail/cgroup.h"
#include "factory/jail/uid_range.h"
#include "factory/vm/rehearsal.h"
#include "factory/vm/remains.h"

int host_kill(struct jailer *jailer, int pidfd, struct error *err)
{
	const struct jailer_request request = { .verb = JAILER_KILL };
	int r = FAULT_ERROR("end.kill", err);

	if (r < 0)
		return r;
	if (jailer)
		return jailer_call(jailer, &request, &pidfd, 1, NULL, err);
	if (pidfd_send_signal(pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		return error_set_errno(err, errno, "cannot kill the process");
	return 0;
}

int host_reap(struct jailer *jailer, int pidfd, int *ret_status)
{
	const struct jailer_request request = { .verb = JAILER_REAP };
	struct jailer_reply reply = {};

	if (!jailer)
		return spawn_reap(pidfd, ret_status);
	int r = jailer_call(jailer, &request, &pidfd, 1, &reply, NULL);
	if (r == 0)
		*ret_status = reply.status;
	jailer_reply_done(&reply);
	return r;
}

static struct jailer_request request_of(enum jailer_verb verb, const char *id)
{
	struct jailer_request request = { .verb = verb };

	/* Another one is no machine's, and is refused. */
	if (strlen(id) < sizeof(request.machine))
		memcpy(request.machine, id, strlen(id));
	return request;
}

int host_take_uids(struct jailer *jailer, const char *run_dir, const struct journal_entry *entry,
		   struct error *err)
{
	struct jailer_request request = request_of(JAILER_TAKE, entry->id);

	request.uid = entry->uid;
	return jailer ? jailer_call(jailer, &request, NULL, 0, NULL, err)
		      : uid_range_take(run_dir, entry->uid, entry->id, err);
}

int host_remove(struct jailer *jailer, const char *run_dir, const struct journal_entry *entry,
		struct error *err)
{
	if (!jailer)
		return remains_remove(run_dir, entry, err);
	struct jailer_request request = request_of(JAILER_REMOVE, entry->id);
	request.uid = entry->uid;
	if (entry->cgroup)
		strv_add(&request.text, entry->cgroup);
	int r = jailer_call(jailer, &request, NULL, 0, NULL, err);
	jailer_request_done(&request);
	return r;
}

static int take_fd(struct jailer_reply *reply, int *ret_fd)
{
	int r = reply->nfds == 1 ? 0 : -EPROTO;

	if (r == 0)
		*ret_fd = steal_fd(&reply->fds[0]);
	jailer_reply_done(reply);
	return r;
}

int host_find_process(struct jailer *jailer, const char *run_dir, const struct journal_entry *entry,
		      int *ret_pidfd)
{
	struct jailer_request request = request_of(JAILER_FIND, entry->id);
	struct jailer_reply reply;

	if (!jailer)
		return remains_find_process(run_dir, entry, ret_pidfd);
	request.uid = entry->uid;
	int r = jailer_call(jailer, &request, NULL, 0, &reply, NULL);
	return r < 0 ? r : take_fd(&reply, ret_pidfd);
}

int host_grow(struct jailer *jailer, const struct journal_entry *entry, unsigned vcpus,
	      struct error *err)
{
	if (!entry->cgroup)
		return 0;
	if (!jailer)
		return cgroup_set_vcpus(entry->cgroup, vcpus, err);
	struct jailer_request request = request_of(JAILER_GROW, entry->id);
	request.vcpus = vcpus;
	strv_add(&request.text, entry->cgroup);
	int r = jailer_call(jailer, &request, NULL, 0, NULL, err);
	jailer_request_done(&request);
	return r;
}

int host_rehearse(struct jailer *jailer, const char *id, const char *share_dir, bool make,
		  struct error *err)
{
	struct jailer_request request = request_of(JAILER_REHEARSE, id);

	request.flags = make ? 0 : JAILER_UNDO;
	if (jailer)
		return jailer_call(jailer, &request, NULL, 0, NULL, err);
	return make ? rehearsal_share_make(share_dir, err) : rehearsal_share_remove(share_dir, err);
}

int host_open_memory(struct jailer *jailer, pid_t pid, int *ret_fd)
{
	const struct jailer_request request = { .verb = JAILER_MEASURE, .number = (uint32_t)pid };
	_cleanup_free_ char *path = xasprintf("/proc/%d/smaps_rollup", (int)pid);
	struct jailer_reply reply;

	if (jailer) {
		int r = jailer_call(jailer, &request, NULL, 0, &reply, NULL);
		return r < 0 ? r : take_fd(&reply, ret_fd);
	}
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}
