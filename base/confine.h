/* For a program that is about to parse the bytes of somebody it does not trust. */
#pragma once

#include "base/error.h"

/* From here on this process works with the descriptors, the memory and the loop that it has. It
 * makes no descriptors out of paths or addresses, no processes, and sends signals to none: such
 * calls fail with EPERM. There is no way back, also not by its children. Call it where there is
 * one thread. Works for every user, with or without privileges. */
_must_check_ int confine(struct error *err);
