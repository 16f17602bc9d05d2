/* Files that an older Kiln wrote, in tests/fixtures/COMMIT: what was there in a run of that commit,
 * with the paths and the processor of a host that is nobody's. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"

#define OLDER "tests/fixtures/480b8de/"

/* The caller frees. */
static inline char *older_read(const char *name)
{
	_cleanup_free_ char *path = xasprintf(OLDER "%s", name);
	char *text = NULL;

	assert_int_equal(file_read(path, 1 << 20, &text, NULL, NULL), 0);
	return text;
}
