#include "shim/volume_copy.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "shim/large_ids.h"
#include "shim/tree_copy.h"

#define DATA "..data"
#define TMP  "..tmp" /* a link that is about to get its name */

enum {
	TRIES = 5,       /* of the first copy, if the volume changes meanwhile */
	RETRY_MS = 1000, /* after a look that failed; doubled each time */
	RETRY_MAX_MS = 60000,
	POLL_MS = 5000,   /* without an inotify */
	LINGER_MS = 1000, /* that the folder before the new one stays: a guest that has just read
			   * `..data` has still to look its files up */
	NAME_SIZE = NAME_MAX + 1,
};

struct volume_copy {
	char *path; /* on the host; for the log; owned */
	int from;   /* the volume's folder, of a mount that is attached nowhere; owned */
	int to;     /* the copy's, which can be written; owned */
	struct large_ids large; /* those that the container was made with */
	struct idmap idmap;     /* numbers alone; of the field above */

	/* Folders `..N` of the copy: the last one that was tried, the one that `..data` leads to,
	 * and the one before that, which lingers; 0: none. */
	unsigned last, shown, before;
	char digest[DIGEST_HEX_SIZE]; /* of what is shown */

	int notify;               /* owned; -EBADF: there is none */
	struct loop_watch *watch; /* owned */
	struct loop_timer *timer; /* owned */
	bool is_settling;         /* the timer is for what inotify has told */
	unsigned retry_ms;        /* 0: the last look did not fail */
};

static int copy_link_text(int dir, const char *name, char *ret_text, size_t size)
{
	ssize_t len = readlinkat(dir, name, ret_text, size);

	if (len < 0)
		return -errno;
	if ((size_t)len == size)
		return -ENAMETOOLONG;
	ret_text[len] = '\0';
	return 0;
}

static bool is_hidden(const char *name)
{
	return strncmp(name, "..", 2) == 0;
}

enum volume_form volume_form_of(const char *path, const struct mountinfo *info)
{
	_cleanup_free_ char *data = path_join(path, DATA), *place = mountinfo_place(info, path);
	struct stat st;

	if (lstat(data, &st) == 0 && S_ISLNK(st.st_mode))
		return VOLUME_FORM_WHOLE;
	return place && str_after(place, "/..") ? VOLUME_FORM_PART : VOLUME_FORM_OTHER;
}

/* ---------------------------------------------------------------- the folder with the files */

/* The name that `..data` has, of a folder beside it. */
static int read_data(const struct volume_copy *copy, char ret_name[static NAME_SIZE],
		     struct error *err)
{
	int r = copy_link_text(copy->from, DATA, ret_name, NAME_SIZE);

	if (r < 0)
		return error_set_errno(err, r, DATA);
	if (!is_hidden(ret_name) || str_equal(ret_name, "..") || strchr(ret_name, '/'))
		return error_set(err, EBADMSG, DATA " leads to \"%s\", which no kubelet makes",
				 ret_name);
	return 0;
}

