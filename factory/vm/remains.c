#include "factory/vm/remains.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/pidfd.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "factory/base/layout.h"
#include "factory/jail/cgroup.h"
#include "factory/jail/uid_range.h"
#include "factory/vm/journal.h"

#define PROCESS_NOTE "process" /* in the machine's folder: pid and start time */

enum {
	PROCESS_NOTE_MAX = 64,
	MOUNTINFO_MAX = 16 * 1024 * 1024,
	MOUNT_PASSES_MAX = 16, /* mounts stacked on one point need a pass each */
	KILL_PASSES_MAX = 16,  /* a process may have forked meanwhile */
	STATUS_MAX = 16 * 1024,
	KILL_WAIT_MS = 100, /* mostly it takes much less */
	KILLED_MAX = 64,
	CMDLINE_MAX = 256 * 1024,
	STRANGERS_NAMED = 8,
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

/* Who is dead and not yet reaped holds nothing any more. Where only the first thread has ended,
 * which a VMM can do to look dead, the others go on. */
static bool is_dead(const char *status)
{
	const char *threads = strstr(status, "\nThreads:");
	unsigned count = 1;

	return strstr(status, "\nState:\tZ") &&
	       (!threads || sscanf(threads, "\nThreads: %u", &count) != 1 || count <= 1);
}

bool remains_owner(pid_t pid, uint32_t *ret_uid)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/status", (int)pid);
	_cleanup_free_ char *text = NULL;

	if (file_read(path, STATUS_MAX, &text, NULL, NULL) < 0 || is_dead(text))
		return false;
	const char *line = strstr(text, "\nUid:");
	return line && sscanf(line, "\nUid: %u", ret_uid) == 1;
}

static bool is_of(uint32_t uid, const struct owner *owner)
{
	return uid >= owner->first && uid - owner->first < owner->count;
}

static bool is_of_range(pid_t pid, uint32_t first)
{
	const struct owner owner = { first, UID_RANGE_SIZE };
	uint32_t uid;

	return remains_owner(pid, &uid) && is_of(uid, &owner);
}

/* Those of a range that were killed in one pass, as far as there is room to wait for them. */
struct killing {
	uint32_t first;
	struct pollfd killed[KILLED_MAX]; /* pidfds, owned */
	size_t count;
};

static void killing_done(struct killing *killing)
{
	for (size_t i = 0; i < killing->count; i++)
		close(killing->killed[i].fd);
	killing->count = 0;
}

