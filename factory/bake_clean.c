/* What a killed factory's bake left: see bake.h. */
#include <dirent.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "factory/bake.h"
#include "factory/bake_domain.h"
#include "factory/bake_process.h"
#include "factory/machine.h"
#include "factory/vm/remains.h"

/* Calls fn for each name in dir that begins with prefix, until one fails. A missing folder is
 * empty. */
static int for_each_name(const char *dir, const char *prefix,
			 int (*fn)(const char *dir, const char *name, struct error *err),
			 struct error *err)
{
	const struct dirent *entry;
	int r = 0;

	DIR *stream = opendir(dir);
	if (!stream)
		return errno == ENOENT ? 0 : error_set_errno(err, errno, "cannot read %s", dir);
	while (r == 0 && (entry = readdir(stream)))
		if (str_after(entry->d_name, prefix) && id_is_valid(entry->d_name))
			r = fn(dir, entry->d_name, err);
	closedir(stream);
	return r;
}

static int kill_process(const char *dir, const char *file, struct error *err)
{
	_cleanup_(bake_process_done) struct bake_process process = BAKE_PROCESS_NONE;
	_cleanup_free_ char *path = path_join(dir, file);
	const char *suffix = strrchr(file, '.');

	if (!str_equal(suffix, ".pid"))
		return 0;
	_cleanup_free_ char *name = xstrndup(file, (size_t)(suffix - file));
	if (bake_process_find(path, name, &process, NULL) < 0)
		return 0;
	log_info(name, "killing the QEMU (%d) an earlier bake left", (int)process.pid);
	return remains_kill(process.pidfd, err);
}

/* libvirt is not asked: a domain whose factory was killed in the middle of its start blocks
 * libvirt 9 for ever. All machines below its root are ours, so they are killed by their pid
 * files (written before QEMU is executed), and libvirt forgets them with its state. */
static int clean_embedded(const char *run_dir, struct error *err)
{
	_cleanup_free_ char *run = xasprintf("%s/libvirt/run", run_dir);
	_cleanup_free_ char *lib = xasprintf("%s/libvirt/lib", run_dir);
	_cleanup_free_ char *pids = path_join(run, "qemu");

	int r = for_each_name(pids, MACHINE_NAME_PREFIX, kill_process, err);
	if (r == 0)
		r = path_remove(run, err);
	return r < 0 ? r : path_remove(lib, err);
}

static int remove_unfinished(const char *templates, const char *id, struct error *err)
{
	_cleanup_free_ char *dir = path_join(templates, id);
	_cleanup_free_ char *manifest = path_join(dir, "template.json");

	if (path_exists(manifest))
		return 0;
	log_info(id, "removing an unfinished template");
	return path_remove(dir, err);
}

int bake_clean(const char *store, const char *run_dir, const char *libvirt_uri, struct error *err)
{
	struct bake_domain_options where = {
		.run_dir = run_dir,
		.store = store,
		.libvirt_uri = libvirt_uri,
	};
	_cleanup_free_ char *templates = path_join(store, "templates");
	_cleanup_free_ char *bakes = path_join(run_dir, "bake");
	_cleanup_free_ char *memory = path_join(store, "libvirt");

	int r = libvirt_uri ? bake_domain_clean(&where, err) : clean_embedded(run_dir, err);
	if (r == 0)
		r = path_remove(bakes, err);
	if (r == 0)
		r = path_remove(memory, err); /* RAM of machines libvirt has lost sight of */
	if (r == 0)
		r = for_each_name(templates, "", remove_unfinished, err);
	return r;
}
