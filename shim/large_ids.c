#include "shim/large_ids.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clone.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "factory/base/layout.h"

/* ---------------------------------------------------------------- places */

/* -1: it has none. */
static int find_place(const struct large_ids *ids, uint32_t id)
{
	for (size_t i = 0; i < ids->count; i++)
		if (ids->items[i] == id)
			return (int)i;
	return -1;
}

static int take_id(struct large_ids *ids, const char *field, uint32_t id, struct error *err)
{
	if (id < UID_RANGE_SIZE || find_place(ids, id) >= 0)
		return 0;
	if (ids->count == LARGE_IDS_MAX)
		return error_set(err, EAGAIN,
				 "process.user.%s %u: the pod's containers name %u other ids from "
				 "%u on already, and no more can own files",
				 field, id, LARGE_IDS_MAX, UID_RANGE_SIZE);
	ids->items[ids->count++] = id;
	return 0;
}

int large_ids_take(struct large_ids *ids, const Grpc__User *user, struct error *err)
{
	int r = user ? take_id(ids, "uid", user->uid, err) : 0;

	if (user && r == 0)
		r = take_id(ids, "gid", user->gid, err);
	for (size_t i = 0; user && r == 0 && i < user->n_additionalgids; i++)
		r = take_id(ids, "additionalGids", user->additionalgids[i], err);
	return r;
}

/* ---------------------------------------------------------------- the mapping */

/* A line is "FIRST ON DISK, THE HOST'S FIRST, COUNT". All places are left out of the small ids,
 * also those that nobody has yet: what was written as one of them would be another's later. */
char *large_ids_text(const struct large_ids *ids, uint32_t first)
{
	const uint32_t end = LARGE_IDS_FIRST + LARGE_IDS_MAX;
	struct strbuf text = {};

	strbuf_addf(&text, "0 %u %u\n%u %u %u\n", first, LARGE_IDS_FIRST, end, first + end,
		    UID_RANGE_SIZE - end);
	for (size_t i = 0; i < ids->count; i++)
		strbuf_addf(&text, "%u %u 1\n", ids->items[i],
			    first + LARGE_IDS_FIRST + (uint32_t)i);
	return strbuf_steal(&text);
}

uint32_t large_ids_on_host(const struct idmap *idmap, uint32_t id)
{
	const uint32_t nobody = UID_RANGE_SIZE - 2;
	int place = idmap->large ? find_place(idmap->large, id) : -1;

	if (place >= 0)
		return idmap->first + LARGE_IDS_FIRST + (uint32_t)place;
	if (id >= UID_RANGE_SIZE || (idmap->large && id - LARGE_IDS_FIRST < LARGE_IDS_MAX))
		return idmap->first + nobody;
	return idmap->first + id;
}

static int write_maps(pid_t pid, const char *text, struct error *err)
{
	static const char *const files[] = { "uid_map", "gid_map" };
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(files); i++) {
		_cleanup_free_ char *path = xasprintf("/proc/%d/%s", (int)pid, files[i]);
		r = file_write_value(path, text, err);
	}
	return r;
}

static _Noreturn void wait_for_the_end(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() == parent)
		pause();
	_exit(0);
}

/* A user namespace is a process's until somebody has a descriptor of it. */
static int make_namespace(const char *maps, int *ret_userns, struct error *err)
{
	const pid_t self = getpid();
	_cleanup_close_ int pidfd = -EBADF;
	pid_t pid = clone_process(CLONE_NEWUSER, -EBADF, &pidfd);

	if (pid == 0)
		wait_for_the_end(self);
	if (pid < 0)
		return error_set_errno(err, errno, "cannot make a user namespace");
	_cleanup_free_ char *path = xasprintf("/proc/%d/ns/user", (int)pid);
	int r = write_maps(pid, maps, err);
	*ret_userns = r == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -EBADF;
	if (r == 0 && *ret_userns < 0)
		r = error_set_errno(err, errno, "cannot open a user namespace");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return r;
}

int large_ids_map(const struct large_ids *ids, const struct idmap *machine, struct idmap *ret_idmap,
		  struct error *err)
{
	_cleanup_free_ char *maps = large_ids_text(ids, machine->first);
	struct idmap idmap = { .first = machine->first, .large = ids };
	int r = make_namespace(maps, &idmap.userns, err);

	if (r == 0)
		*ret_idmap = idmap;
	return r;
}

/* ---------------------------------------------------------------- the table */

int large_ids_show(const struct large_ids *ids, const struct share_folder *folder,
		   struct error *err)
{
	_cleanup_(strbuf_done) struct strbuf text = {};

	for (size_t i = 0; i < ids->count; i++)
		strbuf_addf(&text, "%0*x", (int)LARGE_IDS_DIGITS, ids->items[i]);
	if (symlinkat(strbuf_text(&text), folder->fd, LARGE_IDS_LINK) < 0)
		return error_set_errno(err, errno, "cannot make " LARGE_IDS_LINK " in the share");
	return 0;
}
