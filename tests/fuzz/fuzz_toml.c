/* Bytes as what containerd prints of its configuration: what is read has a name of bounded length,
 * and nothing is lost on the way to the runtimes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "ctl/containerd_config.h"
#include "ctl/toml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_value(const struct strv *path, const struct strv *values, void *userdata)
{
	size_t *total = userdata;

	if (path->count == 0 || path->count > TOML_DEPTH_MAX)
		abort();
	for (size_t i = 0; i < path->count; i++)
		if (!path->items[i])
			abort();
	for (size_t i = 0; i < values->count; i++)
		*total += strlen(values->items[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = xstrndup((const char *)data, size);
	struct containerd_config config;
	size_t total = 0;

	if (toml_read(text, on_value, &total, NULL) < 0 && total > size)
		abort();
	if (containerd_config_parse(text, &config, NULL) < 0)
		return 0;
	for (size_t i = 0; i < config.count; i++)
		(void)containerd_runtime_passes(&config.runtimes[i]);
	(void)containerd_config_kiln(&config);
	containerd_config_done(&config);
	return 0;
}
