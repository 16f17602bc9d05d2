/* The numbers of a container's block devices: its spec has the host's, which mean something else
 * here. The request's devices (Kata's: type "blk", vm_path a disk of the guest, container_path the
 * node's) say which disk of the guest each is. The rules of linux.resources.devices follow: one
 * about another block device of the host is left out, since here its number may be that of the
 * guest's own root (259:0). */
#pragma once

#include "base/error.h"
#include "proto/agent.pb-c.h"

/* Changes the numbers in the request's spec. -ENODEV: the guest has no such disk; -EINVAL: the spec
 * has no device of that path. */
_must_check_ int device_numbers_set(const Grpc__CreateContainerRequest *request, struct error *err);
