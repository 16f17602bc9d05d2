#include "factory/store/device_files.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/spawn.h"
#include "base/strings.h"
#include "factory/guest/dax_window.h"
#include "factory/guest/disks.h"
#include "factory/store/memory_copy.h"

#define EXTENDED_OPTIONS "assume_storage_prezeroed=1,nodiscard,root_owner=0:0,num_backup_sb=0"

enum { COPY_CHUNK = 64 << 20 };

/* A file that did not exist before, of this size, all of it a hole. */
static int make_file(const char *path, uint64_t bytes, int *ret_fd, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		return error_set_errno(err, errno, "cannot make %s", path);
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* No journal and no copies of the superblock: there is no crash that the file system outlives. The
 * file is a hole, so inode tables need no zeroing, neither now nor later in the guest. */
static int make_file_system(const char *path, struct error *err)
{
	char *const *argv = SPAWN_ARGV("mkfs.ext4", "-q", "-F", "-b", "4096", "-I", "256", "-m",
				       "0", "-O", "^has_journal,^resize_inode,sparse_super2", "-E",
				       EXTENDED_OPTIONS, path);
	int r = spawn_and_wait(argv, NULL, err);

	return r < 0 ? error_wrap(err, "scratch disk (mkfs.ext4 is of Debian's package e2fsprogs)")
		     : 0;
}

int device_file_make_scratch(const char *dir, uint64_t bytes, struct error *err)
{
	_cleanup_free_ char *path = path_join(dir, DISKS_SCRATCH);
	_cleanup_free_ char *path_new = path_join(dir, DISKS_SCRATCH_NEW);
	_cleanup_close_ int fd = -EBADF, fd_new = -EBADF, made = -EBADF;
	int r = make_file(path_new, bytes, &fd_new, err);

	if (r == 0)
		r = make_file_system(path_new, err);
	if (r == 0)
		r = make_file(path, bytes, &fd, err);
	if (r < 0)
		return r;
	made = open(path_new, O_RDONLY | O_CLOEXEC);
	if (made < 0)
		return error_set_errno(err, errno, "cannot open %s", path_new);
	return memory_copy(made, fd, path, NULL, err);
}

int device_file_make_slot(const char *path, const char *image, struct error *err)
{
	_cleanup_close_ int from = open(image, O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int to = -EBADF;
	ssize_t copied;

	if (from < 0)
		return error_set_errno(err, errno, "cannot open %s", image);
	int r = make_file(path, DISKS_SLOT_BYTES, &to, err);
	if (r < 0)
		return r;
	while ((copied = sendfile(to, from, NULL, COPY_CHUNK)) > 0)
		continue;
	if (copied < 0 || fchmod(to, 0444) < 0)
		return error_set_errno(err, errno, "cannot copy %s to %s", image, path);
	return 0;
}

char *device_file_window(const char *template_dir, size_t index)
{
	return xasprintf("%s/" DAX_WINDOW_FILE, template_dir, index);
}

int device_file_make_window(const char *template_dir, size_t index, uint64_t bytes,
			    struct error *err)
{
	_cleanup_free_ char *path = device_file_window(template_dir, index);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0 || fchmod(fd, 0444) < 0)
		return error_set_errno(err, errno, "cannot make %s", path);
	return 0;
}
