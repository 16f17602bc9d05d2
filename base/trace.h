/* The steps of a sandbox's start, with times: one JSON object a line, for people and kiln-bench.
 *
 * Off unless told a folder (environment KILN_TRACE, or the factory's key "trace"); off costs one
 * branch a step. Each process appends to FOLDER/WHO-PID.jsonl, one write(2) a line:
 *
 *   {"ts_ns":…,"mono_ns":…,"who":"shim","id":"SANDBOX","step":"claim","dur_ns":…}
 *
 * ts_ns (CLOCK_REALTIME) and mono_ns (CLOCK_MONOTONIC) are the step's end, dur_ns is how long it
 * took; a step that is a moment has none. id is the sandbox's, by which files of several
 * processes are joined. Lines of the guest's agent (who "agent") are in the shim's file, their
 * times translated to the host's clocks; they are right within the round trip that fetched them.
 *
 *   step               who      from -> to
 *   shim.start         shim     exec of `start` -> its address is printed
 *   claim              shim, …  the factory is asked -> its answer (kiln-ctl and kiln-bench too)
 *                      factory  Claim arrives -> its answer is on the way
 *   handover           factory  the machine is chosen -> its descriptors and journal are ready
 *   resume             factory  `cont` is sent -> QEMU's answer
 *   clock              shim     SetGuestDateTime -> its answer
 *   network            (none yet: there is no network card)
 *   create_sandbox     shim, agent  CreateSandbox -> its answer
 *   slot               shim     an image is given to the machine -> it is in a window or on a slot
 *   rootfs             shim     mounting its layers, or all of it, into the share; volumes
 *   root.overlay-dax, root.overlay-image, root.overlay-share, root.block, root.share
 *                      shim     writing down which root a container has (proto/root_note.h)
 *   create_container   shim, agent  CreateContainer -> its answer
 *   start_container    shim, agent  StartContainer -> its answer
 *   first_output       shim     the answer to StartContainer -> the first bytes of its output
 *   exit               shim     the answer to StartContainer -> its end is known
 *   delete             shim     containerd's Delete -> its answer
 *   release            shim     the factory is told -> its answer
 *   storage            agent    mounting one storage
 *   cgroup             agent    making a container's cgroup
 *   clone              agent    making a container's first process, until it runs
 *   remove_container   agent    RemoveContainer -> its answer
 *
 * Not for threads: a process traces from one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/strings.h"

enum trace_step {
	TRACE_SHIM_START,
	TRACE_CLAIM,
	TRACE_HANDOVER,
	TRACE_RESUME,
	TRACE_CLOCK,
	TRACE_NETWORK,
	TRACE_CREATE_SANDBOX,
	TRACE_SLOT,
	TRACE_ROOTFS,
	TRACE_ROOT_OVERLAY_DAX,
	TRACE_ROOT_OVERLAY_IMAGE,
	TRACE_ROOT_OVERLAY_SHARE,
	TRACE_ROOT_OVERLAY_DAX_BLOCK,
	TRACE_ROOT_OVERLAY_IMAGE_BLOCK,
	TRACE_ROOT_BLOCK,
	TRACE_ROOT_SHARE,
	TRACE_CREATE_CONTAINER,
	TRACE_START_CONTAINER,
	TRACE_FIRST_OUTPUT,
	TRACE_EXIT,
	TRACE_DELETE,
	TRACE_RELEASE,
	TRACE_STORAGE,
	TRACE_CGROUP,
	TRACE_CLONE,
	TRACE_REMOVE_CONTAINER,
};
DECLARE_STRING_TABLE(trace_step, enum trace_step);

#define TRACE_ENV "KILN_TRACE"

/* dir: absolute, made where it is missing; NULL: as the environment says; "": off. Again with
 * another dir: from then on there. id: of steps that name none; may be NULL. After fork() the
 * child calls it again. On failure it is off, and the log has a warning. */
void trace_init(const char *who, const char *dir, const char *id);

extern bool trace_on; /* read it by the two below */

/* The beginning of a step, in CLOCK_MONOTONIC nanoseconds; 0 while it is off. */
static inline uint64_t trace_begin(void)
{
	return trace_on ? clock_monotonic_ns() : 0;
}

void trace_write(enum trace_step step, const char *id, uint64_t begin_ns);

/* The end of a step. id NULL: the process' own. begin_ns 0: a moment. */
static inline void trace_end(enum trace_step step, const char *id, uint64_t begin_ns)
{
	if (trace_on)
		trace_write(step, id, begin_ns);
}

/* For the agent, which has no files of the host: steps are kept in memory until they are taken.
 * Beyond TRACE_RECORDS_MAX the newest are dropped. */
#define TRACE_RECORDS_MAX 128

struct trace_record {
	enum trace_step step;
	uint64_t end_ns; /* CLOCK_MONOTONIC */
	uint64_t dur_ns;
};

void trace_keep(void);                                      /* on, in memory */
size_t trace_take(const struct trace_record **ret_records); /* valid until the next step */

/* Writes a step of another process whose clock was now_ns when ours was what it is now. */
void trace_write_foreign(const char *who, const struct trace_record *record, uint64_t now_ns);
