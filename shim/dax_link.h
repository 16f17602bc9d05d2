/* Puts images into the DAX windows of a machine (factory/guest/dax_window.h): asks the library in
 * its VMM, by the socket in the machine's folder. Connects when the first image comes. */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "base/loop.h"
#include "factory/guest/dax_window.h"

struct dax_link;

/* vm_dir, of the machine, is copied. */
struct dax_link *dax_link_new(struct loop *loop, const char *vm_dir);
void dax_link_free(struct dax_link *link); /* no callback follows; NULL does nothing */

/* Once, from the loop: 0, or a negative errno with what the VMM did not do. */
typedef void (*dax_link_fn)(int number, const struct error *err, void *userdata);

/* fd, of the file, is taken. -ETIMEDOUT, -ENOTCONN: the VMM does not answer; what it answers
 * otherwise stands in dax_window.h. */
void dax_link_put(struct dax_link *link, const struct dax_window_request *request, int fd,
		  dax_link_fn fn, void *userdata);
