/* Which devices a container's processes may make, read and write: linux.resources.devices of its
 * spec, as a program for the kernel.
 *
 * A rule is about a type ("a" or none: all devices), numbers (-1: any) and a set of "r", "w" and
 * "m". Of the rules that fit, the last one decides, for each kind of access by itself. Without a
 * rule nothing is allowed. After the spec's come those that every container has, as runc has them:
 * any node may be made; /dev/null and its like, terminals and their multiplexer may be used.
 *
 * Sources: the OCI runtime specification 1.2, config-linux.md; the kernel's bpf-cgroup.h and
 * bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE.
 */
#pragma once

#include <linux/bpf.h>
#include <stddef.h>

#include "base/error.h"
#include "proto/oci.pb-c.h"

enum { DEVICE_RULES_MAX = 1024 };

struct device_program {
	struct bpf_insn *items; /* owned */
	size_t count;
};

/* resources may be NULL. Lists that mean the same give the same program, mostly. -EINVAL: the error
 * names the rule that makes no sense. */
_must_check_ int device_rules_compile(const Grpc__LinuxResources *resources,
				      struct device_program *ret, struct error *err);
void device_program_done(struct device_program *program);
