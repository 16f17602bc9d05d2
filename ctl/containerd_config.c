#include "ctl/containerd_config.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/strings.h"
#include "ctl/toml.h"

static struct containerd_runtime *runtime_named(struct containerd_config *config, const char *name)
{
	for (size_t i = 0; i < config->count; i++)
		if (str_equal(config->runtimes[i].name, name))
			return &config->runtimes[i];
	config->runtimes = xrealloc_array(config->runtimes, config->count + 1,
					  sizeof(*config->runtimes));
	config->runtimes[config->count] = (struct containerd_runtime){ .name = xstrdup(name) };
	return &config->runtimes[config->count++];
}

/* plugins.PLUGIN.containerd.runtimes.NAME.KEY: PLUGIN is io.containerd.grpc.v1.cri until
 * containerd 1.7, io.containerd.cri.v1.runtime since 2.0. */
static bool is_of_runtime(const struct strv *path)
{
	return path->count == 6 && str_equal(path->items[0], "plugins") &&
	       str_equal(path->items[2], "containerd") && str_equal(path->items[3], "runtimes");
}

/* plugins.PLUGIN.containerd.default_runtime_name */
static bool is_default_runtime(const struct strv *path)
{
	return path->count == 4 && str_equal(path->items[0], "plugins") &&
	       str_equal(path->items[2], "containerd") &&
	       str_equal(path->items[3], "default_runtime_name");
}

static void on_value(const struct strv *path, const struct strv *values, void *userdata)
{
	struct containerd_config *config = userdata;

	if (path->count == 1 && str_equal(path->items[0], "disabled_plugins"))
		config->cri_disabled |= strv_contains(values, "io.containerd.grpc.v1.cri") ||
					strv_contains(values, "io.containerd.cri.v1.runtime") ||
					strv_contains(values, "cri");
	if (is_default_runtime(path))
		replace_string(&config->default_runtime,
			       values->count == 1 ? values->items[0] : NULL);
	if (!is_of_runtime(path))
		return;
	struct containerd_runtime *runtime = runtime_named(config, path->items[4]);
	if (str_equal(path->items[5], "runtime_type"))
		replace_string(&runtime->type, values->count == 1 ? values->items[0] : NULL);
	else if (str_equal(path->items[5], "pod_annotations"))
		strv_add_all(&runtime->annotations, values);
}

int containerd_config_parse(const char *text, struct containerd_config *ret, struct error *err)
{
	struct containerd_config config = {};
	int r = toml_read(text, on_value, &config, err);

	if (r < 0) {
		containerd_config_done(&config);
		return error_wrap(err, "containerd's configuration");
	}
	*ret = config;
	return 0;
}

void containerd_config_done(struct containerd_config *config)
{
	for (size_t i = 0; i < config->count; i++) {
		free(config->runtimes[i].name);
		free(config->runtimes[i].type);
		strv_done(&config->runtimes[i].annotations);
	}
	free(config->runtimes);
	free(config->default_runtime);
	*config = (struct containerd_config){};
}

const struct containerd_runtime *containerd_config_kiln(const struct containerd_config *config)
{
	for (size_t i = 0; i < config->count; i++)
		if (str_equal(config->runtimes[i].type, CONTAINERD_RUNTIME_TYPE))
			return &config->runtimes[i];
	return NULL;
}

const char *containerd_config_missing(const struct containerd_config *config)
{
	for (size_t i = 0; i < config->count; i++)
		if (str_equal(config->runtimes[i].name, config->default_runtime))
			return NULL;
	return config->default_runtime;
}

/* CRI's are the shell's: a '*' goes over dots. */
bool containerd_runtime_passes(const struct containerd_runtime *runtime)
{
	for (size_t i = 0; i < runtime->annotations.count; i++)
		if (fnmatch(runtime->annotations.items[i], "io.kiln.template", 0) == 0)
			return true;
	return false;
}
