/* The image that containerd's EROFS snapshotter has for what a container writes (default_size,
 * shim/layer_mounts.h): a file with an ext4, which becomes a disk of the machine
 * (shim/container_disks.h). The guest mounts it and has the folders `upper` and `work` of its
 * overlay in it; the host never mounts it.
 *
 * The snapshotter names a file that is made at its first use. That is done under another name, so a
 * file that is there has its file system, however the making ended.
 */
#pragma once

#include "base/error.h"
#include "base/loop.h"
#include "shim/layer_mounts.h"

/* Looks at what a user can put right, before a machine is asked for: that it is a file, begins as
 * an ext2, ext3 or ext4 does and is not shorter than that says. All else in it is for the guest's
 * kernel. -ENOENT: it is to be made; -EBADMSG. Errors name the file. */
_must_check_ int upper_image_check(const struct layer_writable *writable, struct error *err);

/* Makes it. writable is copied. fn is called once, from the loop. */
typedef void (*upper_image_fn)(int number, const struct error *err, void *userdata);
void upper_image_make(struct loop *loop, const struct layer_writable *writable, upper_image_fn fn,
		      void *userdata);
