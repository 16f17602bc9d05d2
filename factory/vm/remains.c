#include "factory/vm/remains.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/pidfd.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "factory/base/layout.h"
#include "factory/jail/cgroup.h"
#include "factory/jail/uid_range.h"
#include "factory/vm/journal.h"

enum {
	MOUNTINFO_MAX = 16 * 1024 * 1024,
	MOUNT_PASSES_MAX = 16, /* mounts stacked on one point need a pass each */
	KILL_PASSES_MAX = 16,  /* a process may have forked meanwhile */
	STATUS_MAX = 16 * 1024,
	KILL_WAIT_MS = 10 * 1000,
	CMDLINE_MAX = 256 * 1024,
	LOG_TAIL = 2048,
	LAST_LINE_MAX = 300,
};

char *remains_dir(const char *run_dir, const char *id)
{
	return xasprintf(LAYOUT_VM_DIR, run_dir, id);
}

/* ---- mounts */

/* The kernel writes space, tab, newline and backslash as \ooo. */
static char *mountinfo_unescape(const char *field, size_t len)
{
	_cleanup_(strbuf_done) struct strbuf out = {};
	for (size_t i = 0; i < len; i++) {
		char c = field[i];
		if (c == '\\' && len - i > 3 && field[i + 1] >= '0' && field[i + 1] <= '3' &&
		    field[i + 2] >= '0' && field[i + 2] <= '7' && field[i + 3] >= '0' &&
		    field[i + 3] <= '7') {
			c = (char)((field[i + 1] - '0') * 64 + (field[i + 2] - '0') * 8 +
				   (field[i + 3] - '0'));
			i += 3;
		}
		strbuf_add(&out, &c, 1);
	}
	return strbuf_steal(&out);
}

/* Field 5 of a line, unescaped; NULL for a line that has none. */
static char *mountinfo_mount_point(const char *line, size_t len)
{
	const char *end = line + len;
	for (int field = 1; field < 5; field++) {
		line = memchr(line, ' ', (size_t)(end - line));
		if (!line)
			return NULL;
		line++;
	}
	const char *stop = memchr(line, ' ', (size_t)(end - line));
	if (!stop || stop == line)
		return NULL;
	return mountinfo_unescape(line, (size_t)(stop - line));
}

static bool path_is_below(const char *path, const char *dir)
{
	const char *rest = str_after(path, dir);
	return rest && (*rest == '\0' || *rest == '/');
}

static int longer_first(const void *a, const void *b)
{
	size_t la = strlen(*(char *const *)a), lb = strlen(*(char *const *)b);
	return la < lb ? 1 : la > lb ? -1 : 0;
}

void remains_find_mounts(const char *mountinfo, const char *dir, struct strv *ret_mounts)
{
	for (const char *line = mountinfo; *line;) {
		size_t len = strcspn(line, "\n");
		_cleanup_free_ char *point = mountinfo_mount_point(line, len);
		if (point && path_is_below(point, dir))
			strv_take(ret_mounts, steal_ptr(point));
		line += len + (line[len] == '\n');
	}
	/* A mount below another one has the longer path. */
	if (ret_mounts->count > 1)
		qsort(ret_mounts->items, ret_mounts->count, sizeof(char *), longer_first);
}

static int detach_mounts(const char *dir, struct error *err)
{
	for (int pass = 0; pass < MOUNT_PASSES_MAX; pass++) {
		_cleanup_free_ char *text = NULL;
		_cleanup_(strv_done) struct strv mounts = {};
		int r = file_read("/proc/self/mountinfo", MOUNTINFO_MAX, &text, NULL, err);
		if (r < 0)
			return r;
		remains_find_mounts(text, dir, &mounts);
		if (mounts.count == 0)
			return 0;
		for (size_t i = 0; i < mounts.count; i++)
			if (umount2(mounts.items[i], MNT_DETACH | UMOUNT_NOFOLLOW) < 0 &&
			    errno != EINVAL && errno != ENOENT)
				return error_set_errno(err, errno, "cannot unmount %s",
						       mounts.items[i]);
	}
	return error_set(err, EBUSY, "mounts below %s come faster than they are removed", dir);
}

/* ---- processes beside the VMM (factory/client/jail_join.h) */

/* One that lives: who is dead and not yet reaped holds nothing any more. */
static bool is_of_range(pid_t pid, uint32_t first)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/status", (int)pid);
	_cleanup_free_ char *text = NULL;
	const char *line;
	unsigned uid;

	if (file_read(path, STATUS_MAX, &text, NULL, NULL) < 0)
		return false;
	if (strstr(text, "\nState:\tZ"))
		return false;
	line = strstr(text, "\nUid:");
	return line && sscanf(line, "\nUid: %u", &uid) == 1 && uid >= first &&
	       uid - first < UID_RANGE_SIZE;
}

