/* Which file a program name means, by the rules and in the words of runc. */
#pragma once

#include "base/error.h"

/* A name with a slash is a path; another is looked for in the folders of path (the value of
 * PATH, NULL: a usual one). The file must exist and be executable by the caller. The caller
 * frees *ret_file. */
_must_check_ int executable_find(const char *name, const char *path, char **ret_file,
				 struct error *err);
