#include "ctl/screen.h"

#include <string.h>

void screen_clear(FILE *out)
{
	fputs("\033[2J", out);
}

void screen_redraw(const char *text, FILE *out)
{
	fputs("\033[H", out);
	for (const char *line = text; *line;) {
		size_t len = strcspn(line, "\n");
		fprintf(out, "%.*s\033[K\n", (int)len, line);
		line += len + (line[len] == '\n');
	}
	fputs("\033[J", out);
}
