/* DAX windows: virtio-pmem devices that wait in a machine for the EROFS images of containers'
 * layers. A window is read-only guest memory. An image is put into it while the machine runs, by
 * mapping the image's file over the beginning of the window's memory in the VMM; the guest then
 * mounts the device with DAX. Several files (those of an EROFS snapshotter) are mapped one after
 * another, each from a page of its own on, and the guest mounts parts of the device
 * (agent/layers.h). All machines that have the image map the same pages of the host, and
 * the guest caches nothing of it, where a disk (factory/guest/disks.h) is cached by each guest
 * anew.
 *
 * QEMU has no command for this (a memory backend keeps its file), so the library it is started
 * with does it (factory/preload/): it listens on a socket of the machine's folder and takes one
 * request after another, each with the image's descriptor.
 *
 * A window holds one image, or one list of files, in its life. QEMU keeps what it has translated of
 * the guest's code by its address, and does not hear of the new content.
 *
 * A window costs the guest 16 MiB of memory per GiB (the kernel describes each page of it). That is
 * written before the template is frozen, so clones share it.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

#define DAX_WINDOWS     2
#define DAX_WINDOWS_MAX 4 /* functions of the PCI device below */

/* Size of a window where the definition says none, in sizes of the guest's memory: both windows
 * then take a sixteenth of that. Few images are larger than 2 GiB. */
#define DAX_WINDOW_PER_MEMORY  2
#define DAX_WINDOW_DEFAULT_MIB 2048 /* at most */
/* All windows together: their description is a quarter of the guest's memory. */
#define DAX_WINDOWS_PER_MEMORY 16
#define DAX_WINDOW_MAX_MIB     (64 * 1024)
#define DAX_WINDOW_ALIGN_MIB   2 /* of virtio-pmem */

/* Functions of q35's ISA bridge's device that are free. They come after all other PCI devices, so
 * that the guest numbers the windows after the images that are carried (factory/store/carried.h).
 */
#define DAX_WINDOW_PCI_SLOT     0x1f
#define DAX_WINDOW_PCI_FUNCTION 4

/* In a template's folder: holes, mapped by all clones. In a machine's: the socket. */
#define DAX_WINDOW_NAME   "dax"
#define DAX_WINDOW_FILE   DAX_WINDOW_NAME "%zu"
#define DAX_WINDOW_SOCKET "dax.sock"

/* What the library finds in its environment. */
#define DAX_WINDOW_ENV_SOCKET "KILN_DAX_SOCKET"  /* number of the listening descriptor */
#define DAX_WINDOW_ENV_FILES  "KILN_DAX_WINDOWS" /* path of the windows' files, without number */

/* Files are mapped at multiples of it: a page of host and guest. */
#define DAX_WINDOW_UNIT 4096

/* On the socket, in the host's byte order: a window and the place in it, with the descriptor of the
 * file (SCM_RIGHTS), and the answer, 0 or a negative errno. After a file that is the last, or after
 * a failure, the window takes no other: -EBUSY. -EFBIG: it is too small; -ENOENT: there is no such
 * window; -EINVAL: no regular file, or no such place. */
struct dax_window_request {
	uint32_t window;
	uint32_t is_last; /* 0: more files follow */
	uint64_t offset;  /* bytes */
};
struct dax_window_answer {
	int32_t number;
};
