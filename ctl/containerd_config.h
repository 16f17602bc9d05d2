/* What containerd's configuration says of Kiln. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/strv.h"

#define CONTAINERD_RUNTIME_TYPE "io.containerd.kiln.v2"

/* A runtime of CRI's; all owned. */
struct containerd_runtime {
	char *name;
	char *type;              /* runtime_type; NULL: not said */
	struct strv annotations; /* pod_annotations: patterns */
};

struct containerd_config {
	struct containerd_runtime *runtimes; /* owned */
	size_t count;
	char *default_runtime; /* its name, owned; NULL: not said */
	bool cri_disabled;     /* by disabled_plugins */
};

/* text: as `containerd config dump` prints it. -EBADMSG. */
_must_check_ int containerd_config_parse(const char *text, struct containerd_config *ret,
					 struct error *err);
void containerd_config_done(struct containerd_config *config);

/* The first one that is Kiln's; NULL: none is. */
const struct containerd_runtime *containerd_config_kiln(const struct containerd_config *config);

/* The default runtime's name, where no runtime has it: CRI's plugin does not start then. So it is
 * with containerd 1, whose own runc is forgotten where another runtime is named. NULL: it is there.
 */
const char *containerd_config_missing(const struct containerd_config *config);

/* Whether pods may have Kiln's annotations, as CRI matches its patterns. */
bool containerd_runtime_passes(const struct containerd_runtime *runtime);
