/* Copies of a tree of files for a machine: owners become the host's numbers of its ids
 * (large_ids_on_host() in shim/large_ids.h), modes and times of change stay.
 *
 * What is copied may be changed meanwhile by who owns it, so everything is opened by descriptor and
 * looked at afterwards. Links are copied as links, and none is followed. Nothing but files, folders
 * and links is copied. The target is the caller's alone.
 */
#pragma once

#include <stddef.h>
#include <sys/stat.h>

#include "base/digest.h"
#include "base/error.h"
#include "shim/idmap.h"

#define TREE_COPY_DEPTH 16 /* folders in folders */

struct tree_copy {
	const struct idmap *idmap; /* whose ids; borrowed */
	size_t entries_max, bytes_max;
	size_t entries, bytes; /* so far */
	struct digest
		*digest; /* of names, content, owners and modes; NULL: nobody asks. Borrowed */
};

/* Copies `name` of the folder from, whatever it is, as to_name into the folder to, where nothing of
 * that name is. Errors name what it was about, within from. -EFBIG: more than may be copied.
 * -EOPNOTSUPP: something that is not copied. After a failure a part may be there. */
_must_check_ int tree_copy_entry(struct tree_copy *copy, int from, const char *name, int to,
				 const char *to_name, struct error *err);

/* The same of all that is in the folder from, and its own owner and mode. */
_must_check_ int tree_copy_content(struct tree_copy *copy, int from, int to, struct error *err);

/* The owner, the mode and the time of change alone, for `name` in the folder to. */
_must_check_ int tree_copy_owner(const struct idmap *idmap, const struct stat *st, int to,
				 const char *name, struct error *err);
