/* A folder that a report's files are gathered in, and the archive that is made of it. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/strbuf.h"

struct bug_files {
	char *dir;            /* owned; mode 0700, below $TMPDIR or /tmp */
	char *root;           /* owned; the folder in it that is packed */
	struct strbuf packed; /* what is in it, a line each: for its README and for people */
	struct strbuf left;   /* what is not, and why */
};

_must_check_ int bug_files_open(struct bug_files *files, struct error *err);
/* Removes the folder. */
void bug_files_done(struct bug_files *files);

/* name: below the root, its folders are made. A text that cannot be written is left out, as that
 * which is empty is. */
void bug_files_add(struct bug_files *files, const char *name, const char *text, const char *about);
void bug_files_add_json(struct bug_files *files, const char *name, const json_t *object,
			const char *about);
/* The last max bytes of a file of the host's, which somebody else may write. A link is not
 * followed: it could name what only we may read. */
void bug_files_add_end(struct bug_files *files, const char *name, const char *path, size_t max,
		       const char *about);
/* What a program prints, on stderr too. */
void bug_files_add_output(struct bug_files *files, const char *name, char *const *argv,
			  const char *about);

void bug_files_leave(struct bug_files *files, const char *name, const char *fmt, ...)
	_printf_(3, 4);

/* Packs the root as a tar.gz. The file must not be there yet, and is its maker's alone (0600). */
_must_check_ int bug_files_pack(const struct bug_files *files, const char *path, struct error *err);