/* It has not been replaced, so nobody has begun to remove it either. */
static bool is_still_data(const struct volume_copy *copy, const char *name, int folder)
{
	char now[NAME_SIZE];
	struct stat a, b;

	return read_data(copy, now, NULL) == 0 && str_equal(now, name) && fstat(folder, &a) == 0 &&
	       fstatat(copy->from, name, &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_ino == b.st_ino;
}

static void remove_entry(const struct volume_copy *copy, const char *name)
{
	_cleanup_free_ char *path = xasprintf("/proc/self/fd/%d/%s", copy->to, name);
	_cleanup_(error_done) struct error err = {};

	if (path_remove(path, &err) < 0)
		log_debug(NULL, "left in the copy of volume %s: %s", copy->path,
			  error_message(&err));
}

static void remove_before(struct volume_copy *copy)
{
	_cleanup_free_ char *name = xasprintf("..%u", copy->before);

	if (copy->before > 0)
		remove_entry(copy, name);
	copy->before = 0;
}

/* Makes, or replaces, a link of the copy in one step. */
static int put_link(const struct volume_copy *copy, const char *name, const char *target,
		    const struct stat *owner, struct error *err)
{
	(void)unlinkat(copy->to, TMP, 0);
	if (symlinkat(target, copy->to, TMP) < 0)
		return error_set_errno(err, errno, "%s: its copy", name);
	int r = tree_copy_owner(&copy->idmap, owner, copy->to, TMP, err);
	if (r == 0 && renameat(copy->to, TMP, copy->to, name) < 0)
		r = error_set_errno(err, errno, "%s: its copy", name);
	return r;
}

static int copy_data(struct volume_copy *copy, const char *name, const char *fresh,
		     char ret_digest[static DIGEST_HEX_SIZE], struct error *err)
{
	_cleanup_(digest_free_cleanup) struct digest *digest = digest_new();
	struct tree_copy tree = {
		.idmap = &copy->idmap,
		.entries_max = VOLUME_COPY_ENTRIES_MAX,
		.bytes_max = VOLUME_COPY_BYTES_MAX,
		.digest = digest,
	};
	_cleanup_close_ int folder = openat(copy->from, name,
					    O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r = FAULT_ERROR("refresh.copied", err);

	if (r == 0)
		r = tree_copy_entry(&tree, copy->from, name, copy->to, fresh, err);
	if (!is_still_data(copy, name, folder))
		return error_set(err, EAGAIN, "it has changed while it was copied");
	digest_finish(digest, ret_digest);
	return r;
}

/* Shows what `..data` of the volume leads to, if that is not what is shown already. */
static int refresh_data(struct volume_copy *copy, struct error *err)
{
	_cleanup_free_ char *fresh = xasprintf("..%u", ++copy->last);
	char name[NAME_SIZE], digest[DIGEST_HEX_SIZE];
	struct stat st;
	int r = read_data(copy, name, err);

	remove_before(copy);
	if (r < 0)
		return r;
	r = copy_data(copy, name, fresh, digest, err);
	if (r == 0 && str_equal(digest, copy->digest)) {
		remove_entry(copy, fresh);
		return 0;
	}
	if (r == 0 && fstatat(copy->from, DATA, &st, AT_SYMLINK_NOFOLLOW) < 0)
		r = error_set_errno(err, errno, DATA);
	if (r == 0)
		r = put_link(copy, DATA, fresh, &st, err);
	if (r < 0) {
		remove_entry(copy, fresh);
		return r;
	}
	copy->before = copy->shown;
	copy->shown = copy->last;
	memcpy(copy->digest, digest, sizeof(digest));
	return 0;
}

/* ---------------------------------------------------------------- what leads there */

typedef int (*entry_fn)(struct volume_copy *copy, struct tree_copy *tree, const char *name,
			struct error *err);

/* Calls fn for what a kubelet shows in the folder. */
static int for_each(struct volume_copy *copy, int folder, entry_fn fn, struct error *err)
{
	struct tree_copy tree = {
		.idmap = &copy->idmap,
		.entries_max = VOLUME_COPY_ENTRIES_MAX,
		.bytes_max = VOLUME_COPY_BYTES_MAX,
	};
	int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		r = error_set_errno(err, errno, "cannot list it");
		close_fd(fd);
		return r;
	}
	while (r == 0 && (entry = readdir(dir)))
		if (!str_equal(entry->d_name, ".") && !is_hidden(entry->d_name))
			r = fn(copy, &tree, entry->d_name, err);
	closedir(dir);
	return r;
}

/* A link, or a folder for the mount of another volume. */
static int show_entry(struct volume_copy *copy, struct tree_copy *tree, const char *name,
		      struct error *err)
{
	char target[PATH_MAX], there[PATH_MAX];
	struct stat st, mine;

	if (fstatat(copy->from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : error_set_errno(err, errno, "%s", name);
	if (S_ISLNK(st.st_mode)) {
		int r = copy_link_text(copy->from, name, target, sizeof(target));
		if (r < 0)
			return error_set_errno(err, r, "%s", name);
		if (++tree->entries > tree->entries_max)
			return error_set(err, EFBIG, "there are more than %zu links",
					 tree->entries_max);
		r = copy_link_text(copy->to, name, there, sizeof(there));
		return r == 0 && str_equal(target, there) ? 0
							  : put_link(copy, name, target, &st, err);
	}
	if (!S_ISDIR(st.st_mode))
		return error_set(err, EOPNOTSUPP, "%s is not what a kubelet makes", name);
	if (fstatat(copy->to, name, &mine, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	return tree_copy_entry(tree, copy->from, name, copy->to, name, err);
}

static int hide_entry(struct volume_copy *copy, struct tree_copy *tree _unused_, const char *name,
		      struct error *err _unused_)
{
	struct stat st;

	if (fstatat(copy->from, name, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
		remove_entry(copy, name);
	return 0;
}

/* All of it, as it is now. */
static int refresh(struct volume_copy *copy, struct error *err)
{
	struct stat st;
	int r = refresh_data(copy, err);

	if (r == 0)
		r = for_each(copy, copy->from, show_entry, err);
	if (r == 0)
		r = for_each(copy, copy->to, hide_entry, err);
	if (r == 0 && fstat(copy->from, &st) < 0)
		r = error_set_errno(err, errno, "cannot look at it");
	return r < 0 ? r : tree_copy_owner(&copy->idmap, &st, copy->to, ".", err);
}

/* ---------------------------------------------------------------- later */

static void note_failure(struct volume_copy *copy, const struct error *err)
{
	if (copy->retry_ms == 0)
		log_warning(NULL,
			    "volume %s has changed, and its copy shows what it had before, until "
			    "it can be copied: %s",
			    copy->path, error_message(err));
	copy->retry_ms = copy->retry_ms == 0 ? RETRY_MS : copy->retry_ms * 2;
	if (copy->retry_ms > RETRY_MAX_MS)
		copy->retry_ms = RETRY_MAX_MS;
}

static void note_success(struct volume_copy *copy)
{
	if (copy->before > 0)
		log_debug(NULL, "volume %s has changed, and its copy with it", copy->path);
	if (copy->retry_ms > 0)
		log_info(NULL, "volume %s is copied again", copy->path);
	copy->retry_ms = 0;
}

static void look(void *userdata)
{
	struct volume_copy *copy = userdata;
	_cleanup_(error_done) struct error err = {};
	int r = refresh(copy, &err);
	unsigned next_ms;

	copy->is_settling = false;
	if (r < 0) {
		note_failure(copy, &err);
		next_ms = copy->retry_ms;
	} else {
		note_success(copy);
		next_ms = copy->before > 0 ? LINGER_MS : copy->notify < 0 ? POLL_MS : 0;
	}
	if (next_ms > 0)
		loop_timer_start(copy->timer, next_ms);
}

/* The kubelet changes several things at once. */
static void on_change(int fd, unsigned events _unused_, void *userdata)
{
	struct volume_copy *copy = userdata;
	char told[4096];

	while (read(fd, told, sizeof(told)) > 0)
		;
	if (copy->is_settling)
		return;
	copy->is_settling = true;
	loop_timer_start(copy->timer, VOLUME_COPY_SETTLE_MS);
}

static int open_notify(const struct volume_copy *copy, int *ret_notify)
{
	_cleanup_free_ char *path = xasprintf("/proc/self/fd/%d", copy->from);
	int r = FAULT_ERROR("refresh.following", NULL);
	_cleanup_close_ int notify = r < 0 ? -EBADF : inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	if (r < 0)
		return r;
	if (notify < 0 ||
	    inotify_add_watch(notify, path,
			      IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_ATTRIB | IN_ONLYDIR) < 0)
		return -errno;
	*ret_notify = steal_fd(&notify);
	return 0;
}

static void follow(struct volume_copy *copy, struct loop *loop)
{
	int r = open_notify(copy, &copy->notify);

	copy->timer = loop_timer_new(loop, look, copy);
	if (r == 0) {
		copy->watch = loop_watch_new(loop, copy->notify, LOOP_READ, on_change, copy);
		return;
	}
	log_info(NULL, "volume %s is looked at every %d s: inotify: %s", copy->path, POLL_MS / 1000,
		 strerror(-r));
	loop_timer_start(copy->timer, POLL_MS);
}

/* ---------------------------------------------------------------- the copy's file system */

/* Twice as much, as old and new are there together; files take whole pages. */
static int mount_aside(const char *scratch, int *ret_fd, struct error *err)
{
	_cleanup_free_ char *options = xasprintf(
		"mode=0700,size=%u,nr_inodes=%u",
		2 * (VOLUME_COPY_BYTES_MAX + VOLUME_COPY_ENTRIES_MAX * 4096),
		4 * VOLUME_COPY_ENTRIES_MAX);

	if (mount("kiln", scratch, "tmpfs", MS_NODEV | MS_NOSUID | MS_NOEXEC, options) < 0)
		return error_set_errno(err, errno, "cannot mount a tmpfs");
	*ret_fd = open(scratch, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*ret_fd >= 0)
		return 0;
	int r = error_set_errno(err, errno, "cannot open %s", scratch);
	umount2(scratch, MNT_DETACH | UMOUNT_NOFOLLOW);
	return r;
}

/* The first time. */
static int fill(struct volume_copy *copy, struct loop *loop, enum volume_form form,
		struct error *err)
{
	struct tree_copy tree = {
		.idmap = &copy->idmap,
		.entries_max = VOLUME_COPY_ENTRIES_MAX,
		.bytes_max = VOLUME_COPY_BYTES_MAX,
	};
	int r = -EAGAIN;

	if (form == VOLUME_FORM_PART)
		return tree_copy_content(&tree, copy->from, copy->to, err);
	follow(copy, loop); /* from before the first look on */
	for (unsigned i = 0; r == -EAGAIN && i < TRIES; i++)
		r = refresh(copy, err);
	if (r == 0)
		error_done(err);
	return r;
}

static struct volume_copy *allocate(const struct idmap *idmap, const char *path, int from)
{
	struct volume_copy *copy = xnew(struct volume_copy);

	copy->path = xstrdup(path);
	copy->from = from;
	copy->to = copy->notify = -EBADF;
	copy->idmap = (struct idmap){ .userns = -EBADF, .first = idmap->first };
	if (idmap->large) {
		copy->large = *idmap->large;
		copy->idmap.large = &copy->large;
	}
	return copy;
}

int volume_copy_new(struct loop *loop, const struct mount_place *place, const char *path,
		    enum volume_form form, struct volume_copy **ret_copy, struct error *err)
{
	const struct idmap unmapped = IDMAP_NONE;
	const struct mount_place plain = { place->dir_fd, place->name, &unmapped, place->scratch };
	int from = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (from < 0)
		return error_set_errno(err, errno, "cannot open it");
	_cleanup_(volume_copy_free_cleanup) struct volume_copy *copy = allocate(place->idmap, path,
										from);
	int r = mount_aside(place->scratch, &copy->to, err);
	if (r < 0)
		return r;
	r = fill(copy, loop, form, err);
	if (r == 0)
		r = mount_bind_at(&plain, place->scratch, BIND_READONLY, err);
	umount2(place->scratch, MNT_DETACH | UMOUNT_NOFOLLOW);
	if (r == 0)
		*ret_copy = steal_ptr(copy);
	return r;
}

void volume_copy_free(struct volume_copy *copy)
{
	if (!copy)
		return;
	loop_watch_free(copy->watch);
	loop_timer_free(copy->timer);
	close_fd(copy->notify);
	close_fd(copy->from);
	close_fd(copy->to);
	free(copy->path);
	free(copy);
}
