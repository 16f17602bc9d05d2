/* The DAX windows of a machine (factory/guest/dax_window.h): which image is in which. Several files
 * that are given together are one image, one after another, each from a page of its own on.
 *
 *   state      what is in the window                     leaves by
 *   EMPTY      nothing                                   dax_windows_attach()
 *   ATTACHING  the VMM has been asked                    its answers: HOLDING, or BROKEN
 *   HOLDING    the image `key`, to the machine's end     never
 *   BROKEN     perhaps an image, or a part of one        never
 *
 * A container that asks for an image that is in a window already shares it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/loop.h"
#include "base/state.h"
#include "base/strings.h"
#include "shim/slots.h"

enum dax_window_state {
	DAX_WINDOW_EMPTY,
	DAX_WINDOW_ATTACHING,
	DAX_WINDOW_HOLDING,
	DAX_WINDOW_BROKEN
};
DECLARE_STRING_TABLE(dax_window_state, enum dax_window_state);
extern const struct state_machine dax_window_states;

struct dax_windows;

/* All borrowed. */
struct dax_windows_options {
	struct loop *loop;
	const char *vm_dir; /* of the machine */
	const char *sandbox_id;
	size_t carried; /* images of the machine, whose devices come before the windows' */
	size_t count;
	uint64_t bytes; /* of each */
};
struct dax_windows *dax_windows_new(const struct dax_windows_options *options);

/* The guest's device of a window ("/dev/pmem1"); the caller frees. */
char *dax_windows_device(const struct dax_windows *windows, size_t window);

/* The machine is being released: who waits is told -ECANCELED. Frees it. NULL does nothing. */
void dax_windows_close(struct dax_windows *windows);

/* Once, from the loop: the number of the window, or a negative errno. */
typedef void (*dax_windows_fn)(int number, const struct error *err, void *userdata);

/* Has the files (at least one; their descriptors are taken and -EBADF then) in a window as the
 * image `key`. False: none is free and large enough, and nothing has happened. */
bool dax_windows_attach(struct dax_windows *windows, const char *key, struct slot_file *files,
			size_t count, dax_windows_fn fn, void *userdata);
