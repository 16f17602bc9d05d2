/* The images of layers (shim/layer_mounts.h), open to be given to a machine. One after another they
 * are a disk, each from a sector of its own on, or are in a DAX window, each from a page of its own
 * on.
 *
 * What is checked here is what a user can put right: that each is a file that begins as an EROFS
 * does and is not shorter than that says. All else in it is for the guest's kernel.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/strv.h"
#include "shim/layer_mounts.h"
#include "shim/slots.h"

struct layer_files {
	struct slot_file *items; /* owned, with the descriptors in them */
	size_t count;
	size_t *layers; /* owned; of each layer, topmost first, how many of the files are its */
	size_t nlayers;
	bool has_pages;            /* all have blocks of a page, as DAX needs */
	char key[DIGEST_HEX_SIZE]; /* of what the files are: device, inode, time of birth, size */
};

/* -EBADMSG: the file with this path is a truncated image, or no image; -E2BIG: all of them are
 * larger than a slot; open(2)'s. */
_must_check_ int layer_files_open(const struct layer_mounts *mounts, struct layer_files *ret,
				  struct error *err);

/* For each layer, topmost first, where its image and those that it refers to lie, each from a
 * multiple of unit on (bytes, a multiple of 512), and of such a length: "START+LENGTH,...", in
 * sectors (agent/layers.h). */
void layer_files_layout(const struct layer_files *files, uint64_t unit, struct strv *ret_layout);

/* Closes what slots_attach() or dax_windows_attach() has not taken (its descriptors are -EBADF). */
void layer_files_done(struct layer_files *files);
