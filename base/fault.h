/* Points where a test may kill the process, to see what a crash there leaves, or have a step fail.
 *
 * They exist in a build with -DKILN_FAULTS (`make faults`, unit tests) and are nothing otherwise.
 * There, KILN_FAULT in the environment arms one of them:
 *
 *   NAME           the process sends itself SIGKILL at that point
 *   NAME=ENOSPC    the step after that point, a FAULT_ERROR, fails once with that error
 *   NAME[=E]:3     the same at its third passing
 *   @FILE          the file holds one of these; it is removed when that has happened, so that one
 *                  process can be armed again and again. Where there is no file, nothing is armed
 *
 * Any thread may pass a point.
 */
#pragma once

#include "base/error.h"

/* FAULT_POINT(name): a point that can only kill. FAULT_ERROR(name, err): one before a step that
 * may fail; 0, or a negative errno with err (which may be NULL) set to say so. */
#ifdef KILN_FAULTS
void fault_pass(const char *name);
int fault_error(const char *name, struct error *err);
#define FAULT_POINT(name)      fault_pass(name)
#define FAULT_ERROR(name, err) fault_error(name, err)
#else
#define FAULT_POINT(name)      ((void)0)
#define FAULT_ERROR(name, err) ((void)(err), 0)
#endif
