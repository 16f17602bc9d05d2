/* Whether a template is what was baked, and who may read it. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "factory/guest/disks.h"
#include "factory/store/template.h"

static void check_file(const char *path, uint64_t bytes, const char *expected,
		       int (*digest)(const char *, char *, struct error *),
		       struct template_check *check)
{
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
	else if (digest(path, check->found, &err) < 0)
		check->problem = xstrdup(error_message(&err));
	else if (check->bytes != bytes)
		check->problem = xasprintf("%s is %ju bytes, not %ju", path,
					   (uintmax_t)check->bytes, (uintmax_t)bytes);
	else if (!str_equal(check->found, expected))
		check->problem = xasprintf("%s has changed since it was baked", path);
}

size_t template_verify(const struct template_manifest *m,
		       struct template_check ret_checks[static TEMPLATE_CHECKS_MAX])
{
	_cleanup_free_ char *state = path_join(m->dir, "state");
	_cleanup_free_ char *image = path_join(m->dir, "image");
	size_t count = 3;

	ret_checks[0] = (struct template_check){ .file = xstrdup("memory") };
	ret_checks[1] = (struct template_check){ .file = xstrdup("state") };
	ret_checks[2] = (struct template_check){ .file = xstrdup("image") };
	check_file(m->memory, m->memory_bytes, m->memory_digest, digest_file, &ret_checks[0]);
	check_file(state, m->state_bytes, m->state_digest, digest_file, &ret_checks[1]);
	check_file(image, m->image_bytes, m->image_digest, digest_file, &ret_checks[2]);
	if (m->scratch_bytes > 0) {
		_cleanup_free_ char *scratch = path_join(m->dir, DISKS_SCRATCH);
		struct template_check *check = &ret_checks[count++];
		*check = (struct template_check){ .file = xstrdup(DISKS_SCRATCH) };
		check_file(scratch, m->scratch_bytes, m->scratch_digest, digest_sparse_file, check);
	}
	for (size_t i = 0; i < m->inputs.images.count; i++) {
		const struct carried_image *carried = &m->inputs.images.items[i];
		_cleanup_free_ char *path = carried_path(m->dir, i);
		struct template_check *check = &ret_checks[count++];
		*check = (struct template_check){ .file = xasprintf("image %s", carried->name) };
		check_file(path, carried->bytes, carried->digest, digest_file, check);
	}
	return count;
}

void template_checks_done(struct template_check *checks, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(steal_ptr(checks[i].file));
		free(steal_ptr(checks[i].problem));
	}
}

int template_open(const char *dir, gid_t group, struct error *err)
{
	DIR *folder = opendir(dir);
	const struct dirent *entry;
	struct stat st;
	int r = 0;

	if (!folder)
		return error_set_errno(err, errno, "cannot read %s", dir);
	while (r == 0 && (entry = readdir(folder))) {
		_cleanup_free_ char *path = path_join(dir, entry->d_name);
		if (lstat(path, &st) < 0 || !S_ISREG(st.st_mode) || st.st_mode & S_IROTH)
			continue;
		if (chown(path, 0, group) < 0 || chmod(path, 0440) < 0)
			r = error_set_errno(err, errno, "cannot open %s to the factory", path);
	}
	closedir(folder);
	return r;
}
