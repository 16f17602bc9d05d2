/* The streams of a program in a guest, between the standard ones of this process and the pipes that
 * the shim copies from and to (shim/io.h). The shim finds them by their paths in /proc, so nothing
 * is left behind, whoever is killed.
 *
 * Standard input is read by a child, because it may be a file, of which no loop is told; and so a
 * program that reads nothing holds up no output.
 */
#pragma once

#include "base/loop.h"

struct exec_streams {
	struct loop *loop;           /* borrowed */
	int shims[3];                /* stdin, stdout, stderr: the shim's ends until it has them */
	int ours[3];                 /* and ours; stderr -EBADF with a terminal */
	struct loop_watch *watch[3]; /* of outputs; of stdin: the child's end */
	int child;                   /* pidfd; -EBADF: none */
	void (*on_input_end)(void *userdata);
	void *userdata;
	int failed; /* negative errno: the output cannot be written, and the loop was stopped */
};

/* On failure there is nothing to be done but exec_streams_done(). */
_must_check_ int exec_streams_open(struct loop *loop, bool terminal, struct exec_streams *ret,
				   struct error *err);
void exec_streams_done(struct exec_streams *streams);

/* For the shim; "" for one that is not there. The caller frees. */
char *exec_streams_path(const struct exec_streams *streams, int stream);

/* The shim has opened its ends: copies from now on. on_input_end: standard input has ended. */
_must_check_ int exec_streams_start(struct exec_streams *streams,
				    void (*on_input_end)(void *userdata), void *userdata,
				    struct error *err);

/* The program has ended: what it left in the pipes. */
void exec_streams_drain(struct exec_streams *streams);
