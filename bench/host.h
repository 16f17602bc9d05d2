/* The machine a result was measured on: what a reader must know to judge it. */
#pragma once

#include <jansson.h>

/* CPU, memory, kernel, versions (QEMU, libvirt, containerd, runc, kiln), huge pages, frequency
 * governor, load. What cannot be found out is left out. Runs the programs' --version. */
json_t *host_describe(void);

/* The load of the last minute. */
double host_load(void);
