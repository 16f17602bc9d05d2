/* What containerd tells `start` on stdin, and what `start` answers on stdout.
 *
 *   containerd    stdin                                   stdout
 *   1.6           nothing, or the runtime options (Any)   the address, a line of text
 *   1.7 to 2.2    the same                                JSON
 *   from 2.3 on   BootstrapParams                         BootstrapResult
 *   CRI-O         nothing                                 as 1.6
 *
 * JSON and the result name the version of the Task service: 3, with a BootstrapResult. Who wants
 * JSON names in the environment the highest version it takes, MAX_SHIM_VERSION, and refuses an
 * answer above it.
 *
 * The result says which mounts of a root file system Kiln makes by itself (MountCapabilities, read
 * by containerd from 2.4 on): those of an EROFS snapshotter, which containerd then hands over as
 * the images they are (shim/layer_mounts.h), and mounts none of them on the host; nor does it make
 * the image that is written to (shim/upper_image.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "google/protobuf/any.pb-c.h"

struct bootstrap {
	bool wants_result;              /* stdin held BootstrapParams */
	int json_version;               /* of JSON, where no result is wanted; 0: a line */
	Google__Protobuf__Any *options; /* owned; containerd's runtime options, or NULL */
};

/* Never fails: what is neither of the two counts as nothing. id is the container's of the command
 * line, which BootstrapParams repeat: an Any can be read as them, too, and they as an Any. */
void bootstrap_read(const uint8_t *data, size_t len, const char *id, struct bootstrap *ret);

/* text is MAX_SHIM_VERSION, or NULL. After bootstrap_read(). */
void bootstrap_read_version(const char *text, struct bootstrap *bootstrap);

/* The bytes for stdout. */
void bootstrap_answer(const struct bootstrap *bootstrap, const char *address, struct strbuf *ret);

void bootstrap_done(struct bootstrap *bootstrap);