/* 1: it was one, and has got its signal; 0: it is none, or has ended by itself. */
static int kill_if_of_range(pid_t pid, void *userdata, struct error *err)
{
	struct killing *killing = userdata;
	_cleanup_close_ int pidfd = -EBADF;
	uint64_t start;

	if (process_start_time(pid, &start) < 0 || !is_of_range(pid, killing->first) ||
	    process_open(pid, start, &pidfd) < 0)
		return 0;
	if (pidfd_send_signal(pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		return error_set_errno(err, errno, "cannot kill the process %d", (int)pid);
	if (killing->count < KILLED_MAX)
		killing->killed[killing->count++] = (struct pollfd){ .fd = steal_fd(&pidfd),
								     .events = POLLIN };
	return 1;
}

/* How many have not ended by then. */
static size_t wait_for_killed(const struct killing *killing)
{
	uint64_t end_ns = clock_monotonic_ns() + (uint64_t)KILL_WAIT_MS * 1000000;
	size_t running = 0;

	for (size_t i = 0; i < killing->count; i++) {
		struct pollfd ended = killing->killed[i];
		uint64_t now_ns = clock_monotonic_ns();
		int ms = now_ns < end_ns ? (int)((end_ns - now_ns) / 1000000) : 0;
		running += poll(&ended, 1, ms) <= 0;
	}
	return running;
}

/* Calls fn for each process there is now, until it answers with a negative number; the sum of its
 * answers. */
static int for_each_process(int (*fn)(pid_t pid, void *userdata, struct error *err), void *userdata,
			    struct error *err)
{
	DIR *proc = opendir("/proc");
	int count = 0, r = 0;

	if (!proc)
		return error_set_errno(err, errno, "cannot read /proc");
	for (const struct dirent *entry; r >= 0 && (entry = readdir(proc)); count += r) {
		uint64_t pid;
		r = str_to_u64(entry->d_name, 2, INT32_MAX, &pid) < 0
			    ? 0
			    : fn((pid_t)pid, userdata, err);
	}
	closedir(proc);
	return r < 0 ? r : count;
}

/* All get their signal before any is waited for, and that is short: whoever calls may have others
 * to serve, and will come again. */
static int kill_range(uint32_t first, struct error *err)
{
	int r = 1;

	for (int pass = 0; r > 0 && pass < KILL_PASSES_MAX; pass++) {
		_cleanup_(killing_done) struct killing killing = { .first = first };
		r = for_each_process(kill_if_of_range, &killing, err);
		size_t running = wait_for_killed(&killing);
		if (r > 0 && running > 0)
			return error_set(err, EBUSY,
					 "%zu of the machine's processes have not ended yet",
					 running);
	}
	return r > 0 ? error_set(err, EBUSY, "the machine's processes come faster than they end")
		     : r;
}

/* A control group that is empty can be removed, and tells by that that there are none; one that is
 * not there tells nothing. The user ids of the entry may be another machine's: it was written
 * before they were taken, and they are given back before it is removed. */
static int end_processes(const char *run_dir, const struct journal_entry *entry, struct error *err)
{
	int r = entry->cgroup ? cgroup_remove(entry->cgroup, err) : 0;

	if (r > 0)
		return 0;
	if (entry->uid == 0 || (r < 0 && r != -EBUSY) ||
	    !uid_range_is(run_dir, entry->uid, entry->id))
		return r;
	error_done(err);
	r = kill_range(entry->uid, err);
	if (r == 0 && entry->cgroup)
		r = cgroup_remove(entry->cgroup, err);
	return r < 0 ? r : 0;
}

/* ---- the VMM itself */

int remains_note_process(const char *dir, pid_t pid, uint64_t start_time, struct error *err)
{
	_cleanup_free_ char *path = path_join(dir, PROCESS_NOTE);
	_cleanup_free_ char *text = xasprintf("%d %" PRIu64 "\n", (int)pid, start_time);

	return file_write_volatile(path, text, strlen(text), 0600, err);
}

static int check_noted_process(const char *dir, struct error *err)
{
	_cleanup_free_ char *path = path_join(dir, PROCESS_NOTE);
	_cleanup_free_ char *text = NULL;
	_cleanup_(error_done) struct error why = {};
	uint64_t noted, start;
	uint32_t uid;
	int pid;

	int r = file_read(path, PROCESS_NOTE_MAX, &text, NULL, &why);
	if (r == -ENOENT)
		return 0;
	if (r < 0) {
		error_move(err, &why);
		return r;
	}
	if (sscanf(text, "%d %" SCNu64, &pid, &noted) != 2)
		return error_set(err, EBADMSG, "%s names no process", path);
	r = process_start_time(pid, &start);
	if (r == -ESRCH || (r == 0 && (start != noted || !remains_owner(pid, &uid))))
		return 0;
	return r < 0 ? error_set_errno(err, r, "cannot look at its process %d", pid)
		     : error_set(err, EBUSY, "its process %d lives", pid);
}

int remains_remove(const char *run_dir, const struct journal_entry *entry, struct error *err)
{
	_cleanup_free_ char *dir = remains_dir(run_dir, entry->id);
	/* mountinfo has no symlinks in its paths, run_dir may (/var/run). */
	_cleanup_free_ char *real = realpath(dir, NULL);
	int r = check_noted_process(dir, err);
	if (r == 0 && real)
		r = detach_mounts(real, err);
	FAULT_POINT("end.unmounted");
	if (r == 0)
		r = path_remove(dir, err);
	FAULT_POINT("end.removed");
	if (r == 0)
		r = end_processes(run_dir, entry, err);
	if (r == 0 && entry->uid > 0)
		r = uid_range_release(run_dir, entry->uid, entry->id, err);
	FAULT_POINT("end.released");
	if (r == 0)
		r = journal_remove(run_dir, entry->id, err);
	return r;
}

/* ---- processes without a journal */

/* None of this looks into the process's memory. */
static bool calls_itself_qemu(pid_t pid)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/comm", (int)pid);
	_cleanup_free_ char *name = NULL;

	return file_read(path, STATUS_MAX, &name, NULL, NULL) == 0 && str_after(name, "qemu");
}

/* As of one that is about to end, or whose first thread has ended. */
static bool runs_nothing(pid_t pid)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/exe", (int)pid);
	char program[1];

	return readlink(path, program, sizeof(program)) < 0 && errno == ENOENT;
}

bool remains_runs_qemu(pid_t pid)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/exe", (int)pid);
	char program[PATH_MAX];
	struct stat st;
	ssize_t len = readlink(path, program, sizeof(program) - 1);

	program[len > 0 ? len : 0] = '\0';
	const char *slash = strrchr(program, '/');
	return slash && str_after(slash + 1, "qemu") && stat(path, &st) == 0 && st.st_uid == 0 &&
	       !(st.st_mode & (S_IWGRP | S_IWOTH));
}

bool remains_is_machine(pid_t pid, const struct owner *owner)
{
	uint32_t uid;

	return remains_owner(pid, &uid) && is_of(uid, owner) &&
	       (remains_runs_qemu(pid) || runs_nothing(pid));
}

