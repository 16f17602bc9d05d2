/* The shells' completion of kiln-ctl's words and options, made of the table of commands: what a
 * command takes is what it says there. */
#pragma once

#include <stdio.h>

#include "ctl/ctl.h"

/* commands ends with NULL. */
void completion_bash(const struct ctl_command *const *commands, FILE *out);
void completion_zsh(const struct ctl_command *const *commands, FILE *out);
