/* The programs of the host that a container's spec has run around its life (OCI runtime
 * specification 1.0.2, config.md, "POSIX-platform Hooks"):
 *
 *   CREATE   prestart, createRuntime   before a machine is asked for; a failure is the creation's
 *   START    poststart                 when the container runs; a failure is logged
 *   STOP     poststop                  when it is deleted, also after its creation failed; ditto
 *
 * Each gets the container's state as JSON on stdin. Its `pid` is in the pod's network namespace:
 * where the spec names none, a new one, which such hooks fill (nerdctl's and Docker's bridges) and
 * the machine is joined to. It is the number of a thread of the shim's: there is no process of the
 * container's on the host.
 *
 * createContainer and startContainer are for the inside of a container, and are refused.
 */
#pragma once

#include <stdbool.h>

#include "base/loop.h"
#include "shim/spec.h"

enum hooks_moment { HOOKS_CREATE, HOOKS_START, HOOKS_STOP };

struct hooks;

/* Strings are copied. NULL: the spec has none of these. Before spec_for_guest(). */
struct hooks *hooks_new(struct loop *loop, const struct spec *spec, const char *container_id,
			const char *bundle);

/* There are programs to run before the machine is asked for. */
bool hooks_come_first(const struct spec *spec);
bool hooks_have_first(const struct hooks *hooks);

/* fn is called once, from the loop; NULL: a failure is logged. Moments follow one another. */
typedef void (*hooks_fn)(int number, const struct error *err, void *userdata);
void hooks_run(struct hooks *hooks, enum hooks_moment moment, hooks_fn fn, void *userdata);

/* After CREATE has gone well: a path of the pod's network namespace; the caller frees. */
char *hooks_netns(const struct hooks *hooks);
pid_t hooks_pid(const struct hooks *hooks); /* as they were told it */

/* No callback follows. Waits for a program that runs. Not from within a callback. NULL is nothing.
 */
void hooks_free(struct hooks *hooks);

/* Blocks: the programs of STOP, for a container whose shim was killed. */
void hooks_run_stop(const struct spec *spec, const char *container_id, const char *bundle);
