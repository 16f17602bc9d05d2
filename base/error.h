/* Errors as values: a number for machines, a sentence for people.
 *
 * A fallible function returns 0 or a negative errno. Where a person will read the
 * result it also takes a `struct error *`, which it fills on failure and leaves
 * alone on success. Callers add context on the way up with error_wrap(); the edge
 * (main, an RPC handler, a job) logs it or sends it, once.
 *
 *   _cleanup_(error_done) struct error err = {};
 *   if (template_load(path, &template, &err) < 0)
 *           return error_wrap(&err, "cannot bake template %s", name);
 *
 * Every function here accepts a NULL struct error and then only returns the number.
 */
#pragma once

#include <stdarg.h>

#include "base/cleanup.h"

struct error {
	int number;    /* positive errno, 0: no error */
	char *message; /* owned; NULL: no error */
};

/* Replaces what e held. number is an errno, of either sign; returns it negative. */
int error_set(struct error *e, int number, const char *fmt, ...) _printf_(3, 4);
int error_setv(struct error *e, int number, const char *fmt, va_list args) _printf_(3, 0);

/* The same, with ": " and the text of the errno appended. */
int error_set_errno(struct error *e, int number, const char *fmt, ...) _printf_(3, 4);

/* Puts "context: " before the message; returns -e->number (or -EIO where e is NULL or empty). */
int error_wrap(struct error *e, const char *fmt, ...) _printf_(2, 3);

/* Moves *from into *to (which it replaces) and leaves *from empty. */
void error_move(struct error *to, struct error *from);

/* The sentence, never NULL: "no error" for an empty one. */
const char *error_message(const struct error *e);

/* Empties e, which may be NULL, for reuse or the end of its scope. */
void error_done(struct error *e);
