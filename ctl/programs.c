#include "ctl/programs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/spawn.h"
#include "base/strings.h"
#include "base/strv.h"
#include "ctl/check_host.h"

/* The shell has the one descriptor go elsewhere, which spawn_and_wait() joins. */
int program_output(char *const *argv, char **ret_output, struct error *err)
{
	_cleanup_(strv_done) struct strv all = {};

	strv_add(&all, "/bin/sh");
	strv_add(&all, "-c");
	strv_add(&all, "exec \"$@\" 2>/dev/null");
	strv_add(&all, "sh");
	for (size_t i = 0; argv[i]; i++)
		strv_add(&all, argv[i]);
	int r = spawn_and_wait(all.items, ret_output, err);
	return r < 0 ? error_wrap(err, "%s", argv[0]) : 0;
}

int program_version(const char *name, char **ret_line, struct error *err)
{
	_cleanup_free_ char *path = check_program_find(name), *output = NULL;

	if (!path)
		return error_set(err, ENOENT, "there is no %s", name);
	int r = program_output(SPAWN_ARGV(path, "--version"), &output, err);
	if (r < 0)
		return r;
	*ret_line = xstrndup(output, strcspn(output, "\n"));
	return 0;
}

int libvirt_version(char **ret_version, struct error *err)
{
	_cleanup_free_ char *line = NULL;
	int r = program_version("kiln-libvirt", &line, err);

	if (r < 0)
		return r;
	const char *version = strstr(line, ", libvirt ");
	if (!version)
		return error_set(err, EPROTO, "kiln-libvirt does not say its version: %s", line);
	*ret_version = xstrdup(version + strlen(", libvirt "));
	return 0;
}

int containerd_config_ask(const char *path, struct containerd_config *ret, struct error *err)
{
	_cleanup_free_ char *program = check_program_find("containerd"), *text = NULL;
	int r;

	if (!program)
		return error_set(err, ENOENT, "there is no containerd");
	r = path ? program_output(SPAWN_ARGV(program, "--config", path, "config", "dump"), &text,
				  err)
		 : program_output(SPAWN_ARGV(program, "config", "dump"), &text, err);
	return r < 0 ? r : containerd_config_parse(text, ret, err);
}