static bool names(pid_t pid, const char *path)
{
	_cleanup_free_ char *file = xasprintf("/proc/%d/cmdline", (int)pid);
	_cleanup_free_ char *args = NULL;
	size_t len = 0;

	return file_read(file, CMDLINE_MAX, &args, &len, NULL) == 0 && len > 0 &&
	       memmem(args, len, path, strlen(path));
}

/* What is looked for, and what was found instead. */
struct search {
	const char *path;
	const struct owner *owners;
	size_t nowners;
	int pidfd;               /* of the one that was found last */
	struct strbuf strangers; /* as text, up to STRANGERS_NAMED */
	unsigned nstrangers;
};

static void search_done(struct search *search)
{
	close_fd(search->pidfd);
	strbuf_done(&search->strangers);
}

static void stranger_note(struct search *search, pid_t pid, uint32_t uid)
{
	if (++search->nstrangers <= STRANGERS_NAMED)
		strbuf_addf(&search->strangers, "%s%d of uid %u",
			    search->nstrangers > 1 ? ", " : "", (int)pid, uid);
}

/* 1: it is what is looked for, and search->pidfd is its. */
static int search_take(pid_t pid, struct search *search)
{
	uint64_t start;
	uint32_t uid;
	bool ours = false;
	int pidfd;

	/* The start first: all that follows is of this process, or process_open() fails. */
	if (process_start_time(pid, &start) < 0 || !remains_owner(pid, &uid))
		return 0;
	for (size_t i = 0; i < search->nowners; i++)
		ours |= is_of(uid, &search->owners[i]);
	if (!ours || !remains_runs_qemu(pid)) {
		if (calls_itself_qemu(pid))
			stranger_note(search, pid, uid);
		return 0;
	}
	if (!names(pid, search->path) || process_open(pid, start, &pidfd) < 0)
		return 0;
	close_fd(search->pidfd);
	search->pidfd = pidfd;
	return 1;
}

static int on_searched(pid_t pid, void *userdata, struct error *err _unused_)
{
	return search_take(pid, userdata);
}

static int kill_found(pid_t pid, void *userdata, struct error *err)
{
	struct search *search = userdata;

	if (!search_take(pid, search))
		return 0;
	log_info(NULL, "killing the QEMU %d, left behind with %s", (int)pid, search->path);
	int r = pidfd_kill(search->pidfd, err);
	return r < 0 ? r : 1;
}

int remains_find_process(const char *run_dir, const struct journal_entry *entry, int *ret_pidfd)
{
	_cleanup_free_ char *share = xasprintf(LAYOUT_VM_DIR "/share", run_dir, entry->id);
	_cleanup_(error_done) struct error err = {};
	const struct owner owner = { entry->uid, entry->uid > 0 ? UID_RANGE_SIZE : 1 };
	_cleanup_(search_done) struct search search = {
		.path = share,
		.owners = &owner,
		.nowners = 1,
		.pidfd = -EBADF,
	};

	int r = for_each_process(on_searched, &search, &err);
	if (r <= 0)
		return r < 0 ? r : -ESRCH;
	*ret_pidfd = steal_fd(&search.pidfd);
	return 0;
}

int remains_open_process(const char *run_dir, const struct journal_entry *entry, int *ret_pidfd)
{
	const struct owner owner = { entry->uid, entry->uid > 0 ? UID_RANGE_SIZE : 1 };
	_cleanup_free_ char *share = xasprintf(LAYOUT_VM_DIR "/share", run_dir, entry->id);
	uint32_t uid;

	if (entry->pid == 0)
		return remains_find_process(run_dir, entry, ret_pidfd);
	int r = process_open(entry->pid, entry->start_time, ret_pidfd);
	if (r < 0 ||
	    (remains_owner(entry->pid, &uid) && is_of(uid, &owner) && names(entry->pid, share)))
		return r;
	*ret_pidfd = close_fd(*ret_pidfd);
	return -ESRCH; /* dead and not reaped, or never a machine's */
}

int remains_kill_qemus(const char *path, const struct owner *owners, size_t nowners,
		       struct error *err)
{
	_cleanup_(search_done) struct search search = {
		.path = path,
		.owners = owners,
		.nowners = nowners,
		.pidfd = -EBADF,
	};

	int r = for_each_process(kill_found, &search, err);
	if (search.nstrangers > 0)
		log_info(NULL,
			 "left alone: %u processes that call themselves QEMU, and are not provably "
			 "a bake's of ours (%s%s)",
			 search.nstrangers, search.strangers.text,
			 search.nstrangers > STRANGERS_NAMED ? ", ..." : "");
	return r < 0 ? r : 0;
}

char *remains_last_words(const char *dir, int status)
{
	_cleanup_free_ char *log = path_join(dir, VM_LOG);

	return program_last_words("QEMU", log, status);
}
