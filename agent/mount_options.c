#include "agent/mount_options.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"

enum option_kind { OPTION_SET, OPTION_CLEAR, OPTION_ATIME };

/* "r" before the name means the whole tree, for all of these. */
static const struct attr_option {
	const char *name;
	enum option_kind kind;
	uint64_t attr;
} attr_options[] = {
	{ "ro", OPTION_SET, MOUNT_ATTR_RDONLY },
	{ "rw", OPTION_CLEAR, MOUNT_ATTR_RDONLY },
	{ "nosuid", OPTION_SET, MOUNT_ATTR_NOSUID },
	{ "suid", OPTION_CLEAR, MOUNT_ATTR_NOSUID },
	{ "nodev", OPTION_SET, MOUNT_ATTR_NODEV },
	{ "dev", OPTION_CLEAR, MOUNT_ATTR_NODEV },
	{ "noexec", OPTION_SET, MOUNT_ATTR_NOEXEC },
	{ "exec", OPTION_CLEAR, MOUNT_ATTR_NOEXEC },
	{ "nodiratime", OPTION_SET, MOUNT_ATTR_NODIRATIME },
	{ "diratime", OPTION_CLEAR, MOUNT_ATTR_NODIRATIME },
	{ "nosymfollow", OPTION_SET, MOUNT_ATTR_NOSYMFOLLOW },
	{ "symfollow", OPTION_CLEAR, MOUNT_ATTR_NOSYMFOLLOW },
	{ "noatime", OPTION_ATIME, MOUNT_ATTR_NOATIME },
	{ "relatime", OPTION_ATIME, MOUNT_ATTR_RELATIME },
	{ "strictatime", OPTION_ATIME, MOUNT_ATTR_STRICTATIME },
	{ "atime", OPTION_ATIME, MOUNT_ATTR_RELATIME },
	{ "norelatime", OPTION_ATIME, MOUNT_ATTR_STRICTATIME },
	{ "nostrictatime", OPTION_ATIME, MOUNT_ATTR_RELATIME },
};

static const struct propagation {
	const char *name;
	uint64_t flag;
} propagations[] = {
	{ "private", MS_PRIVATE },
	{ "shared", MS_SHARED },
	{ "slave", MS_SLAVE },
	{ "unbindable", MS_UNBINDABLE },
};

/* Without effect here, and no data for any file system either. */
static const char *const ignored_options[] = { "defaults", "loud", "silent", "iversion",
					       "noiversion" };

static const char *const refused_options[] = { "remount", "idmap", "ridmap" };

static bool is_one_of(const char *name, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (str_equal(name, names[i]))
			return true;
	return false;
}

static const struct attr_option *attr_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(attr_options); i++)
		if (str_equal(name, attr_options[i].name))
			return &attr_options[i];
	return NULL;
}

/* The last one named wins, as with mount(8). */
static void attr_apply(const struct attr_option *option, uint64_t *set, uint64_t *clear)
{
	switch (option->kind) {
	case OPTION_SET:
		*set |= option->attr;
		*clear &= ~option->attr;
		return;
	case OPTION_CLEAR:
		*set &= ~option->attr;
		*clear |= option->attr;
		return;
	case OPTION_ATIME:
		*set = (*set & ~(uint64_t)MOUNT_ATTR__ATIME) | option->attr;
		*clear |= MOUNT_ATTR__ATIME;
		return;
	}
}

static bool parse_attr(const char *name, struct mount_options *o)
{
	const struct attr_option *option = attr_find(name);

	if (option) {
		attr_apply(option, &o->attr_set, &o->attr_clear);
		return true;
	}
	option = *name == 'r' ? attr_find(name + 1) : NULL;
	if (!option)
		return false;
	attr_apply(option, &o->tree_set, &o->tree_clear);
	return true;
}

int propagation_parse(const char *name, uint64_t *ret_flag, bool *ret_tree)
{
	if (str_empty(name)) {
		*ret_flag = MS_PRIVATE;
		*ret_tree = true;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(propagations); i++) {
		bool tree = *name == 'r' && str_equal(name + 1, propagations[i].name);

		if (!tree && !str_equal(name, propagations[i].name))
			continue;
		*ret_flag = propagations[i].flag;
		*ret_tree = tree;
		return 0;
	}
	return -EINVAL;
}

static bool parse_bind(const char *name, struct mount_options *o)
{
	bool tree = str_equal(name, "rbind");

	if (!tree && !str_equal(name, "bind"))
		return false;
	o->bind = true;
	o->bind_tree |= tree;
	return true;
}

static int parse_one(const char *name, struct mount_options *o, struct error *err)
{
	if (is_one_of(name, refused_options, ARRAY_SIZE(refused_options)))
		return error_set(err, EOPNOTSUPP, "mount option \"%.128s\" is not supported", name);
	if (str_equal(name, "tmpcopyup")) {
		o->copy_up = true;
		return 0;
	}
	if (str_empty(name) || is_one_of(name, ignored_options, ARRAY_SIZE(ignored_options)) ||
	    parse_attr(name, o) || parse_bind(name, o) ||
	    propagation_parse(name, &o->propagation, &o->propagation_tree) == 0)
		return 0;
	if (o->ndata == MOUNT_DATA_MAX)
		return error_set(err, E2BIG, "there are more than %d mount options",
				 MOUNT_DATA_MAX);
	o->data = xrealloc_array(o->data, o->ndata + 1, sizeof(*o->data));
	o->data[o->ndata++] = name;
	return 0;
}

static char *join(char *const *options, size_t count)
{
	struct strbuf text = {};

	for (size_t i = 0; i < count; i++)
		strbuf_addf(&text, "%s,", options[i]);
	return strbuf_steal(&text);
}

int mount_options_parse(char *const *options, size_t count, struct mount_options *ret,
			struct error *err)
{
	_cleanup_(mount_options_done) struct mount_options parsed = {
		.text = join(options, count),
	};
	char *rest = parsed.text;

	for (const char *name; (name = strsep(&rest, ","));) {
		int r = parse_one(name, &parsed, err);
		if (r < 0)
			return r;
	}
	*ret = parsed;
	parsed = (struct mount_options){};
	return 0;
}

void mount_options_done(struct mount_options *options)
{
	free(options->data);
	free(options->text);
	*options = (struct mount_options){};
}
