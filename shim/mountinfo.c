#include "shim/mountinfo.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

#define MOUNTINFO_MAX (64u << 20) /* bytes: some hundred thousand mounts */
#define FIELDS_FIRST  6 /* before the optional ones: id, parent, device, root, point, options */

static bool is_octal(const char *p)
{
	return p[0] >= '0' && p[0] <= '3' && p[1] >= '0' && p[1] <= '7' && p[2] >= '0' &&
	       p[2] <= '7';
}

/* Space, tab, newline and backslash are written as \ooo. */
static char *unescape(const char *text)
{
	char *copy = xstrdup(text), *to = copy;

	for (const char *p = copy; *p; p++) {
		if (*p == '\\' && is_octal(p + 1)) {
			*to++ = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
			p += 3;
		} else {
			*to++ = *p;
		}
	}
	*to = '\0';
	return copy;
}

/* False where the line has another form. */
static bool parse_line(char *line, struct mountinfo_entry *ret)
{
	char *first[FIELDS_FIRST], *save = NULL, *word;
	uint64_t id;

	for (size_t i = 0; i < FIELDS_FIRST; i++) {
		first[i] = strtok_r(i ? NULL : line, " ", &save);
		if (!first[i])
			return false;
	}
	do
		word = strtok_r(NULL, " ", &save);
	while (word && !str_equal(word, "-"));
	const char *type = strtok_r(NULL, " ", &save);
	const char *source = strtok_r(NULL, " ", &save);
	const char *options = strtok_r(NULL, " ", &save);

	if (!type || !source || !options || str_to_u64(first[0], 0, UINT32_MAX, &id) < 0)
		return false;
	*ret = (struct mountinfo_entry){
		.id = (unsigned)id,
		.root = unescape(first[3]),
		.point = unescape(first[4]),
		.attributes = unescape(first[5]),
		.type = unescape(type),
		.source = unescape(source),
		.options = unescape(options),
	};
	return true;
}

void mountinfo_parse(char *text, struct mountinfo *ret)
{
	size_t lines = 1;
	char *save = NULL;

	for (const char *p = text; *p; p++)
		lines += *p == '\n';
	*ret = (struct mountinfo){ .entries = xnew_array(struct mountinfo_entry, lines) };
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		ret->count += parse_line(line, &ret->entries[ret->count]);
}

int mountinfo_read(pid_t pid, struct mountinfo *ret, struct error *err)
{
	_cleanup_free_ char *path = pid ? xasprintf("/proc/%d/mountinfo", (int)pid)
					: xstrdup("/proc/self/mountinfo");
	_cleanup_free_ char *text = NULL;
	int r = file_read(path, MOUNTINFO_MAX, &text, NULL, err);

	if (r == 0)
		mountinfo_parse(text, ret);
	return r;
}

void mountinfo_done(struct mountinfo *info)
{
	for (size_t i = 0; i < info->count; i++) {
		free(info->entries[i].root);
		free(info->entries[i].point);
		free(info->entries[i].type);
		free(info->entries[i].source);
		free(info->entries[i].attributes);
		free(info->entries[i].options);
	}
	free(info->entries);
	*info = (struct mountinfo){};
}

/* The rest of path below folder, with its slash; "" for folder itself; NULL: it is elsewhere. */
static const char *below(const char *path, const char *folder)
{
	const char *rest = str_after(path, str_equal(folder, "/") ? "" : folder);

	return rest && (*rest == '\0' || *rest == '/') ? rest : NULL;
}

const struct mountinfo_entry *mountinfo_find(const struct mountinfo *info, const char *path)
{
	const struct mountinfo_entry *best = NULL;

	for (size_t i = 0; i < info->count; i++) {
		const struct mountinfo_entry *entry = &info->entries[i];
		if (below(path, entry->point) &&
		    (!best || strlen(entry->point) >= strlen(best->point)))
			best = entry;
	}
	return best;
}

bool mountinfo_has_below(const struct mountinfo *info, const char *path)
{
	for (size_t i = 0; i < info->count; i++) {
		const char *rest = below(info->entries[i].point, path);
		if (rest && rest[0] == '/' && rest[1])
			return true;
	}
	return false;
}

char *mountinfo_place(const struct mountinfo *info, const char *path)
{
	const struct mountinfo_entry *entry = mountinfo_find(info, path);

	if (!entry)
		return NULL;
	return xasprintf("%s%s", str_equal(entry->root, "/") ? "" : entry->root,
			 below(path, entry->point));
}
