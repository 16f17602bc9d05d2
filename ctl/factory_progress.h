/* A call of the factory's that takes its time, with what the factory says meanwhile on stderr: on a
 * terminal one line that changes, else a line a change. */
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