/* 1: it was one, and is dead; 0: it is none, or has ended by itself. */
static int kill_if_of_range(pid_t pid, uint32_t first, struct error *err)
{
	_cleanup_close_ int pidfd = -EBADF;
	uint64_t start;

	if (process_start_time(pid, &start) < 0 || !is_of_range(pid, first) ||
	    process_open(pid, start, &pidfd) < 0)
		return 0;
	int r = pidfd_kill(pidfd, err);
	return r < 0 ? r : 1;
}

/* One pass; how many there were. */
static int kill_range_once(uint32_t first, struct error *err)
{
	DIR *proc = opendir("/proc");
	int count = 0, r = 0;

	if (!proc)
		return error_set_errno(err, errno, "cannot read /proc");
	for (const struct dirent *entry; r >= 0 && (entry = readdir(proc)); count += r) {
		uint64_t pid;
		if (str_to_u64(entry->d_name, 2, INT32_MAX, &pid) < 0)
			r = 0;
		else
			r = kill_if_of_range((pid_t)pid, first, err);
	}
	closedir(proc);
	return r < 0 ? r : count;
}

static int kill_range(uint32_t first, struct error *err)
{
	int r = 1;

	for (int pass = 0; r > 0 && pass < KILL_PASSES_MAX; pass++)
		r = kill_range_once(first, err);
	return r > 0 ? error_set(err, EBUSY, "the machine's processes come faster than they end")
		     : r;
}

/* A control group that is empty can be removed, and tells by that that there are none. */
static int end_processes(const struct journal_entry *entry, struct error *err)
{
	int r = entry->cgroup ? cgroup_remove(entry->cgroup, err) : 0;

	if (entry->uid == 0 || (entry->cgroup && r != -EBUSY))
		return r;
	error_done(err);
	r = kill_range(entry->uid, err);
	return r == 0 && entry->cgroup ? cgroup_remove(entry->cgroup, err) : r;
}

int remains_remove(const char *run_dir, const struct journal_entry *entry, struct error *err)
{
	_cleanup_free_ char *dir = remains_dir(run_dir, entry->id);
	/* mountinfo has no symlinks in its paths, run_dir may (/var/run). */
	_cleanup_free_ char *real = realpath(dir, NULL);
	int r = real ? detach_mounts(real, err) : 0;
	FAULT_POINT("end.unmounted");
	if (r == 0)
		r = path_remove(dir, err);
	FAULT_POINT("end.removed");
	if (r == 0)
		r = end_processes(entry, err);
	if (r == 0 && entry->uid > 0)
		r = uid_range_release(run_dir, entry->uid, entry->id, err);
	FAULT_POINT("end.released");
	if (r == 0)
		r = journal_remove(run_dir, entry->id, err);
	return r;
}

/* ---- the process */

static bool process_names(const char *pid, const char *path)
{
	_cleanup_free_ char *file = xasprintf("/proc/%s/cmdline", pid);
	_cleanup_free_ char *args = NULL;
	size_t len = 0;
	if (file_read(file, CMDLINE_MAX, &args, &len, NULL) < 0 || len == 0)
		return false;
	const char *program = strrchr(args, '/');
	if (!str_after(program ? program + 1 : args, "qemu"))
		return false;
	return memmem(args, len, path, strlen(path)) != NULL;
}

int remains_find_qemu(const char *path, int *ret_pidfd)
{
	int r = -ESRCH;
	DIR *proc = opendir("/proc");
	if (!proc)
		return -errno;
	for (const struct dirent *entry; r == -ESRCH && (entry = readdir(proc));) {
		uint64_t pid, start;
		if (str_to_u64(entry->d_name, 2, INT32_MAX, &pid) < 0 ||
		    process_start_time((pid_t)pid, &start) < 0 ||
		    !process_names(entry->d_name, path))
			continue;
		r = process_open((pid_t)pid, start, ret_pidfd);
	}
	closedir(proc);
	return r;
}

int remains_find_process(const char *run_dir, const char *id, int *ret_pidfd)
{
	_cleanup_free_ char *share = xasprintf(LAYOUT_VM_DIR "/share", run_dir, id);
	return remains_find_qemu(share, ret_pidfd);
}

char *remains_last_words(const char *dir, int status)
{
	_cleanup_free_ char *log = path_join(dir, VM_LOG);

	return program_last_words("QEMU", log, status);
}
