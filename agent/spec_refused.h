/* What the OCI specification has and a guest has not: refused by its name, so that nothing a
 * configuration asks for is dropped in silence (docs/AGENT.md lists every field). All are
 * -EOPNOTSUPP but where the sentence says otherwise. */
#pragma once

#include "base/error.h"
#include "proto/oci.pb-c.h"

/* All but what the two below look at. */
_must_check_ int spec_refuse(const Grpc__Spec *spec, struct error *err);
_must_check_ int process_refuse(const Grpc__Process *process, struct error *err);
_must_check_ int resources_refuse(const Grpc__LinuxResources *resources, struct error *err);
