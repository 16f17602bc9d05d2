/* A folder below /tmp for a test, or for all tests of a file: a setup that makes it and a teardown
 * that removes it with all that is in it. */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "base/file.h"

static char test_folder[32]; /* its path, in *state as well */

static inline int folder_setup(void **state)
{
	strcpy(test_folder, "/tmp/kiln-test.XXXXXX");
	*state = mkdtemp(test_folder);
	return *state ? 0 : -1;
}

static inline int folder_teardown(void **state _unused_)
{
	return path_remove(test_folder, NULL);
}
