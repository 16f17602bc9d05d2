/* Sandboxes for people and for programs. */
#pragma once

#include <stdio.h>

#include <jansson.h>

#include "ctl/sandboxes.h"
#include "proto/factory.pb-c.h"

/* status, of the factory, names the templates; NULL: they are shown by their ids. */
void sandboxes_print(const struct sandboxes *sandboxes,
		     const Kiln__Factory__V1__StatusResponse *status, FILE *out);
void sandbox_print(const struct sandbox *sandbox, const Kiln__Factory__V1__StatusResponse *status,
		   FILE *out);

/* The fields of kiln.shim.v1.SandboxInfo, with the template's name and what bundles say besides;
 * "state" is "unknown" where the shim does not answer. New reference. */
json_t *sandbox_to_json(const struct sandbox *sandbox,
			const Kiln__Factory__V1__StatusResponse *status);

/* How a sandbox's id is shown in a table: of 64 hexadecimal digits the first twelve. */
#define SANDBOX_ID_SIZE 129
void sandbox_short_id(const struct sandbox *sandbox, char ret[static SANDBOX_ID_SIZE]);

/* "NAMESPACE/NAME"; "-" where it is no pod of Kubernetes. The caller frees. */
char *sandbox_pod_text(const struct sandbox *sandbox);
