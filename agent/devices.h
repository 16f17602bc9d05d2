/* What stands in a container's /dev: the devices and links that the runtime specification
 * demands (config-linux.md, "Default Devices"), those the spec adds, and the console.
 * For the child, before it enters its root. */
#pragma once

#include "base/error.h"
#include "proto/oci.pb-c.h"

/* A device of the spec that is not below /dev is mounted where it belongs: a root of the host's
 * folder is nodev.
 *
 * The file mode mask must be 0. A root file system that is read-only and has nothing mounted
 * on /dev keeps the devices it has. linux may be NULL. */
_must_check_ int devices_make(int root, const Grpc__Linux *linux, struct error *err);

/* The terminal as /dev/console. */
_must_check_ int devices_bind_console(int root, int terminal, struct error *err);
