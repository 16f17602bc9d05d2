/* How many lines an object gets in the log a second, so that who can make us log (a guest, a VMM
 * it broke out of) fills neither disk nor processor. Lines without an object count by their format.
 *
 * Lines that are left out are told of in one line once their second is over, with the next line
 * that is written of whatever. One call at a time: base/log.c locks. */
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
