/* Text with {{placeholders}}: the machine definition and the argument vector of a clone.
 *
 * A placeholder is "{{", a name of [a-z0-9_], "}}"; other braces are plain text.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "base/strbuf.h"

struct placeholder {
	const char *name;
	const char *value; /* NULL: there is none, and the text must not ask for it */
};

/* Adds value to out, escaped for the place it stands in. Negative errno: it cannot be. */
typedef int (*placeholder_escape)(struct strbuf *out, const char *value);

/* The caller frees *ret. -EINVAL names the placeholder that is not in values, has no value, or
 * has one that cannot stand there. escape may be NULL: values stand as they are. */
_must_check_ int placeholder_expand(const char *text, const struct placeholder *values,
				    size_t count, placeholder_escape escape, char **ret,
				    struct error *err);

/* True where text holds something placeholder_expand() would replace. */
bool placeholder_in(const char *text);
