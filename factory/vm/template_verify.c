/* What is done with whole templates in the store besides loading one. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "factory/vm/template.h"

static void check_file(const struct template_manifest *m, uint64_t bytes, const char *expected,
		       struct template_check *check)
{
	_cleanup_free_ char *path = path_join(m->dir, check->file);
	_cleanup_(error_done) struct error err = {};
	struct stat st;

	memcpy(check->expected, expected, sizeof(check->expected));
	if (lstat(path, &st) < 0) {
		check->problem = xasprintf("%s: %s", path, strerrordesc_np(errno));
		return;
	}
	check->bytes = (uint64_t)st.st_size;
	if (!S_ISREG(st.st_mode))
		check->problem = xasprintf("%s is not a regular file", path);
	else if (digest_file(path, check->found, &err) < 0)
		check->problem = xstrdup(error_message(&err));
	else if (check->bytes != bytes)
		check->problem = xasprintf("%s is %ju bytes, not %ju", path,
					   (uintmax_t)check->bytes, (uintmax_t)bytes);
	else if (!str_equal(check->found, expected))
		check->problem = xasprintf("%s has changed since it was baked", path);
}

void template_verify(const struct template_manifest *m,
		     struct template_check ret_checks[static TEMPLATE_CHECKS])
{
	static const char *const files[TEMPLATE_CHECKS] = { "memory", "state", "image" };

	for (size_t i = 0; i < TEMPLATE_CHECKS; i++)
		ret_checks[i] = (struct template_check){ .file = files[i] };
	check_file(m, m->memory_bytes, m->memory_digest, &ret_checks[0]);
	check_file(m, m->state_bytes, m->state_digest, &ret_checks[1]);
	check_file(m, m->image_bytes, m->image_digest, &ret_checks[2]);
}

void template_checks_done(struct template_check checks[static TEMPLATE_CHECKS])
{
	for (size_t i = 0; i < TEMPLATE_CHECKS; i++)
		free(steal_ptr(checks[i].problem));
}

/* A folder that is being baked has no manifest and is left alone. */
int template_remove_others(const char *store, const char *name, const char *keep, struct error *err)
{
	_cleanup_free_ char *folder = path_join(store, "templates");
	DIR *dir = opendir(folder);
	const struct dirent *entry;
	int r = 0;

	if (!dir)
		return error_set_errno(err, errno, "cannot read %s", folder);
	while (r == 0 && (entry = readdir(dir))) {
		_cleanup_(template_manifest_free_cleanup) struct template_manifest *m = NULL;
		if (str_equal(entry->d_name, keep) ||
		    template_manifest_load(store, entry->d_name, &m, NULL) < 0)
			continue;
		if (str_equal(m->name, name))
			r = template_remove(store, entry->d_name, err);
	}
	closedir(dir);
	return r;
}
