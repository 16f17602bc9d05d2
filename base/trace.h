/* The steps of a sandbox's start, as spans of a trace (OpenTelemetry): for a collector, for people
 * and for kiln-bench.
 *
 * Off unless told a target (environment KILN_TRACE, or the factory's key "trace"); off costs one
 * branch a step. A target is
 *
 *   /FOLDER          each process appends to FOLDER/WHO-PID.jsonl, one write(2) a span
 *   unix:///SOCKET   a SOCK_SEQPACKET that takes a span as a packet (factory/api/trace_export.h);
 *                    what it cannot take at once is lost, and the next span that gets there says
 *                    how many were (attribute kiln.lost). Nothing ever waits for it.
 *
 * A span is a line of OTLP/JSON (an ExportTraceServiceRequest, opentelemetry-proto 1.x): resource
 * "service.name" kiln-shim, kiln-factory, kiln-agent, ..., name the step's, start and end in
 * nanoseconds of CLOCK_REALTIME, attribute "kiln.sandbox" the sandbox's id, status with a sentence
 * where it failed. Spans of the guest's agent are in the shim's file, their times translated to the
 * host's clocks; they are right within the round trip that fetched them.
 *
 * A span's parent is the context its process is in when it begins (trace_enter): in a handler of a
 * call that of its caller (base/trace_context.h; proto/ttrpc_call.c enters it, and
 * proto/ttrpc_client.c sends it), else the process' root, which is a span of its own (shim), else
 * none: then it begins a trace. What a caller does not record (its flag) is not recorded here. A
 * span in a trace that is not the root's has a link to the root: containerd's trace of a Create
 * shows where that of the sandbox is, whose machine was claimed before containerd said anything.
 *
 *   step               who      from -> to
 *   sandbox            shim     exec of `start` -> its machine is given back; the root
 *   shim.start         shim     exec of `start` -> its address is printed
 *   claim              shim, …  the factory is asked -> its answer (kiln-ctl and kiln-bench too)
 *                      factory  Claim arrives -> its answer is on the way
 *   handover           factory  the machine is chosen -> its descriptors and journal are ready
 *   resume             factory  `cont` is sent -> QEMU's answer
 *   clock              shim     SetGuestDateTime -> its answer
 *   network            shim     reading or making the pod's network, or joining it
 *   create_sandbox     shim, agent  CreateSandbox -> its answer
 *   create             shim     containerd's Create -> its answer
 *   slot               shim     an image is given to the machine -> it is in a window or on a slot
 *   rootfs             shim     mounting its layers, or all of it, into the share; volumes
 *   root.overlay-dax, root.overlay-dax-block, root.overlay-image, root.overlay-image-block,
 *   root.overlay-share, root.block, root.share
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
#include "base/trace_context.h"

enum trace_step {
	TRACE_SANDBOX,
	TRACE_SHIM_START,
	TRACE_CLAIM,
	TRACE_HANDOVER,
	TRACE_RESUME,
	TRACE_CLOCK,
	TRACE_NETWORK,
	TRACE_CREATE_SANDBOX,
	TRACE_CREATE,
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

#define TRACE_ENV    "KILN_TRACE"
#define TRACE_SOCKET "unix://" /* what a target that is no folder begins with */

/* A line has at most so many bytes. */
#define TRACE_LINE_MAX 4096

/* target: NULL: as the environment says; "": off. A folder is made where it is missing. Again with
 * another target: from then on there. id: of steps that name none; may be NULL. After fork() the
 * child calls it again. On failure it is off, and the log has a warning. */
void trace_init(const char *who, const char *target, const char *id);

/* Gives this process, and those it forks, a root; nothing where the environment names no target. */
void trace_root_new(uint64_t begun_ns);
/* The root's end. why: as in struct trace_detail. */
void trace_root_end(const char *why);

extern bool trace_on; /* read it by the functions below */

struct trace_span {
	uint64_t begin_ns; /* CLOCK_MONOTONIC; 0: it is not recorded */
	struct trace_context self;
	uint64_t parent_id; /* 0: none */
	bool parent_is_remote;
};

/* What else is known at a span's end; NULL: it is not. */
struct trace_detail {
	const char *error; /* why it failed */
	const char *container, *origin, *template_id, *machine;
};

void trace_span_new(struct trace_span *ret_span);
void trace_write(enum trace_step step, const char *id, const struct trace_span *span,
		 const struct trace_detail *detail);

static inline struct trace_span trace_begin(void)
{
	struct trace_span span = {};

	if (trace_on)
		trace_span_new(&span);
	return span;
}

/* id NULL: the process' own; detail may be NULL. */
static inline void trace_end_as(enum trace_step step, const char *id, const struct trace_span *span,
				const struct trace_detail *detail)
{
	if (span->begin_ns)
		trace_write(step, id, span, detail);
}

static inline void trace_end(enum trace_step step, const char *id, const struct trace_span *span)
{
	trace_end_as(step, id, span, NULL);
}

/* What begins from here on lies in that context; what was before is returned, and is entered again
 * when that is over. Contexts nest within one callback of the loop. */
struct trace_context trace_enter(const struct trace_context *context);
struct trace_context trace_now(void); /* the one it is in, or the root; span_id 0: none */
/* "traceparent" for a call that begins now; false: there is none to send. */
bool trace_parent(char ret_text[static TRACEPARENT_SIZE]);

/* For the agent, which has no files of the host: steps are kept in memory until they are taken.
 * Beyond TRACE_RECORDS_MAX the newest are dropped. */
#define TRACE_RECORDS_MAX 128

struct trace_record {
	enum trace_step step;
	uint64_t end_ns; /* CLOCK_MONOTONIC */
	uint64_t dur_ns;
	uint64_t caller; /* the span_id of the call it was part of; 0: of none that was traced */
};

void trace_keep(void);                                      /* on, in memory */
size_t trace_take(const struct trace_record **ret_records); /* valid until the next step */

/* Writes steps of another process whose clock was now_ns when ours was what it is now. Their
 * callers are looked up among the contexts this process has sent of late, so that they say nothing
 * about traces of others; of an unknown one they lie below the root. */
void trace_write_foreign(const char *who, const struct trace_record *records, size_t n,
			 uint64_t now_ns);
