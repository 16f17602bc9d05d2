/* kiln-ctl check: containerd, and what its configuration says of Kiln. */
#include <errno.h>
#include <stdlib.h>

#include "base/memory.h"
#include "ctl/check.h"
#include "ctl/containerd_config.h"
#include "ctl/programs.h"

#define CONFIG "/etc/containerd/config.toml"

void check_containerd(const struct check_host *host _unused_, struct check_result *result)
{
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *version = NULL;

	if (program_version("containerd", &version, &err) < 0)
		check_mend(result, "apt-get install containerd", "%s", error_message(&err));
	else
		check_fine(result, "%s", version);
}

/* false: there is a verdict, for there is no configuration. */
static bool ask(const struct check_host *host, struct containerd_config *config,
		struct check_result *result)
{
	_cleanup_(error_done) struct error err = {};
	int r = containerd_config_ask(host->options.containerd, config, &err);

	if (r == -ENOENT || (r < 0 && !host->is_root))
		check_unseen(result, "%s", error_message(&err));
	else if (r < 0)
		check_mend(result, "containerd config dump", "%s", error_message(&err));
	return r == 0;
}

void check_containerd_runtime(const struct check_host *host, struct check_result *result)
{
	struct containerd_config config;

	if (!ask(host, &config, result))
		return;
	const struct containerd_runtime *runtime = containerd_config_kiln(&config);
	const char *missing = containerd_config_missing(&config);
	if (config.cri_disabled)
		check_without(result, "pods of Kubernetes; ctr and nerdctl can name the runtime",
			      "remove cri from disabled_plugins in " CONFIG,
			      "containerd's CRI plugin is switched off");
	else if (missing)
		check_without(
			result,
			"pods of Kubernetes, by whichever runtime; ctr and nerdctl can name Kiln",
			"name it beside Kiln in " CONFIG " (docs/INSTALL.md)",
			"no runtime of CRI's is %s, the default one: CRI does not start", missing);
	else if (!runtime)
		check_without(result, "pods of Kubernetes; ctr and nerdctl can name the runtime",
			      "add a runtime with runtime_type = \"" CONTAINERD_RUNTIME_TYPE
			      "\" to " CONFIG ", which has to say version = 2 or newer "
			      "(docs/INSTALL.md)",
			      "no runtime of CRI's is " CONTAINERD_RUNTIME_TYPE);
	else
		check_fine(result, "%s is " CONTAINERD_RUNTIME_TYPE, runtime->name);
	containerd_config_done(&config);
}

void check_containerd_annotations(const struct check_host *host, struct check_result *result)
{
	struct containerd_config config;

	if (!ask(host, &config, result))
		return;
	const struct containerd_runtime *runtime = containerd_config_kiln(&config);
	if (!runtime)
		check_unseen(result, "no runtime of CRI's is Kiln's");
	else if (!containerd_runtime_passes(runtime))
		check_without(result, "annotations io.kiln.* of pods do not reach Kiln",
			      "add pod_annotations = [\"io.kiln.*\"] to the runtime in " CONFIG,
			      "runtime %s passes none of them on", runtime->name);
	else
		check_fine(result, "runtime %s passes io.kiln.* on", runtime->name);
	containerd_config_done(&config);
}
