/* Swap space on disks that the host gives the guest for it, formatted by mkswap(8) there. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* path is that of a block device ("/dev/vdb"). */
_must_check_ int swap_add(const char *path, struct error *err);

/* The disk whose place on the PCI bus this is: the slots from the root bus down, over bridges.
 * -ENODEV where there is none (yet). */
_must_check_ int swap_add_pci(const uint32_t *slots, size_t count, struct error *err);
