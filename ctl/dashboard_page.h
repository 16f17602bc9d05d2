/* The page of `kiln-ctl factory dashboard`: what a factory says of itself, as HTML with drawings.
 *
 * All words of it are foreign (names, reasons and errors come from files and from guests) and are
 * escaped; none of the page is a script. It holds DASHBOARD_TEMPLATES_MAX templates; of more it
 * says how many there are.
 */
#pragma once

#include <stdbool.h>

#include "base/strbuf.h"
#include "base/traces.h"
#include "proto/factory.pb-c.h"

enum { DASHBOARD_TEMPLATES_MAX = 100, DASHBOARD_REFRESH_S = 5 };

struct dashboard_look {
	const char *host;     /* this node's name */
	uint64_t taken_s;     /* when, since the epoch */
	bool still;           /* the page does not ask for itself again */
	const char *obstacle; /* why there is no status; NULL: there is */
	const Kiln__Factory__V1__StatusResponse *status;
	const Kiln__Factory__V1__LatenciesResponse *latencies; /* NULL: this factory has none */
	const struct traces *traces; /* NULL: nobody has said where they are */
};

void dashboard_page_write(const struct dashboard_look *look, struct strbuf *page);

extern const char dashboard_style[]; /* its sheet, CSS */
extern const char dashboard_icon[];  /* SVG */
