/* What one process takes of the host's memory, by part, and what the kernel takes for it.
 *
 * From /proc/PID/smaps (which needs the right to read it), /proc/PID/status and /proc/meminfo.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct smaps {
	double ram_private; /* guest RAM: pages of its own, copied on write or of its own file */
	double ram_shared;  /* guest RAM: its share of the template's pages */
	double heap;        /* anonymous: heap, translated code, stacks */
	double libraries;   /* its share of program, libraries and other files */
	double image;       /* its share of the guest image */
	double pss;         /* sum of the above */
	double private_;    /* pages of no other process */
	double kernel;      /* page tables and kernel stacks */
	double mapped;      /* of guest RAM and image: pages of a file, not copied on write */
	double own_files;   /* all that files of its own have in memory, mapped or not */
};                          /* all in MiB */

/* ram and image are the files (by the end of their paths) guest RAM and image are mapped from;
 * NULL: there are none. A file without a name that is mapped shared is the process's own: what may
 * be written is its RAM, the rest its image. */
_must_check_ int smaps_read(pid_t pid, const char *ram, const char *image, struct smaps *ret_smaps,
			    struct error *err);

/* The text of /proc/PID/smaps; kernel and own_files are not in it. Lines of another form are
 * skipped. */
void smaps_parse(const char *text, const char *ram, const char *image, struct smaps *ret_smaps);

void smaps_add(struct smaps *sum, const struct smaps *more);

/* What a file has in memory (on tmpfs) or on its disk: holes are nothing. */
_must_check_ int file_mib_read(const char *path, double *ret_mib, struct error *err);

/* A figure of /proc/meminfo in MiB; 0 where there is none. */
double meminfo_read(const char *key);
