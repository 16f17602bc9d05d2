/* Shims that do not answer, by their processes: a shim keeps the command line of its `start`, with
 * the words that its socket is named after (proto/shim_socket.h). */
#pragma once

#include "ctl/sandboxes.h"

/* Fills in id, ns and shim_pid of those without info, as far as they are found. A sandbox whose
 * first container had another id than itself is not. */
void shim_process_name(struct sandboxes *sandboxes);

struct shim_words {
	const char *address, *ns, *id; /* borrowed of the command line; NULL: not there */
};

/* line: /proc/PID/cmdline, len bytes and a terminator. False: that is no shim. */
bool shim_words_parse(const char *line, size_t len, struct shim_words *ret);
