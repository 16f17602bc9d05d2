/* Programs that run although another one has been installed in their place: what an upgrade leaves
 * until a pod ends, or until somebody restarts the factory. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* Whether the file that the process was started from is no more where it was. False also where that
 * cannot be seen: of another user's process, as nobody but root. */
bool program_is_replaced(pid_t pid);
