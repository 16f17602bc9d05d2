#include "factory/images/image_make.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/spawn.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "factory/cache/image_cache.h"
#include "factory/cache/image_record.h"
#include "factory/images/image_store.h"

#define MKFS  "mkfs.erofs"
#define BLOCK 4096
#define NICE  10 /* sandboxes come first */

enum { DIGEST_STEP = 1 << 20 };

/* One making under way; all owned. */
struct attempt {
	const struct image_making *making; /* borrowed */
	char *temporary;
	int *layer_fds;
	size_t nlayers;

	/* For the child, which may make system calls only. */
	char *mount_dir;  /* IMAGE_STORE_MOUNT: a tmpfs there, in the child's namespace */
	char *empty_dir;  /* in it: the lowest layer, for an overlay wants two */
	char *root_dir;   /* in it: where the overlay is */
	int empty_fd;     /* a number that is free in the child */
	char *mount_data; /* "lowerdir=11:12:…", below /proc/self/fd: paths may be of any length */
	pid_t parent;
};

static void attempt_done(struct attempt *attempt)
{
	if (attempt->temporary)
		unlink(attempt->temporary);
	for (size_t i = 0; i < attempt->nlayers; i++)
		close_fd(attempt->layer_fds[i]);
	close_fd(attempt->empty_fd);
	free(attempt->temporary);
	free(attempt->layer_fds);
	free(attempt->mount_dir);
	free(attempt->empty_dir);
	free(attempt->root_dir);
	free(attempt->mount_data);
}

/* ---------------------------------------------------------------- the child */

/* Nothing of it outlives the factory, or starts to when that is gone already. */
static int limit_child(const struct attempt *attempt, const char **ret_what)
{
	const struct rlimit bytes = { attempt->making->limit_bytes, attempt->making->limit_bytes };

	*ret_what = "cannot be bounded";
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || setrlimit(RLIMIT_FSIZE, &bytes) < 0)
		return -errno;
	if (getppid() != attempt->parent)
		return -ESRCH;
	(void)setpriority(PRIO_PROCESS, 0, NICE);
	return 0;
}

static int enter_namespace(const struct attempt *attempt, const char **ret_what)
{
	*ret_what = "cannot have a mount namespace of its own";
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	*ret_what = "cannot mount a tmpfs in the cache of images";
	if (mount("none", attempt->mount_dir, "tmpfs", 0, "mode=0700,size=64k") < 0 ||
	    mkdir(attempt->empty_dir, 0755) < 0 || mkdir(attempt->root_dir, 0755) < 0)
		return -errno;
	return 0;
}

/* An overlay takes folders of its own namespace only: each is opened again in this one, and has
 * to be the one whose key is known. */
static int reopen_layers(const struct attempt *attempt, const char **ret_what)
{
	struct stat before, now;

	*ret_what = "a layer is not what it was";
	for (size_t i = 0; i < attempt->nlayers; i++) {
		int fd = open(attempt->making->layers->items[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &now) < 0 || fstat(attempt->layer_fds[i], &before) < 0)
			return -errno;
		if (now.st_dev != before.st_dev || now.st_ino != before.st_ino)
			return -ESTALE;
		if (dup3(fd, attempt->layer_fds[i], O_CLOEXEC) < 0 || close(fd) < 0)
			return -errno;
	}
	return 0;
}

