/* When a process that wakes up may take the processor from the one that runs.
 *
 * Linux lets a process that has slept preempt whoever runs. A program that writes to a terminal
 * wakes a kernel thread with each line, by which the terminal's other side gets it: that is two
 * switches a line, which under software emulation take many times what writing the line takes. So
 * a process that wakes up waits for the next tick or for the running one to sleep, as tuned(8) has
 * it on servers and in guests. The agent alone preempts as before: it is who answers the host.
 *
 * Source: kernel/sched/fair.c of Linux 6.1 (wakeup_preempt_entity, place_entity). A process that
 * has slept is at most half of sched/latency_ns behind the running one, and preempts it where that
 * is more than sched/wakeup_granularity_ns, which counts less the higher its own priority is. A
 * kernel without these two, from 6.6 on, is left as it is.
 */
#pragma once

#include "base/error.h"

/* Once, at the boot of the guest: clones have it by their memory. -ENOENT where the kernel has no
 * such settings. */
_must_check_ int preemption_limit(struct error *err);

/* The same, on debugfs's folder "sched". */
_must_check_ int preemption_limit_in(int folder, struct error *err);
