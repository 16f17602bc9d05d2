/* Intrusive lists: the TAILQ and LIST macros of sys/queue.h, and the variants that
 * allow the element to leave the list (or be freed) inside the loop body. */
#pragma once

#include <sys/queue.h>

#ifndef TAILQ_FOREACH_SAFE
#define TAILQ_FOREACH_SAFE(var, head, field, next)                                                 \
	for ((var) = TAILQ_FIRST(head); (var) && ((next) = TAILQ_NEXT(var, field), 1);             \
	     (var) = (next))
#endif
