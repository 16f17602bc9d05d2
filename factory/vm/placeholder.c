#include "factory/vm/placeholder.h"

#include <string.h>

#include "base/strings.h"

#define NAME_CHARS "abcdefghijklmnopqrstuvwxyz0123456789_"

/* The next placeholder at or after text; its name is ret_name, ret_len bytes long. */
static const char *placeholder_next(const char *text, const char **ret_name, size_t *ret_len)
{
	for (const char *open = text; (open = strstr(open, "{{")); open++) {
		size_t len = strspn(open + 2, NAME_CHARS);
		if (len > 0 && open[2 + len] == '}' && open[3 + len] == '}') {
			*ret_name = open + 2;
			*ret_len = len;
			return open;
		}
	}
	return NULL;
}

bool placeholder_in(const char *text)
{
	const char *name;
	size_t len;

	return placeholder_next(text, &name, &len) != NULL;
}

static const struct placeholder *find_value(const struct placeholder *values, size_t count,
					    const char *name, size_t len)
{
	for (size_t i = 0; i < count; i++)
		if (strlen(values[i].name) == len && memcmp(values[i].name, name, len) == 0)
			return &values[i];
	return NULL;
}

int placeholder_expand(const char *text, const struct placeholder *values, size_t count,
		       placeholder_escape escape, char **ret, struct error *err)
{
	_cleanup_(strbuf_done) struct strbuf out = {};
	const char *at, *name;
	size_t len;

	while ((at = placeholder_next(text, &name, &len))) {
		const struct placeholder *found = find_value(values, count, name, len);
		if (!found)
			return error_set(err, EINVAL, "unknown placeholder {{%.*s}}", (int)len,
					 name);
		if (!found->value)
			return error_set(err, EINVAL, "no value for the placeholder {{%s}}",
					 found->name);
		strbuf_add(&out, text, (size_t)(at - text));
		if (!escape)
			strbuf_adds(&out, found->value);
		else if (escape(&out, found->value) < 0)
			return error_set(err, EINVAL, "the value of {{%s}} cannot be written here",
					 found->name);
		text = name + len + 2;
	}
	strbuf_adds(&out, text);
	*ret = strbuf_steal(&out);
	return 0;
}
