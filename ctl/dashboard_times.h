/* The parts of the dashboard's page that are about time: histograms, and what time is made of. */
#pragma once

#include "base/traces.h"
#include "ctl/draw.h"
#include "proto/factory.pb-c.h"

/* latencies NULL: the factory is of a version that has none to tell. */
void dashboard_times_latencies(struct drawing *drawing,
			       const Kiln__Factory__V1__LatenciesResponse *latencies);
/* traces NULL: nobody has said where they are. */
void dashboard_times_shares(struct drawing *drawing,
			    const Kiln__Factory__V1__StatusResponse *status,
			    const Kiln__Factory__V1__LatenciesResponse *latencies,
			    const struct traces *traces);
