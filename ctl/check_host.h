/* The host as kiln-ctl check and env look at it: the factory's configuration and definitions, read
 * as the factory reads them, and what the factory says where one runs. Whatever could not be had is
 * an error here, and the rest goes on. */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "factory/base/config.h"
#include "factory/templates/definitions.h"
#include "proto/factory.pb-c.h"

struct check_options {
	const char *root;       /* paths begin with it; "": the host's own. For tests */
	const char *config;     /* of the factory; NULL: FACTORY_CONFIG_PATH */
	const char *socket;     /* NULL: $KILN_FACTORY, else as configured */
	const char *containerd; /* its configuration; NULL: its own default */
};

struct check_host {
	struct check_options options; /* borrowed */
	bool is_root;
	bool configured; /* config can be used */
	struct factory_config
		config; /* while !configured the defaults, without paths made of them */
	struct error config_error;
	struct definitions definitions;
	struct error definitions_error;
	char *address;                             /* owned; of the factory */
	Kiln__Factory__V1__StatusResponse *status; /* owned; NULL: status_error says why */
	struct error status_error;
};

/* Blocks: asks the factory, 10 s at most. */
void check_host_open(const struct check_options *options, struct check_host *ret_host);
void check_host_done(struct check_host *host);

/* A file below the root as text, without its last line end; NULL where it cannot be read. The
 * caller frees. */
char *check_host_read(const struct check_host *host, const char *path);
bool check_host_has(const struct check_host *host, const char *path);

/* No factory answers at the address: none runs, as far as one can see. */
bool check_host_is_off(const struct check_host *host);

/* What the factory says of a template; NULL: nothing. */
const Kiln__Factory__V1__TemplateStatus *check_host_template(const struct check_host *host,
							     const char *name);

/* A program of ours or of the host's: beside this one, in the sbin beside its folder, on PATH or in
 * the usual folders. NULL: it is nowhere. The caller frees. */
char *check_program_find(const char *name);
