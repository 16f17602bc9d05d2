/* What a time is made of: a bar, and a table of its parts beside it. */
#pragma once

#include "ctl/draw.h"

enum { SHARE_PARTS = 5 };

struct share {
	const char *title;
	struct {
		const char *label;
		uint64_t us; /* 0: left out */
	} parts[SHARE_PARTS];
};

/* Nothing where all parts are 0. */
void share_draw(struct drawing *drawing, const struct share *share);
