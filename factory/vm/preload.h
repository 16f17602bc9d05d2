/* The libraries that a machine's QEMU is started with (factory/preload/), and what they are told.
 *
 * A clone has none of its template's memory to lose, with a jail or without one: one of them sees
 * to it that QEMU can write neither into that file nor holes. */
#pragma once

#include "base/error.h"
#include "base/strv.h"

/* All borrowed. */
struct preload_options {
	const char *memory; /* the template's RAM: QEMU gets it read-only whatever it asks; NULL:
			     * its RAM is its own */
	const char
		*dax_dir; /* folder of its DAX windows (factory/guest/dax_window.h); NULL: none */
	const char *dax_socket; /* number of the descriptor they are filled by, in QEMU */
	const char *share_dir;  /* of the machine: factory/guest/large_ids.h */
};

/* Fills both (empty before): the libraries' paths, and variables of QEMU's environment. -ENOENT
 * names one that is missing. */
_must_check_ int preload_find(const struct preload_options *options, struct strv *ret_libraries,
			      struct strv *ret_environment, struct error *err);
