/* The end of a machine whose factory is not there: what vm_destroy() does, from the journal. */
#pragma once

#include "base/error.h"

/* By RUN_DIR and id. Blocks shortly (kill, umount, unlink). A missing entry is success. */
_must_check_ int reap_machine(const char *run_dir, const char *id, struct error *err);
