/* What a claimer is told of a machine: the answer to Claim (proto/factory.proto), as the factory
 * sends it and as a claimer that has cloned for itself gives it to itself. */
#pragma once

#include "factory/vm/vm.h"
#include "proto/factory.pb-c.h"

enum { VM_ANSWER_FDS = 3 };

/* All that the machine and its hand-over say, and the origin; what else there is (reason, times,
 * the cache of images) is left as it was. The strings stay the machine's, the descriptors the
 * hand-over's. Ended with vm_answer_done(). */
void vm_answer_fill(const struct vm *vm, const struct vm_handover *handover,
		    Kiln__Factory__V1__Origin origin, Kiln__Factory__V1__ClaimResponse *answer,
		    int ret_fds[static VM_ANSWER_FDS]);
void vm_answer_done(Kiln__Factory__V1__ClaimResponse *answer);
