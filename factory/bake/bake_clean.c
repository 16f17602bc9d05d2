/* What a killed factory's bake left: see bake.h. */
#include <dirent.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "factory/bake/bake.h"
#include "factory/bake/bake_domain.h"
#include "factory/bake/bake_user.h"
#include "factory/store/template.h"
#include "factory/vm/remains.h"

/* QEMU is the bakes' user, and root before it becomes that. */
static int kill_left(const struct bake_domain_options *where, const char *root, struct error *err)
{
	_cleanup_free_ char *path = xasprintf("%s/", root);
	struct owner owners[2] = { { 0, 1 } };
	struct bake_user user;
	size_t nowners = 1;

	if (bake_user_find(where, &user, NULL) == 0)
		owners[nowners++] = (struct owner){ user.uid, 1 };
	return remains_kill_qemus(path, owners, nowners, err);
}

/* libvirt is not asked: a domain whose factory was killed in the middle of its start blocks
 * libvirt 9 for ever, and of the QEMU it asks for its capabilities it keeps no note. Its
 * QEMUs name its root and are killed; libvirt forgets them with its state. */
int bake_clean_embedded(const struct bake_domain_options *where, struct error *err)
{
	_cleanup_free_ char *memory = path_join(where->store, "libvirt");
	_cleanup_free_ char *root = path_join(where->run_dir, "libvirt");
	_cleanup_free_ char *run = path_join(root, "run");
	_cleanup_free_ char *lib = path_join(root, "lib");

	int r = kill_left(where, root, err);
	if (r == 0)
		r = path_remove(run, err);
	if (r == 0)
		r = path_remove(lib, err);
	/* RAM of machines libvirt has lost sight of */
	return r < 0 ? r : path_remove(memory, err);
}

/* dir is STORE/templates. */
static int remove_unfinished(const char *templates, const char *id, struct error *err)
{
	_cleanup_free_ char *store = xstrndup(templates, strlen(templates) - strlen("/templates"));
	_cleanup_free_ char *dir = path_join(templates, id);
	_cleanup_free_ char *manifest = path_join(dir, "template.json");

	if (path_exists(manifest))
		return 0;
	log_info(id, "removing an unfinished template");
	return template_id_is_valid(id) ? template_remove(store, id, err) : path_remove(dir, err);
}

/* A missing folder is empty. */
static int remove_all_unfinished(const char *templates, struct error *err)
{
	const struct dirent *entry;
	int r = 0;

	DIR *stream = opendir(templates);
	if (!stream)
		return errno == ENOENT ? 0
				       : error_set_errno(err, errno, "cannot read %s", templates);
	while (r == 0 && (entry = readdir(stream)))
		if (id_is_valid(entry->d_name))
			r = remove_unfinished(templates, entry->d_name, err);
	closedir(stream);
	return r;
}

int bake_clean(const struct bake_domain_options *where, struct error *err)
{
	_cleanup_free_ char *templates = path_join(where->store, "templates");
	_cleanup_free_ char *bakes = path_join(where->run_dir, "bake");

	int r = where->libvirt_uri ? bake_domain_clean(where, err)
				   : bake_clean_embedded(where, err);
	if (r == 0)
		r = path_remove(bakes, err);
	if (r == 0)
		r = template_remove_left(where->store, err);
	return r < 0 ? r : remove_all_unfinished(templates, err);
}
