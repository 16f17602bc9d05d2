/* Which root file system each container of a machine has: VM_DIR/roots/CONTAINER, a word in a file
 * for each. The shim writes it and removes it again, and the factory reads it when it is asked for
 * its machines: so both may be restarted, and neither waits for the other.
 *
 * What is read is somebody's files: what is no such note is passed over. */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "base/strings.h"

enum root_kind {
	ROOT_OVERLAY_DAX,   /* an overlay of the guest's, over images in a DAX window */
	ROOT_OVERLAY_IMAGE, /* an overlay of the guest's, over images on a block slot */
	ROOT_OVERLAY_SHARE, /* the same, over the layers themselves through the share */
	/* The same two, with what is written in the snapshotter's image (shim/upper_image.h): */
	ROOT_OVERLAY_DAX_BLOCK,
	ROOT_OVERLAY_IMAGE_BLOCK,
	ROOT_BLOCK, /* a device that the snapshotter gives */
	ROOT_SHARE, /* all of it the host's, through the share */
};
DECLARE_STRING_TABLE(root_kind, enum root_kind); /* "overlay-dax", "overlay-image", ... */

/* More are not read. */
#define ROOT_NOTES_MAX 256

struct root_note {
	char *container_id; /* owned */
	enum root_kind kind;
};

/* `struct root_notes notes = {};` is an empty one. */
struct root_notes {
	struct root_note *items; /* owned */
	size_t count;
};

/* *ret_path is the note, for root_note_remove(). */
_must_check_ int root_note_write(const char *vm_dir, const char *container_id, enum root_kind kind,
				 char **ret_path, struct error *err);
/* Takes path; NULL does nothing. A note that went with its machine is none. */
void root_note_remove(char *path);

/* Those that are there, by container. */
void root_notes_load(const char *vm_dir, struct root_notes *ret);
void root_notes_done(struct root_notes *notes);
