/* What containerd's configuration says, as `containerd config dump` prints it: TOML in the form of
 * the two libraries that its versions use. There is no TOML library for C in Debian 12.
 *
 * The text is foreign. What is no TOML of that form is refused: strings over several lines, and
 * anything that is left over behind a value.
 *
 * Source: https://toml.io/en/v1.0.0
 */
#pragma once

#include "base/error.h"
#include "base/strv.h"

enum { TOML_DEPTH_MAX = 16 }; /* arrays and tables inside of each other, parts of a name */

/* A key with its value: table's parts and the key's own (after a dotted key its last part) are in
 * path. Strings stand in values, one, or those of an array (of arrays, one after another); a
 * number, a date, true and false stand there as they are written. All borrowed, during the call. */
typedef void (*toml_fn)(const struct strv *path, const struct strv *values, void *userdata);

/* -EBADMSG: that is not TOML; fn may have had what stands before. */
_must_check_ int toml_read(const char *text, toml_fn fn, void *userdata, struct error *err);
