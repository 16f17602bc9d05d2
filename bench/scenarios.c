#include "bench/scenarios.h"

static const struct scenario scenarios[] = {
	{ .name = "boot", .summary = "cold boot to agent ready", .run = scenario_boot },
	{ .name = "clone",
	  .summary = "clone to parked, of a spare and whole; claim with nothing parked",
	  .run = scenario_clone },
	{ .name = "claim",
	  .summary = "claim from a full pool, CreateSandbox",
	  .run = scenario_claim },
	{ .name = "many",
	  .summary = "claim with one parked and with many parked, in turn (needs --pool)",
	  .run = scenario_many,
	  .once = true,
	  .needs_pool = true },
	{ .name = "first-exec",
	  .summary = "claim to the first byte of output; the same after a cold boot",
	  .run = scenario_first_exec },
	{ .name = "ctr",
	  .summary = "ctr run by kiln, runc and a shim that does nothing (needs --containerd)",
	  .run = scenario_ctr,
	  .needs_containerd = true },
	{ .name = "pods",
	  .summary = "the calls of a pod's life, by kiln and runc; its memory (needs --cri)",
	  .run = scenario_pods,
	  .needs_cri = true },
	{ .name = "pods-net",
	  .summary = "the network between two pods, by kiln and runc (needs --cri)",
	  .run = scenario_pods_net,
	  .needs_cri = true },
	{ .name = "crun",
	  .summary = "the agent's creating and starting, and crun's in the guest (needs --crun)",
	  .run = scenario_crun,
	  .needs_crun = true },
	{ .name = "roots",
	  .summary =
		  "a container's start by each way to its root, and by runc (needs --containerd)",
	  .run = scenario_roots,
	  .needs_containerd = true },
	{ .name = "files",
	  .summary = "work on files by runc, kiln and a plain machine (needs --files-image)",
	  .run = scenario_files,
	  .needs_containerd = true,
	  .needs_files_image = true },
	{ .name = "images",
	  .summary = "memory of sandboxes that read one image (needs --files-image)",
	  .run = scenario_images,
	  .once = true,
	  .needs_containerd = true,
	  .needs_files_image = true },
	{ .name = "metrics",
	  .summary = "kiln-ctl metrics of 100 sandboxes that are sockets alone, of which 10 hang",
	  .run = scenario_metrics },
	{ .name = "burst", .summary = "N claims at once, M parked", .run = scenario_burst },
	{ .name = "sustain",
	  .summary = "Poisson arrivals at several rates, a pool that refills (needs --pool)",
	  .run = scenario_sustain,
	  .once = true,
	  .needs_pool = true },
	{ .name = "density",
	  .summary = "memory of machines parked, running, booted; unshared (needs --unshared)",
	  .run = scenario_density,
	  .once = true },
	{ .name = "freed",
	  .summary = "memory of a sandbox whose container has freed its own (needs --containerd)",
	  .run = scenario_freed,
	  .once = true,
	  .needs_containerd = true },
};

const struct scenario *scenario_at(size_t index)
{
	return index < ARRAY_SIZE(scenarios) ? &scenarios[index] : NULL;
}

const struct scenario *scenario_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(scenarios); i++) {
		if (str_equal(scenarios[i].name, name))
			return &scenarios[i];
	}
	return NULL;
}

const char *scenario_obstacle(const struct scenario *scenario, const struct bench_options *options)
{
	if (scenario->needs_pool && !options->pool)
		return "it needs --pool";
	if (scenario->needs_containerd && !options->containerd)
		return "it needs --containerd";
	if (scenario->needs_cri && !options->cri)
		return "it needs --cri";
	if (scenario->needs_files_image && !options->files_image)
		return "it needs --files-image";
	if (scenario->needs_crun && !options->crun)
		return "it needs --crun";
	return NULL;
}
