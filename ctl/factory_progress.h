/* A call to the factory that takes a while. Meanwhile stderr shows what the factory is doing: on a
 * terminal in one line that changes, else with a new line for each change. */
#pragma once

#include "ctl/factory_link.h"

struct progress_options {
	const char *method;
	const ProtobufCMessage *request;
	unsigned timeout_s;
	/* What to say of a status; NULL: nothing. The caller frees. */
	char *(*describe)(const Kiln__Factory__V1__StatusResponse *status, const void *userdata);
	const void *userdata;
};

/* As factory_link_call(). */
_must_check_ int factory_progress_call(struct factory_link *link,
				       const struct progress_options *options,
				       ProtobufCMessage **ret_response, struct error *err);
