/* Sandboxes that are their shims' sockets alone, for measuring who asks them all.
 *
 * Each is a process that listens on a socket of the folder and answers as a shim does
 * (proto/operator.proto): at once, for one container, with the words of a guest's metrics. One that
 * hangs takes connections and answers nothing. They end with the process that started them.
 */
#pragma once

#include "base/error.h"

struct fake_shims;

/* The first `hanging` of them hang. */
_must_check_ int fake_shims_start(const char *dir, unsigned count, unsigned hanging,
				  struct fake_shims **ret_shims, struct error *err);
void fake_shims_stop(struct fake_shims *shims); /* NULL does nothing */
DEFINE_CLEANUP(struct fake_shims *, fake_shims_stop)
