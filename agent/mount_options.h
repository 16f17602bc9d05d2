/* The options of an OCI mount, read by one table (runtime-spec, config.md "Linux mount
 * options"; mount(8) for the names).
 *
 * A name that is not in the table is data for the file system ("size=64k"), which refuses it
 * by itself if it means nothing there. What an engine has joined by commas is taken apart.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct mount_options {
	uint64_t attr_set, attr_clear; /* MOUNT_ATTR_*, of the mount itself */
	uint64_t tree_set, tree_clear; /* the same, of all mounts below it too ("rro") */
	uint64_t propagation;          /* MS_SHARED and the like; 0: private */
	bool propagation_tree;
	bool bind, bind_tree; /* "bind", "rbind" */
	bool fs_readonly;     /* the file system itself, not only this mount of it */
	bool copy_up;         /* "tmpcopyup": a tmpfs gets what was there before */
	const char **data;    /* owned array of strings in text */
	size_t ndata;
	char *text; /* owned */
};

enum { MOUNT_DATA_MAX = 1024 };

/* -E2BIG: more than MOUNT_DATA_MAX options. */
_must_check_ int mount_options_parse(char *const *options, size_t count, struct mount_options *ret,
				     struct error *err);
void mount_options_done(struct mount_options *options);

/* "", "private", "rshared", ...: of linux.rootfsPropagation. */
_must_check_ int propagation_parse(const char *name, uint64_t *ret_flag, bool *ret_tree);
