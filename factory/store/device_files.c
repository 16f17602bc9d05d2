#include "factory/store/device_files.h"

#include <fcntl.h>
#include <inttypes.h>
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

#define FEATURES         "^metadata_csum,^resize_inode,sparse_super2"
#define EXTENDED_OPTIONS "assume_storage_prezeroed=1,nodiscard,root_owner=0:0,num_backup_sb=0"

enum {
	COPY_CHUNK = 64 << 20,
	/* Of the disk; the smallest that mkfs.ext4 makes; and enough for what 256 MiB of guest
	 * memory keep unwritten. */
	JOURNAL_PART = 16,
	JOURNAL_MIN_MIB = 4,
	JOURNAL_MAX_MIB = 16,
};

/* A file that did not exist before, of this size, all of it a hole. */
static int make_file(const char *path, uint64_t bytes, int *ret_fd, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		return error_set_errno(err, errno, "cannot make %s", path);
	*ret_fd = steal_fd(&fd);
	return 0;
}

static uint64_t journal_mib(uint64_t bytes)
{
	uint64_t mib = (bytes >> 20) / JOURNAL_PART;

	if (mib < JOURNAL_MIN_MIB)
		return JOURNAL_MIN_MIB;
	return mib < JOURNAL_MAX_MIB ? mib : JOURNAL_MAX_MIB;
}

/* Nothing outlives the machine, so there are no checksums and no copies of the superblock. A
 * journal there is for speed alone. Without one, ext4 does not take an inode again for five minutes
 * after its file was removed (fs/ext4/ialloc.c, recently_deleted()), and looks at all of these one
 * by one for each new file: making 3000 files takes ten times as long after 3000 were removed. It
 * also waits for each discard then, which with a journal come together after a commit. The file is
 * a hole, so neither journal nor inode tables need zeroing, neither now nor later in the guest. */
static int make_file_system(const char *path, uint64_t bytes, struct error *err)
{
	_cleanup_free_ char *journal = xasprintf("size=%" PRIu64, journal_mib(bytes));
	char *const *argv = SPAWN_ARGV("mkfs.ext4", "-q", "-F", "-b", "4096", "-I", "256", "-m",
				       "0", "-O", FEATURES, "-J", journal, "-E", EXTENDED_OPTIONS,
				       path);
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
		r = make_file_system(path_new, bytes, err);
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
