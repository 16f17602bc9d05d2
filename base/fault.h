/* Points where a test may kill the process, to see what a crash there leaves.
 *
 * They exist in a build with -DKILN_FAULTS (`make faults`) and are nothing otherwise. There,
 * KILN_FAULT="name" in the environment makes the process send itself SIGKILL at that point,
 * "name:3" at its third passing. Any thread may pass a point.
 */
#pragma once

#ifdef KILN_FAULTS
void fault_pass(const char *name);
#define FAULT_POINT(name) fault_pass(name)
#else
#define FAULT_POINT(name) ((void)0)
#endif