static int mount_layers(const struct attempt *attempt, const char **ret_what)
{
	int fd = open(attempt->empty_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	*ret_what = "cannot mount the overlay of the layers";
	if (fd < 0 || dup3(fd, attempt->empty_fd, O_CLOEXEC) < 0 || chdir("/proc/self/fd") < 0)
		return -errno;
	if (mount("overlay", attempt->root_dir, "overlay", MS_RDONLY, attempt->mount_data) < 0)
		return -errno;
	return 0;
}

static int in_child(void *data, const char **ret_what)
{
	const struct attempt *attempt = data;
	int r = limit_child(attempt, ret_what);

	if (r == 0)
		r = enter_namespace(attempt, ret_what);
	if (r == 0)
		r = reopen_layers(attempt, ret_what);
	return r < 0 ? r : mount_layers(attempt, ret_what);
}

/* ---------------------------------------------------------------- before it */

static int open_layers(struct attempt *attempt, struct error *err)
{
	const struct strv *layers = attempt->making->layers;

	attempt->layer_fds = xnew_array(int, layers->count + 1);
	for (size_t i = 0; i < layers->count; i++) {
		int fd = open(layers->items[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			return error_set_errno(err, errno, "layer %s", layers->items[i]);
		attempt->layer_fds[attempt->nlayers++] = fd;
	}
	return 0;
}

static int check_key(const struct attempt *attempt, struct error *err)
{
	const struct image_making *making = attempt->making;
	char key[DIGEST_HEX_SIZE];
	int r = image_key_of(making->layers, attempt->layer_fds, key, err);

	if (r == 0 && !str_equal(key, making->key))
		r = error_set(err, ESTALE, "its layers were replaced by others");
	return r;
}

static int prepare(struct attempt *attempt, struct error *err)
{
	const char *dir = attempt->making->cache_dir;
	struct strbuf data = {};

	attempt->parent = getpid();
	attempt->temporary = xasprintf("%s/%s" IMAGE_STORE_TEMPORARY, dir, attempt->making->key);
	attempt->mount_dir = xasprintf("%s/" IMAGE_STORE_MOUNT, dir);
	attempt->empty_dir = xasprintf("%s/empty", attempt->mount_dir);
	attempt->root_dir = xasprintf("%s/root", attempt->mount_dir);
	if (unlink(attempt->temporary) < 0 && errno != ENOENT)
		return error_set_errno(err, errno, "cannot remove %s", attempt->temporary);
	attempt->empty_fd = open(attempt->mount_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (attempt->empty_fd < 0)
		return error_set_errno(err, errno, "cannot open %s", attempt->mount_dir);
	strbuf_adds(&data, "lowerdir=");
	for (size_t i = 0; i < attempt->nlayers; i++)
		strbuf_addf(&data, "%d:", attempt->layer_fds[i]);
	strbuf_addf(&data, "%d", attempt->empty_fd);
	attempt->mount_data = strbuf_steal(&data);
	return 0;
}

/* ---------------------------------------------------------------- mkfs.erofs */

static int explain_start(struct error *err)
{
	if (err->number == ENOENT)
		return error_wrap(err, "install erofs-utils, or name its folder in PATH");
	return -err->number;
}

static int explain_end(const struct image_making *making, int status, const char *output,
		       struct error *err)
{
	_cleanup_free_ char *no_space = xasprintf("[Error %d]", ENOSPC); /* as it says it */

	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ)
		return error_set(err, EFBIG,
				 "it is larger than the whole cache may be: raise image_cache_mib "
				 "(%llu)",
				 (unsigned long long)(making->limit_bytes >> 20));
	if (status != 0 && strstr(output, no_space))
		return error_set(err, ENOSPC,
				 "no space is left in %s: make room, or lower image_cache_mib",
				 making->cache_dir);
	return spawn_status_error(MKFS, status, output, err);
}

static int run_mkfs(struct attempt *attempt, struct error *err)
{
	const struct spawn_options options = {
		.argv = SPAWN_ARGV(MKFS, "--quiet", attempt->temporary, attempt->root_dir),
		.cwd = "/",
		.in_child = in_child,
		.hook_data = attempt,
	};
	_cleanup_free_ char *output = NULL;
	int status;
	int r = spawn_run(&options, attempt->making->cancel_fd, &status, &output, err);

	if (r == -ECANCELED)
		return r;
	return r < 0 ? explain_start(err) : explain_end(attempt->making, status, output, err);
}

/* ---------------------------------------------------------------- after it */

/* As digest_file(), but for the word to give up: an image may have many GiB. */
static int digest_image(const struct attempt *attempt, int fd, char ret_hex[static DIGEST_HEX_SIZE],
			struct error *err)
{
	struct pollfd cancel = { .fd = attempt->making->cancel_fd, .events = POLLIN };
	_cleanup_(digest_free_cleanup) struct digest *d = digest_new();
	_cleanup_free_ char *data = xcalloc(1, DIGEST_STEP);
	ssize_t n;

	if (lseek(fd, 0, SEEK_SET) < 0)
		return error_set_errno(err, errno, "cannot read %s", attempt->temporary);
	while ((n = read_full(fd, data, DIGEST_STEP)) > 0) {
		digest_add(d, data, (size_t)n);
		if (poll(&cancel, 1, 0) > 0)
			return error_set(err, ECANCELED, "it was given up");
	}
	if (n < 0)
		return error_set_errno(err, (int)n, "cannot read %s", attempt->temporary);
	digest_finish(d, ret_hex);
	return 0;
}

/* On the disk, and of whole blocks. */
static int settle(const struct attempt *attempt, struct image_record *record, struct error *err)
{
	_cleanup_close_ int fd = open(attempt->temporary, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set_errno(err, errno, "cannot open %s", attempt->temporary);
	off_t whole = (st.st_size + BLOCK - 1) / BLOCK * BLOCK;
	if ((whole != st.st_size && ftruncate(fd, whole) < 0) || fchmod(fd, 0600) < 0 ||
	    fsync(fd) < 0 || fstat(fd, &st) < 0)
		return error_set_errno(err, errno, "cannot write %s", attempt->temporary);
	record->stamp = input_stamp_of(&st);
	return digest_image(attempt, fd, record->digest, err);
}

/* The record of an older image goes first: no image is to be opened by another's record. */
static int put_in_place(struct attempt *attempt, const struct image_record *record,
			struct error *err)
{
	const char *dir = attempt->making->cache_dir;
	_cleanup_free_ char *path = image_path(dir, record->key);
	_cleanup_free_ char *record_path = image_record_path(dir, record->key);

	if (unlink(record_path) < 0 && errno != ENOENT)
		return error_set_errno(err, errno, "cannot remove %s", record_path);
	int r = FAULT_ERROR("image.made", err);
	if (r < 0)
		return r;
	if (rename(attempt->temporary, path) < 0)
		return error_set_errno(err, errno, "cannot rename %s", attempt->temporary);
	r = FAULT_ERROR("image.renamed", err);
	if (r == 0)
		r = image_record_write(dir, record, err);
	if (r < 0)
		unlink(path);
	else
		FAULT_POINT("image.stored");
	return r;
}

static int store(struct attempt *attempt, struct error *err)
{
	const struct image_making *making = attempt->making;
	_cleanup_(image_record_done) struct image_record record = {
		.name = xstrdup(making->name),
		.made_at = clock_realtime_ns() / 1000000000,
	};
	int r = settle(attempt, &record, err);

	if (r < 0)
		return r;
	memcpy(record.key, making->key, sizeof(record.key));
	strv_add_all(&record.layers, making->layers);
	r = image_store_make_room(making->cache_dir, making->key, record.stamp.size,
				  making->limit_bytes, err);
	return r < 0 ? r : put_in_place(attempt, &record, err);
}

int image_make(const struct image_making *making, struct error *err)
{
	_cleanup_(attempt_done) struct attempt attempt = { .making = making, .empty_fd = -EBADF };
	int r = open_layers(&attempt, err);

	if (r == 0)
		r = check_key(&attempt, err);
	if (r == 0)
		r = prepare(&attempt, err);
	if (r == 0)
		r = FAULT_ERROR("image.making", err);
	if (r == 0)
		r = run_mkfs(&attempt, err);
	return r < 0 ? r : store(&attempt, err);
}
