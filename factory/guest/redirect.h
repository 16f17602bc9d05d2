/* Two interfaces of a network namespace joined by traffic control: each frame that comes in by one
 * goes out by the other, before the kernel looks at it. So the namespace itself answers nothing. */
#pragma once

#include <stdint.h>

#include "base/error.h"

/* fd: netlink, in the namespace. from, to: indices; name is of `from`, for the error. -EBUSY:
 * others have an ingress queue there. */
_must_check_ int redirect_add(int fd, int from, int to, const char *name, struct error *err);

/* IPv4 packets to address/bits that come in by an interface are not redirected: the namespace has
 * them. After redirect_add() there. 0, or a negative errno. */
_must_check_ int redirect_spare(int fd, int from, const uint8_t address[static 4], unsigned bits);

/* Ends what redirect_add() began at an interface; of others' doing there, nothing is touched. */
void redirect_remove(int fd, int index);
