/* A container's folder in the machine's share, SHARE/ID: whoever shows the guest something of the
 * host's for this container mounts it below.
 *
 * A VMM that is root can write into SHARE, so no path below it is trusted: folders are made fresh,
 * and mounted on by descriptor, never through a link. */
#pragma once

#include "base/error.h"

struct share_folder {
	int fd;     /* O_PATH; -EBADF: there is none */
	char *path; /* owned */
};
#define SHARE_FOLDER_NONE                                                                          \
	{                                                                                          \
		.fd = -EBADF                                                                       \
	}

/* -EEXIST where something is there already. */
_must_check_ int share_folder_make(const char *share_dir, const char *container_id,
				   struct share_folder *ret_folder, struct error *err);

/* A fresh folder in it; the caller owns *ret_fd (O_PATH). */
_must_check_ int share_folder_add(const struct share_folder *folder, const char *name, int *ret_fd,
				  struct error *err);

/* Removes it with what is left in it; a failure is logged. Nothing is mounted there any more. */
void share_folder_remove(struct share_folder *folder);
