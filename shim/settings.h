/* What the shim is told from outside.
 *
 *   what       from, the first that says it                                       default
 *   factory    the runtime options' config file, env KILN_FACTORY unix:///run/kiln/factory.sock
 *   template   annotation io.kiln.template, the config file, env KILN_TEMPLATE    default
 *   priority   the config file: normal, high, system                              normal
 *
 * Runtime options are containerd's runtimeoptions.v1.Options (ctr: --runtime-config-path FILE;
 * CRI: [plugins...runtimes.kiln.options] ConfigPath). The file is a JSON object with the keys
 * `factory`, `template` and `priority`. The environment is containerd's, which the shim inherits.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "google/protobuf/any.pb-c.h"

struct settings {
	char *factory;       /* owned */
	char *template_name; /* owned */
	int priority;        /* enum claim_priority */
};

/* options: of the Create request, may be NULL or of a type that is not ours (ignored). */
_must_check_ int settings_load(const Google__Protobuf__Any *options, struct settings *ret_settings,
			       struct error *err);
/* Takes over what the annotations of a sandbox say. */
struct spec;
_must_check_ int settings_annotate(struct settings *settings, const struct spec *spec,
				   struct error *err);
bool settings_equal(const struct settings *a, const struct settings *b);
void settings_copy(struct settings *to, const struct settings *from); /* frees what to had */
void settings_done(struct settings *settings);
