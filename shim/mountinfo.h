/* The mounts of a process's namespace, as /proc/PID/mountinfo has them (proc(5)). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

struct mountinfo_entry {
	unsigned id;
	char *root;       /* what of the file system is shown */
	char *point;      /* where */
	char *type;       /* of the file system */
	char *source;     /* what it is mounted of */
	char *attributes; /* of the mount; "idmapped" is one */
	char *options;    /* of the file system */
};

struct mountinfo {
	struct mountinfo_entry *entries; /* owned, in the kernel's order: a later one covers */
	size_t count;
};

/* pid 0: this process. */
_must_check_ int mountinfo_read(pid_t pid, struct mountinfo *ret, struct error *err);

/* The same from a text of the file's form, which it changes. Lines of another form are left out. */
void mountinfo_parse(char *text, struct mountinfo *ret);
void mountinfo_done(struct mountinfo *info);

/* The mount that path (absolute, without links) is in. Borrowed; NULL: none is known. */
const struct mountinfo_entry *mountinfo_find(const struct mountinfo *info, const char *path);

/* Something is mounted below path. */
bool mountinfo_has_below(const struct mountinfo *info, const char *path);

/* What path is inside its file system: where that is mounted does not matter. The caller frees;
 * NULL: not known. */
char *mountinfo_place(const struct mountinfo *info, const char *path);
