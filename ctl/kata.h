/* Under the names of Kata Containers' programs, kata-ctl and kata-runtime, for what calls those.
 * docs/CTL.md has the list of their commands. */
#pragma once

#include <stdbool.h>

/* program: as it was called, without its folder. */
bool kata_is_name(const char *program);

/* Our word for one of theirs, or the word itself. */
const char *kata_command(const char *word);

/* What there is instead of a command of theirs that we do not have; NULL: it is none. */
const char *kata_instead(const char *word);
