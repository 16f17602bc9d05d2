/* Reads the traces that shim, factory and agent write (docs/OPERATION.md, "Where the time of a
 * start goes"): folders of files of lines, each an OTLP request of spans (base/trace.h).
 *
 * Who wrote a span is its resource's "service.name" after "kiln-"; steps and writers may have any
 * name. Spans of one sandbox are joined by their attribute "kiln.sandbox", from whichever file and
 * trace. A line that is none of these (a process may have died while it wrote) is skipped and
 * counted; so is one with a span of no sandbox.
 */
#pragma once

#include <stddef.h>
#include <stdio.h>

#include "base/error.h"

enum { TRACES_NEWEST = 64, TRACES_END = 128 * 1024 };

struct span {
	char *who;       /* owned */
	char *step;      /* owned */
	double begin_ms; /* from the first beginning of all spans of its start */
	double end_ms;
};

/* The start of one sandbox. */
struct start {
	char *id;           /* owned */
	struct span *spans; /* owned; by beginning, the longer first */
	size_t count;
	double first_ms; /* since the epoch */
};

struct traces {
	struct start *starts; /* owned; by first_ms */
	size_t count;
	size_t skipped; /* lines */
};

/* All files *.jsonl of dir. */
_must_check_ int traces_read(const char *dir, struct traces *ret_traces, struct error *err);
/* The ends of the newest of them that are not empty, for who reads a folder again and again:
 * TRACES_NEWEST files, of each the last TRACES_END bytes. The beginning of a start may be missing
 * then. */
_must_check_ int traces_read_newest(const char *dir, struct traces *ret_traces, struct error *err);
/* Lines of one file; traces_finish() when all are added. */
void traces_add(struct traces *traces, const char *text, size_t len);
void traces_finish(struct traces *traces);
void traces_done(struct traces *traces);

/* NULL: none has this id. */
const struct start *traces_find(const struct traces *traces, const char *id);

/* The start that stands for the others: of those with the most spans (less one in ten, which may
 * have been lost) the one of median length. NULL where there is none. */
const struct start *traces_typical(const struct traces *traces);

double start_length_ms(const struct start *start);

/* A waterfall in text, a line a span. */
void start_print(const struct start *start, FILE *out);
