/* What the host's programs say of themselves; for check and env. All of these run a program and
 * wait for its end. */
#pragma once

#include "base/error.h"
#include "ctl/containerd_config.h"

/* "9.0.0", as kiln-libvirt, which links it, says. -ENOENT: there is no kiln-libvirt. The caller
 * frees. */
_must_check_ int libvirt_version(char **ret_version, struct error *err);

/* The first line of what a program prints for --version; -ENOENT: it is nowhere. The caller frees.
 */
_must_check_ int program_version(const char *name, char **ret_line, struct error *err);

/* What a program prints on stdout, at most 64 KiB; what it says on stderr is thrown away. */
_must_check_ int program_output(char *const *argv, char **ret_output, struct error *err);

/* Asks the program; path NULL: the configuration it has by itself. -ENOENT: there is no containerd.
 */
_must_check_ int containerd_config_ask(const char *path, struct containerd_config *ret,
				       struct error *err);
