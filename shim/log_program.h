/* A logging program of containerd's: "binary:///PATH?NAME=VALUE&..." in the place of a FIFO.
 *
 * It is run with the words of the query as its arguments (NAME VALUE ...), nothing in its
 * environment but CONTAINER_ID and CONTAINER_NAMESPACE, the process's stdout as descriptor 3, its
 * stderr as 4, and 5 to be written to or closed when it is ready. What is written before that waits
 * in the pipes. It ends by itself when these have ended; one that does not within
 * LOG_PROGRAM_END_MS is killed.
 *
 * Source: containerd's docs/ and core/runtime/v2 (binary I/O).
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "base/loop.h"

#define LOG_PROGRAM_END_MS 12000

struct log_program;

bool log_program_is_named(const char *uri);

/* id and ns are for its environment. The caller owns both descriptors, which do not block. */
_must_check_ int log_program_start(struct loop *loop, const char *uri, const char *id,
				   const char *ns, struct log_program **ret, int *ret_out,
				   int *ret_err, struct error *err);

/* Its pipes are closed, or about to be: it is waited for in the background, and freed then. NULL is
 * nothing. */
void log_program_end(struct log_program *program);
