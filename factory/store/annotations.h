/* What a template is said to be, beyond its size: words that its definition carries and a claim
 * can demand ("gpu", "zone=a"), as one text with commas between them. They mean nothing here.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

#define ANNOTATIONS_MAX 1024 /* bytes, all together */

/* Words are of [A-Za-z0-9._=/-]; "" is none. -EINVAL. */
_must_check_ int annotations_check(const char *words, struct error *err);

/* Whether each of the wanted words is among `words`. Both were checked. */
bool annotations_hold(const char *words, const char *wanted);
