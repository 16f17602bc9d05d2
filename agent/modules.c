#include "agent/modules.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"

#define MODULES_FOLDER "/lib/modules/kiln"

enum { TABLE_MAX = 1024 * 1024, EXIT_USAGE = 2 };

static int load_file(const char *name, const char *options, struct error *err)
{
	_cleanup_free_ char *path = path_join(MODULES_FOLDER, name);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || (syscall(SYS_finit_module, fd, options, 0) < 0 && errno != EEXIST))
		return error_set_errno(err, errno, "cannot load module %s", path);
	return 0;
}

void modules_load_listed(void)
{
	_cleanup_free_ char *list = NULL;
	char *rest = NULL;

	/* An image whose kernel has all built in brings no list. */
	if (!path_exists(MODULES_FOLDER "/load"))
		return;
	if (file_read(MODULES_FOLDER "/load", TABLE_MAX, &list, NULL, NULL) < 0) {
		log_error(NULL, "cannot read " MODULES_FOLDER "/load");
		return;
	}
	for (char *name = strtok_r(list, "\n", &rest); name; name = strtok_r(NULL, "\n", &rest)) {
		_cleanup_(error_done) struct error err = {};

		if (load_file(name, "", &err) < 0)
			log_error(NULL, "%s", error_message(&err));
	}
}

/* ---------------------------------------------------------------- the table */

/* As the table has it. */
static bool spell(const char *alias, char ret_name[static MODULE_ALIAS_MAX + 1])
{
	size_t len = strnlen(alias, MODULE_ALIAS_MAX + 1);

	if (len == 0 || len > MODULE_ALIAS_MAX)
		return false;
	for (size_t i = 0; i <= len; i++)
		ret_name[i] = alias[i] == '-' ? '_' : alias[i];
	return true;
}

static int visit_files(char *files, module_fn fn, void *userdata)
{
	char *rest = NULL;
	int count = 0;

	for (char *file = strtok_r(files, " ", &rest); file; file = strtok_r(NULL, " ", &rest)) {
		char *options = file;

		strsep(&options, ":");
		int r = fn(file, options ? options : "", userdata);

		if (r < 0)
			return r;
		count++;
	}
	return count;
}

int modules_find(const char *table, const char *alias, module_fn fn, void *userdata)
{
	_cleanup_free_ char *lines = xstrdup(table);
	char name[MODULE_ALIAS_MAX + 1], *rest = NULL;
	int count = 0;

	if (!spell(alias, name))
		return 0;
	for (char *line = strtok_r(lines, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *files = line;
		const char *pattern = strsep(&files, " ");

		if (!files || fnmatch(pattern, name, FNM_NOESCAPE) != 0)
			continue;

		int r = visit_files(files, fn, userdata);

		if (r < 0)
			return r;
		count += r;
	}
	return count;
}

static int on_file(const char *file, const char *options, void *userdata)
{
	return load_file(file, options, userdata);
}

int modules_load(const char *alias, struct error *err)
{
	_cleanup_free_ char *table = NULL;

	if (!path_exists(MODULES_FOLDER "/aliases"))
		return 0;

	int r = file_read(MODULES_FOLDER "/aliases", TABLE_MAX, &table, NULL, err);

	return r < 0 ? r : modules_find(table, alias, on_file, err);
}

void modules_load_iptables(void)
{
	static const char *const names[] = { "ip_tables", "ip6_tables" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_free_ char *loaded = xasprintf("/sys/module/%s", names[i]);

		if (!path_exists(loaded))
			(void)!modules_load(names[i], NULL);
	}
}

/* ---------------------------------------------------------------- the program */

bool modules_is_program(const char *name)
{
	const char *slash = name ? strrchr(name, '/') : NULL;

	return str_equal(slash ? slash + 1 : name, "modprobe");
}

/* The kernel opens nothing for it. */
static void complain(const struct error *err)
{
	_cleanup_close_ int log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

	log_init("modprobe", log, LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
	log_error(NULL, "%s", error_message(err));
}

int modules_program(int argc, const char *const *argv)
{
	_cleanup_(error_done) struct error err = {};

	if (argc != 4 || !str_equal(argv[1], "-q") || !str_equal(argv[2], "--"))
		return EXIT_USAGE;

	int r = modules_load(argv[3], &err);

	if (r < 0)
		complain(&err);
	return r > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
