/* A text that is shown again and again in the same place of a terminal. */
#pragma once

#include <stdio.h>

void screen_clear(FILE *out); /* once, before the first */

/* Over what was there before, clearing the rest of each line and of the screen: no flicker. */
void screen_redraw(const char *text, FILE *out);
