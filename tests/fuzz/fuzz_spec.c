/* Bytes as a container's config.json, and as the process of an exec: what is accepted keeps the
 * promises of shim/spec.h. The fuzzers are linked without the programs' rooms, so the module
 * comes in whole. */
#include <stdint.h>
#include <stdlib.h>

#include "base/log.h"
#include "shim/spec.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_accepted(const struct spec *spec)
{
	const Grpc__Linux *linux = spec->oci->linux;

	for (size_t i = 0; linux && i < linux->n_namespaces; i++)
		if (!str_empty(linux->namespaces[i]->path) ||
		    str_equal(linux->namespaces[i]->type, "network"))
			abort();
	if (spec->oci->hooks || !spec->oci->process || spec->oci->process->n_args == 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(spec_free_cleanup) struct spec *spec = NULL;
	_cleanup_(error_done) struct error err = {};
	Grpc__Process *process = NULL;

	log_set_level(LOG_LEVEL_ERROR);
	if (spec_parse((const char *)data, size, "/bundle", &spec, &err) == 0) {
		spec_for_guest(spec, "c1");
		(void)spec_annotation(spec, "io.kiln.template");
		check_accepted(spec);
	} else if (!err.message || spec) {
		abort();
	}
	if (spec_parse_process(data, size, &process, &err) == 0)
		grpc__process__free_unpacked(process, NULL);
	return 0;
}
