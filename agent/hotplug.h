/* The guest's vCPUs and memory beyond what it starts with.
 *
 * A template's machines have spare vCPUs, which started with the others and wait offline, and a
 * memory device that is empty. Source: Documentation/core-api/cpu_hotplug.rst and
 * Documentation/admin-guide/mm/memory-hotplug.rst of Linux 6.12.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

/* At boot: takes the vCPUs offline that the kernel's command line names as spare (kiln.vcpus=N:
 * all from the Nth on), and has memory come online by itself. What fails is logged. */
void hotplug_prepare(void);

/* Brings `count` offline vCPUs online; -ENOENT where fewer are offline. */
_must_check_ int hotplug_online_cpus(uint32_t count, struct error *err);

/* Tells the kernel of a block of memory at this address, where it can be told
 * (guest_can_probe_memory()). */
_must_check_ int hotplug_probe_memory(uint64_t address, struct error *err);

/* Brings every offline block of memory online. The kernel adds a block and brings it online under
 * one lock, which this takes too: so a block that was just being added is online afterwards. */
_must_check_ int hotplug_online_memory(struct error *err);
