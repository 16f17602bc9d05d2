/* Every file of the template that a clone's QEMU opens, in one list: the guest's memory, the root
 * image, the carried images, the DAX windows' and the disks'. (The device state is opened by us and
 * passed as a descriptor.)
 *
 * Clones map the template's own files, and so share its pages. Of the scratch disk, which they
 * write to, each has a copy in the scratch folder; where the template forbids to share
 * (definition: "share": "never") it has copies of all the others too, beside the template's. A
 * copy is a file without a name (O_TMPFILE), inherited by QEMU, which opens it as
 * /proc/self/fd/N. It ends with the process that holds it, so nothing of it can be left behind and
 * nothing is journaled.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/loop.h"
#include "factory/guest/carried_device.h"
#include "factory/guest/dax_window.h"
#include "factory/jail/jailer.h"
#include "factory/store/template.h"
#include "factory/vm/argv.h"

#define CLONE_FILES_MAX (4 + CARRIED_MAX + DAX_WINDOWS_MAX)

struct clone_file {
	char *placeholder; /* owned; of its path in the argument vector */
	char *path;        /* owned; the template's file */
	char *opened;      /* owned; what QEMU opens */
	char *copy_dir;    /* owned; where the clone's own copy is made; NULL: it has none */
	int copy;          /* -EBADF until it is made */
	int child_fd;      /* what the copy is in QEMU */
};

struct clone_files {
	struct clone_file items[CLONE_FILES_MAX];
	size_t count;
	uid_t owner;
	bool copied;     /* all are to be copies */
	bool has_copies; /* some are */
	bool booted;
	struct jailer *jailer;             /* borrowed; NULL: none */
	char template_id[DIGEST_HEX_SIZE]; /* what kiln-jailer finds the files by */
};

struct clone_files_options {
	const struct template_manifest *manifest;
	const char *scratch_dir; /* for the copy of the scratch disk */
	bool booted;             /* not cloned: the template's memory is none of its files */
	uid_t owner;             /* of the copies, for they are opened by name */
	int first_fd;            /* the copies are first_fd, first_fd + 1, ... in QEMU */
	struct jailer *jailer;   /* makes the copies' empty files; NULL: this process is root */
};

void clone_files_init(struct clone_files *files, const struct clone_files_options *options);
void clone_files_done(struct clone_files *files);

/* An empty file for the copy of one that has a copy_dir: writable, and the machine's user's, as
 * which QEMU opens it again through /proc. */
_must_check_ int clone_files_open_copy(const struct clone_files *files, size_t index, int *ret_fd,
				       struct error *err);

/* Makes the copies on a thread of its own; a clone that is given up meanwhile waits for one
 * piece at most. files is borrowed until on_done, which is called once from the loop, or until
 * clone_copy_free(), after which it is not. */
struct clone_copy;
typedef void (*clone_copy_fn)(int number, const struct error *err, void *userdata);
_must_check_ int clone_copy_start(struct loop *loop, struct clone_files *files, clone_copy_fn fn,
				  void *userdata, struct clone_copy **ret_copy, struct error *err);
void clone_copy_free(struct clone_copy *copy); /* not from within fn; NULL does nothing */
