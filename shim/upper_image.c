#include "shim/upper_image.h"

#include <endian.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/memory.h"
#include "base/spawn.h"
#include "base/strv.h"

/* Nothing in a new file needs zeroes, neither now nor later in the guest: so it stays thin. */
#define EXTENDED_OPTIONS "assume_storage_prezeroed=1,nodiscard,root_owner=0:0"

enum {
	SUPERBLOCK_OFFSET = 1024,
	EXT_MAGIC = 0xef53,
	LOG_BLOCK_MAX = 6,          /* of 64 KiB */
	FEATURE_INCOMPAT_64 = 0x80, /* blocks_high counts */
	OUTPUT_MAX = 4096,          /* of mkfs */
};

/* What is of interest of Linux' struct ext4_super_block. */
struct superblock {
	uint32_t inodes;
	uint32_t blocks;
	uint8_t counts[16];
	uint32_t log_block; /* the size of a block is 1024 << this */
	uint8_t groups[28];
	uint16_t magic;
	uint8_t states[38];
	uint32_t needed_features;
	uint8_t names[236];
	uint32_t blocks_high;
};

_Static_assert(offsetof(struct superblock, magic) == 0x38, "as Linux has it");
_Static_assert(offsetof(struct superblock, needed_features) == 0x60, "as Linux has it");
_Static_assert(offsetof(struct superblock, blocks_high) == 0x150, "as Linux has it");

/* ---------------------------------------------------------------- check */

static int check_superblock(int fd, uint64_t bytes, struct error *err)
{
	struct superblock sb;

	if (pread(fd, &sb, sizeof(sb), SUPERBLOCK_OFFSET) != (ssize_t)sizeof(sb) ||
	    le16toh(sb.magic) != EXT_MAGIC || le32toh(sb.log_block) > LOG_BLOCK_MAX)
		return error_set(err, EBADMSG, "it has no ext4 file system");
	uint64_t blocks = le32toh(sb.blocks);
	if (le32toh(sb.needed_features) & FEATURE_INCOMPAT_64)
		blocks |= (uint64_t)le32toh(sb.blocks_high) << 32;
	unsigned shift = 10 + le32toh(sb.log_block);
	if (blocks > bytes >> shift)
		return error_set(err, EBADMSG, "it is truncated: %llu blocks of %u bytes of %llu",
				 (unsigned long long)(bytes >> shift), 1U << shift,
				 (unsigned long long)blocks);
	return 0;
}

static int check_file(const char *path, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set_errno(err, errno, "cannot open it");
	if (!S_ISREG(st.st_mode))
		return error_set(err, EBADMSG, "it is no file");
	return check_superblock(fd, (uint64_t)st.st_size, err);
}

int upper_image_check(const struct layer_writable *writable, struct error *err)
{
	int r = check_file(writable->path, err);

	return r < 0 ? error_wrap(err, "image to write to, %s", writable->path) : 0;
}

/* ---------------------------------------------------------------- make */

/* mkfs that runs. */
struct making {
	struct loop *loop;
	char *path, *temporary; /* owned */
	int output;             /* owned; what mkfs says */
	int pidfd;              /* owned; -EBADF: it was not started */
	struct loop_watch *end; /* owned; of pidfd */
	struct error error;
	upper_image_fn fn;
	void *userdata;
};

static void making_end(void *userdata)
{
	struct making *making = userdata;

	if (making->error.number) {
		unlink(making->temporary);
		(void)error_wrap(&making->error, "image to write to, %s", making->path);
	}
	making->fn(-making->error.number, &making->error, making->userdata);
	loop_watch_free(making->end);
	close_fd(making->pidfd);
	close_fd(making->output);
	error_done(&making->error);
	free(making->path);
	free(making->temporary);
	free(making);
}

static void on_mkfs_end(int fd _unused_, unsigned events _unused_, void *userdata)
{
	struct making *making = userdata;
	char output[OUTPUT_MAX] = "";
	int status;

	if (spawn_reap(making->pidfd, &status) < 0)
		return;
	loop_watch_set(making->end, 0);
	(void)!pread(making->output, output, sizeof(output) - 1, 0);
	int r = status == 0 ? FAULT_ERROR("upper.made", &making->error)
			    : spawn_status_error("mkfs", status, output, &making->error);
	if (r == 0 && rename(making->temporary, making->path) < 0)
		(void)error_set_errno(&making->error, errno, "cannot rename %s", making->temporary);
	loop_defer(making->loop, making_end, making);
}

static int make_file(const char *path, uint64_t bytes, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
				      0640);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		return error_set_errno(err, errno, "cannot make a file of %llu bytes, %s",
				       (unsigned long long)bytes, path);
	return 0;
}

static int start_mkfs(struct making *making, const struct layer_writable *writable,
		      struct error *err)
{
	_cleanup_free_ char *program = xasprintf("mkfs.%s", writable->fstype);
	_cleanup_(strv_done) struct strv argv = {};
	const struct spawn_fd fds[] = { { making->output, 1 }, { making->output, 2 } };
	pid_t pid;

	strv_add(&argv, program);
	for (const char *const *word =
		     (const char *const[]){ "-q", "-F", "-E", EXTENDED_OPTIONS, NULL };
	     *word; word++)
		strv_add(&argv, *word);
	if (writable->uuid) {
		strv_add(&argv, "-U");
		strv_add(&argv, writable->uuid);
	}
	strv_add(&argv, making->temporary);
	const struct spawn_options options = { .argv = argv.items,
					       .fds = fds,
					       .nfds = ARRAY_SIZE(fds) };
	int r = spawn(&options, &pid, &making->pidfd, err);
	return r < 0 ? error_wrap(err, "%s is of Debian's package e2fsprogs", program) : 0;
}

void upper_image_make(struct loop *loop, const struct layer_writable *writable, upper_image_fn fn,
		      void *userdata)
{
	struct making *making = xnew(struct making);

	*making = (struct making){ .loop = loop,
				   .path = xstrdup(writable->path),
				   .temporary = xasprintf("%s.new", writable->path),
				   .output = memfd_create("mkfs", MFD_CLOEXEC),
				   .pidfd = -EBADF,
				   .fn = fn,
				   .userdata = userdata };
	int r = make_file(making->temporary, writable->bytes, &making->error);
	if (r == 0)
		r = FAULT_ERROR("upper.making", &making->error);
	if (r == 0)
		r = start_mkfs(making, writable, &making->error);
	if (r < 0)
		loop_defer(loop, making_end, making);
	else
		making->end = loop_watch_new(loop, making->pidfd, LOOP_READ, on_mkfs_end, making);
}
