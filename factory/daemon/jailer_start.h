/* How the factory comes by its kiln-jailer (factory/jail/jailer.h): as root it starts one, which is
 * on the PATH beside it; as another user it connects to the service manager's, RUN_DIR/jailer.sock.
 */
#pragma once

#include "factory/base/config.h"
#include "factory/core/factory.h"

/* Blocks until kiln-jailer has made what the factory needs (JAILER_BEGIN). config_path: NULL for
 * the default; log_fd: where kiln-jailer writes its log. *ret_means and the jailer in it are the
 * caller's. */
_must_check_ int jailer_start(const struct factory_config *config, const char *config_path,
			      int log_fd, bool activated, struct factory_means *ret_means,
			      struct error *err);

/* The last step of it alone, with a kiln-jailer that is there: what it makes is the caller's. */
_must_check_ int jailer_begin(struct jailer *jailer, bool activated,
			      struct factory_means *ret_means, struct error *err);
