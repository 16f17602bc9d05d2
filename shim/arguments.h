/* The command line containerd gives a shim (runtime/v2/README.md of containerd 1.6):
 *
 *   containerd-shim-kiln-v2 [-namespace NS] [-address SOCKET] [-publish-binary PATH] [-id ID]
 *                           [-bundle DIR] [-debug] start|delete
 *   containerd-shim-kiln-v2 -v | -info | -help-config
 *
 * Flags are Go's: one dash or two, the value after a space or an equals sign.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

/* Strings are borrowed from argv; "" where they are not given. */
struct arguments {
	const char *ns;
	const char *address; /* containerd's gRPC socket */
	const char *publish_binary;
	const char *id;
	const char *bundle;
	const char *socket; /* accepted, not used */
	bool debug;
	bool version;
	bool info;
	bool help;
	bool help_config;
	const char *action; /* "" none */
};

/* -EINVAL names what is wrong. */
_must_check_ int arguments_parse(int argc, char *const *argv, struct arguments *ret_arguments,
				 struct error *err);
