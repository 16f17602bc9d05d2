/* What a report of a fault needs to say about a host: versions, configuration, templates, hardware.
 *
 * Nothing secret is in it: no environment, nothing of pods and sandboxes, and of addresses with a
 * user or a password in them neither. */
#pragma once

#include <jansson.h>

#include "ctl/check_host.h"

/* The format's own version, "meta.version": a key that is taken away or means something else makes
 * it greater, a new one does not. */
#define ENV_VERSION 1

/* Blocks: runs programs for their versions. The caller drops the object. */
json_t *env_collect(const struct check_host *host);

/* A configuration's keys, all of them: "values" and, for each, "from": "default" or the file. */
json_t *env_configuration(const struct check_host *host);

/* "qemu+ssh://…@host/system": the part of an address before its '@' is not shown. The caller frees.
 */
char *env_address(const char *address);

/* The value of a line KEY=VALUE, quotes taken off, of a text like /etc/os-release; NULL: no such
 * line. The caller frees. */
char *env_assignment(const char *text, const char *key);
