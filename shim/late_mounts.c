#include "shim/late_mounts.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "shim/jail_mount.h"
#include "shim/mountinfo.h"

struct late_mounts {
	pid_t vmm_pid;
	int vmm_pidfd; /* owned */
	struct idmap idmap;
	struct strv points;       /* owned */
	struct strv refused;      /* owned; ids of mounts that could not be mapped */
	int info;                 /* owned; readable when there is something new */
	struct loop_watch *watch; /* owned */
};

static bool is_below_one(const struct strv *folders, const char *path)
{
	for (size_t i = 0; i < folders->count; i++) {
		const char *rest = str_after(path, folders->items[i]);
		if (rest && *rest == '/')
			return true;
	}
	return false;
}

static bool is_mapped(const struct mountinfo_entry *entry)
{
	return strstr(entry->attributes, "idmapped") != NULL;
}

/* Both lists get what they are about: an id that is tried again when the mount is another. */
static void map(struct late_mounts *mounts, const struct mountinfo_entry *entry, struct strv *done,
		struct strv *refused)
{
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *id = xasprintf("%u", entry->id);

	if (strv_contains(&mounts->refused, id)) {
		strv_add(refused, id);
		return;
	}
	if (jail_mount_map(mounts->vmm_pidfd, entry->point, &mounts->idmap, &err) == 0) {
		strv_add(done, entry->point);
		return;
	}
	log_warning(NULL, "what the host has mounted below a volume keeps the host's owners: %s",
		    error_message(&err));
	strv_add(refused, id);
}

/* With a mount those below it are mapped, which come after it in the kernel's list. */
static void map_all(struct late_mounts *mounts, const struct mountinfo *info)
{
	_cleanup_(strv_done) struct strv done = {};
	struct strv refused = {};

	for (size_t i = 0; i < info->count; i++) {
		const struct mountinfo_entry *entry = &info->entries[i];
		if (!is_mapped(entry) && is_below_one(&mounts->points, entry->point) &&
		    !is_below_one(&done, entry->point))
			map(mounts, entry, &done, &refused);
	}
	strv_done(&mounts->refused);
	mounts->refused = refused;
}

static void on_change(int fd _unused_, unsigned events _unused_, void *userdata)
{
	struct late_mounts *mounts = userdata;
	_cleanup_(mountinfo_done) struct mountinfo info = {};
	_cleanup_(error_done) struct error err = {};

	if (mountinfo_read(mounts->vmm_pid, &info, &err) < 0)
		log_debug(NULL, "%s", error_message(&err)); /* the machine has just ended */
	else
		map_all(mounts, &info);
}

int late_mounts_new(const struct late_mounts_options *options, struct late_mounts **ret_mounts,
		    struct error *err)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/mountinfo", (int)options->vmm_pid);
	_cleanup_close_ int info = open(path, O_RDONLY | O_CLOEXEC), userns = -EBADF,
			    pidfd = -EBADF;

	if (info < 0)
		return error_set_errno(err, errno, "cannot open %s", path);
	userns = fcntl(options->idmap->userns, F_DUPFD_CLOEXEC, 3);
	pidfd = fcntl(options->vmm_pidfd, F_DUPFD_CLOEXEC, 3);
	if (userns < 0 || pidfd < 0)
		return error_set_errno(err, errno, "cannot keep a descriptor");

	struct late_mounts *mounts = xnew(struct late_mounts);

	mounts->vmm_pid = options->vmm_pid;
	mounts->vmm_pidfd = steal_fd(&pidfd);
	mounts->idmap = (struct idmap){ .userns = steal_fd(&userns),
					.first = options->idmap->first };
	mounts->points = *options->points;
	*options->points = (struct strv){};
	mounts->info = steal_fd(&info);
	mounts->watch = loop_watch_new(options->loop, mounts->info, LOOP_READ | LOOP_EDGE,
				       on_change, mounts);
	*ret_mounts = mounts;
	return 0;
}

void late_mounts_free(struct late_mounts *mounts)
{
	if (!mounts)
		return;
	loop_watch_free(mounts->watch);
	close_fd(mounts->info);
	close_fd(mounts->vmm_pidfd);
	idmap_close(&mounts->idmap);
	strv_done(&mounts->points);
	strv_done(&mounts->refused);
	free(mounts);
}
