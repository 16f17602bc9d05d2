/* What the factory says about itself: one message for Status, /status and `kiln-ctl`.
 *
 * The message's schema is proto/factory.proto; as JSON it has the same names. It is read off the
 * objects as they are, nothing is changed by it. */
#pragma once

#include <stdbool.h>

#include "factory/base/footprint.h"
#include "factory/core/factory.h"
#include "proto/factory.pb-c.h"

/* The caller frees it with protobuf_c_message_free_unpacked(). footprint: measured before. */
Kiln__Factory__V1__StatusResponse *report_status(struct factory *factory,
						 const struct footprint *footprint);

/* The histograms of all templates and of the factory, merged. The caller frees it likewise. */
Kiln__Factory__V1__LatenciesResponse *report_latencies(struct factory *factory);

/* The status of one template. */
Kiln__Factory__V1__TemplateStatus *report_template(struct slot *slot,
						   const struct footprint *footprint);

/* The whole status as JSON with the key "on" before: a template is ready. The caller frees. */
char *report_status_json(struct factory *factory, const struct footprint *footprint);
