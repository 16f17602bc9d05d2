/* What the factory may not do: everything that is for root. Its user has no capability, and neither
 * it nor what it starts can get one. kiln-jailer does for it what only root can do. */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "factory/jail/keeper.h"

/* Becomes this user, from root; as nobody else there is nothing to give up but new privileges. A
 * keeper that is root stays root, without capabilities. `also`: a group that it is in besides, by
 * which it gets into the store; 0: none. Call it before there are threads. */
_must_check_ int privileges_give_up(const struct keeper *keeper, gid_t also, struct error *err);

/* From here on it, and what it starts, writes below this folder only (what it has open stays open),
 * makes no TCP connection but to tcp_port (0: none at all), and asks little else of the kernel than
 * what it needs (base/confine.h). */
_must_check_ int privileges_shut_in(const char *run_dir, uint16_t tcp_port, struct error *err);
