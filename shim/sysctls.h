/* The sysctls of a pod: config.json of its sandbox container names them, and the pod's other
 * containers set them, in the namespaces of the guest that all of them share. */
#pragma once

#include "base/strv.h"
#include "proto/oci.pb-c.h"

struct sysctls {
	struct strv pairs; /* owned; key, value, key, value, ... */
};

/* Keeps those of a sandbox container. linux may be NULL. */
void sysctls_keep(struct sysctls *sysctls, const Grpc__Linux *linux);

/* Adds what is kept to a container's own, which come first. */
void sysctls_add(const struct sysctls *sysctls, Grpc__Linux *linux);

void sysctls_done(struct sysctls *sysctls);
