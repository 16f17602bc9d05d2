/* A job of kiln-jailer's, waited for: what a worker thread asks for that takes long. */
#pragma once

#include <jansson.h>

#include "factory/jail/jailer.h"

/* The answer is the caller's. Where cancel_fd (-1: none) becomes readable the job is given up, and
 * its end is waited for all the same. */
_must_check_ int jailer_job(struct jailer *jailer, const struct jailer_request *request,
			    int cancel_fd, json_t **ret_answer, struct error *err);

/* An answer that tells of a failure, as an error; 0: it tells of none. */
int jailer_job_error(const json_t *answer, struct error *err);
