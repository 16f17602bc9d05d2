/* What kiln-jailer, and what it starts, may do as root.
 *
 * The list is in kept_privileges.c; the unit of systemd (templates/systemd) has the same one, and
 * tests/unit/factory/test_privileges.c holds them together. */
#pragma once

#include "base/error.h"

/* The name of a capability (linux/capability.h) that is on the list: "CAP_CHOWN"; else NULL. */
const char *privilege_name(unsigned capability);

/* Gives up every other capability: of this process, of what it may get back by execve, and so of
 * its children. What it has not got already it does without, and says so in the log where that is
 * on the list. Call it before there are threads. */
_must_check_ int privileges_drop(struct error *err);
