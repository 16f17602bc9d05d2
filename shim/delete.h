/* `delete`: containerd's clean-up after a shim has gone, with success or not.
 *
 * Of the container nobody will ask any more. A shim that listens still is told to kill and to
 * delete it, if it has it, and to end unless its pod has others.
 *
 * BUNDLE/kiln.json says what may be left then. Without that file nothing is. With it, the shim is
 * given DELETE_WAIT_MS to end (containerd calls as soon as it has hung up); where it is dead and
 * its machine is not, the machine is destroyed here, with all that is mounted for it. The socket of
 * a dead shim is removed.
 *
 * Prints a DeleteResponse: the VMM's pid and status 137.
 */
#pragma once

#include "base/error.h"
#include "shim/arguments.h"

#define DELETE_WAIT_MS 10000

_must_check_ int delete_run(const struct arguments *arguments, struct error *err);
