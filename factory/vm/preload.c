#include "factory/vm/preload.h"

#include <libgen.h>
#include <limits.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "factory/guest/dax_window.h"
#include "factory/guest/large_ids.h"

/* Ours, and two that stand for large ones which a clone has no use for. */
static const char *const preloads[] = { "kiln-preload.so", "kiln-no-capstone.so",
					"kiln-no-pmem.so" };

/* For the C library and GLib, of which QEMU makes many small objects: one heap for all threads, and
 * no second allocator on top of it. */
static const char *const heap_settings[] = { "MALLOC_ARENA_MAX=1", "G_SLICE=always-malloc" };

/* Beside the program (where it was built), or where it was installed; NULL: nowhere. The caller
 * frees. */
static char *find_one(const char *name)
{
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[len > 0 ? len : 0] = '\0';
	_cleanup_free_ char *beside = path_join(dirname(self), name);
	if (path_exists(beside))
		return steal_ptr(beside);
	_cleanup_free_ char *installed = path_join(KILN_LIB_DIR, name);
	return path_exists(installed) ? steal_ptr(installed) : NULL;
}

static void tell(const struct preload_options *options, struct strv *environment)
{
	if (options->memory)
		strv_addf(environment, "KILN_PRIVATE_MEMORY=%s", options->memory);
	if (options->dax_dir) {
		strv_addf(environment, DAX_WINDOW_ENV_FILES "=%s/" DAX_WINDOW_NAME,
			  options->dax_dir);
		strv_addf(environment, DAX_WINDOW_ENV_SOCKET "=%s", options->dax_socket);
	}
	strv_addf(environment, LARGE_IDS_ENV "=%s", options->share_dir);
	for (size_t i = 0; i < ARRAY_SIZE(heap_settings); i++)
		strv_add(environment, heap_settings[i]);
}

int preload_find(const struct preload_options *options, struct strv *ret_libraries,
		 struct strv *ret_environment, struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(preloads); i++) {
		char *path = find_one(preloads[i]);

		if (!path)
			return error_set(err, ENOENT,
					 "%s is missing: it is looked for beside this program and "
					 "in " KILN_LIB_DIR " (make install)",
					 preloads[i]);
		strv_take(ret_libraries, path);
	}
	_cleanup_free_ char *list = strv_join(ret_libraries, ":");
	strv_addf(ret_environment, "LD_PRELOAD=%s", list);
	tell(options, ret_environment);
	return 0;
}
