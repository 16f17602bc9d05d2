#include "factory/vm/clone_files.h"

#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/worker.h"
#include "factory/guest/dax_window.h"
#include "factory/guest/disks.h"
#include "factory/store/device_files.h"
#include "factory/store/memory_copy.h"

/* ---------------------------------------------------------------- the list */

/* path and copy_dir are taken. */
static void add_file(struct clone_files *files, const char *placeholder, char *path, char *copy_dir,
		     int first_fd)
{
	struct clone_file *file = &files->items[files->count];

	*file = (struct clone_file){
		.placeholder = xstrdup(placeholder),
		.path = path,
		.copy_dir = copy_dir,
		.copy = -EBADF,
		.child_fd = first_fd + (int)files->count,
	};
	file->opened = copy_dir ? xasprintf("/proc/self/fd/%d", file->child_fd) : xstrdup(path);
	files->has_copies |= copy_dir != NULL;
	files->count++;
}

/* path is taken. A copy is beside it. */
static void add(struct clone_files *files, const char *placeholder, char *path, int first_fd)
{
	_cleanup_free_ char *copy = xstrdup(path);

	add_file(files, placeholder, path, files->copied ? xstrdup(dirname(copy)) : NULL, first_fd);
}

void clone_files_init(struct clone_files *files, const struct clone_files_options *options)
{
	const struct template_manifest *manifest = options->manifest;
	int first_fd = options->first_fd;

	*files = (struct clone_files){ .owner = options->owner,
				       .copied = template_is_copied(manifest),
				       .booted = options->booted,
				       .jailer = options->jailer };
	memcpy(files->template_id, manifest->id, sizeof(files->template_id));
	if (!options->booted)
		add(files, "memory", xstrdup(manifest->memory), first_fd);
	add(files, "image", path_join(manifest->dir, "image"), first_fd);
	for (size_t i = 0; i < manifest->inputs.images.count; i++) {
		_cleanup_free_ char *placeholder = xasprintf("images_%zu", i);
		add(files, placeholder, carried_path(manifest->dir, i), first_fd);
	}
	for (size_t i = 0; i < manifest->dax_windows; i++) {
		_cleanup_free_ char *placeholder = xasprintf(DAX_WINDOW_FILE, i);
		add(files, placeholder, device_file_window(manifest->dir, i), first_fd);
	}
	if (manifest->block_slots > 0)
		add(files, DISKS_SLOT, path_join(manifest->dir, DISKS_SLOT), first_fd);
	if (manifest->scratch_bytes > 0)
		add_file(files, DISKS_SCRATCH,
			 path_join(manifest->dir,
				   options->booted ? DISKS_SCRATCH_NEW : DISKS_SCRATCH),
			 xstrdup(options->scratch_dir), first_fd);
}

void clone_files_done(struct clone_files *files)
{
	for (size_t i = 0; i < files->count; i++) {
		struct clone_file *file = &files->items[i];
		free(file->placeholder);
		free(file->path);
		free(file->opened);
		free(file->copy_dir);
		close_fd(file->copy);
	}
	files->count = 0;
}

/* ---------------------------------------------------------------- the copies */

struct clone_copy {
	struct worker_pool *worker;
	struct clone_files *files;
	clone_copy_fn fn; /* NULL once freed or called */
	void *userdata;
	atomic_bool cancelled;
	int number;
	struct error err;
};

static int open_copy_there(const struct clone_files *files, size_t index, int *ret_fd,
			   struct error *err)
{
	struct jailer_request request = {
		.verb = JAILER_COPY,
		.uid = files->owner,
		.flags = files->booted ? JAILER_BOOTED : 0,
		.number = (uint32_t)index,
	};
	struct jailer_reply reply = {};

	memcpy(request.template_id, files->template_id, sizeof(request.template_id));
	int r = jailer_call(files->jailer, &request, NULL, 0, &reply, err);
	if (r == 0 && reply.nfds != 1)
		r = error_set(err, EPROTO, "kiln-jailer gives no file");
	if (r == 0)
		*ret_fd = steal_fd(&reply.fds[0]);
	jailer_reply_done(&reply);
	return r;
}

int clone_files_open_copy(const struct clone_files *files, size_t index, int *ret_fd,
			  struct error *err)
{
	const char *dir = files->items[index].copy_dir;

	if (files->jailer)
		return open_copy_there(files, index, ret_fd, err);
	_cleanup_close_ int fd = open(dir, O_RDWR | O_TMPFILE | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || fchown(fd, files->owner, files->owner) < 0)
		return error_set_errno(err, errno, "cannot make a clone's own copy of %s in %s",
				       files->items[index].path, dir);
	*ret_fd = steal_fd(&fd);
	return 0;
}

static int copy_one(struct clone_files *files, size_t index, const atomic_bool *cancelled,
		    struct error *err)
{
	struct clone_file *file = &files->items[index];
	_cleanup_close_ int from = open(file->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	_cleanup_close_ int to = -EBADF;
	_cleanup_free_ char *name = xasprintf("a clone's own copy of %s in %s", file->path,
					      file->copy_dir);

	if (from < 0)
		return error_set_errno(err, errno, "cannot open %s", file->path);
	int r = clone_files_open_copy(files, index, &to, err);
	if (r == 0)
		r = memory_copy(from, to, name, cancelled, err);
	if (r == 0)
		file->copy = steal_fd(&to);
	return r;
}

static void copy_run(void *data)
{
	struct clone_copy *copy = data;

	for (size_t i = 0; i < copy->files->count && copy->number == 0; i++)
		if (copy->files->items[i].copy_dir)
			copy->number = copy_one(copy->files, i, &copy->cancelled, &copy->err);
}

static void copy_done(void *data, void *owner _unused_)
{
	struct clone_copy *copy = data;
	clone_copy_fn fn = steal_ptr(copy->fn);

	if (fn)
		fn(copy->number, &copy->err, copy->userdata);
}

int clone_copy_start(struct loop *loop, struct clone_files *files, clone_copy_fn fn, void *userdata,
		     struct clone_copy **ret_copy, struct error *err)
{
	struct clone_copy *copy = xnew(struct clone_copy);
	const struct worker_job job = { .run = copy_run, .done = copy_done, .data = copy };
	int r = worker_pool_start(loop, 1, 1, &copy->worker, err);

	if (r < 0) {
		free(copy);
		return r;
	}
	copy->files = files;
	copy->fn = fn;
	copy->userdata = userdata;
	(void)!worker_submit(copy->worker, &job); /* an empty queue takes it */
	*ret_copy = copy;
	return 0;
}

void clone_copy_free(struct clone_copy *copy)
{
	if (!copy)
		return;
	copy->fn = NULL;
	atomic_store(&copy->cancelled, true);
	worker_pool_free(copy->worker);
	error_done(&copy->err);
	free(copy);
}
