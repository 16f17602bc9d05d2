/* How many lines an object gets in the log a second, so that nobody who can make us log (a guest,
 * or a VMM that a guest has taken over) fills the disk or keeps the processor busy. Lines without
 * an object count by their format.
 *
 * How many lines of a second were left out is said in one line when that second is over, before the
 * next line that is written, whatever that is about. One call at a time: base/log.c locks. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { LOG_LIMIT_LINES = 100 };

/* What was left out of one object in one second. */
struct log_left_out {
	char object[64]; /* cut; "": none */
	const char *fmt; /* of the first line that was left out, which is a literal */
	unsigned lines;
};

/* Whether this line may be written. object may be NULL. */
bool log_limit_pass(const char *object, const char *fmt, uint64_t second);

/* Something that was left out before this second and has not been told of yet; false: nothing. */
bool log_limit_take(uint64_t second, struct log_left_out *ret_left_out);
