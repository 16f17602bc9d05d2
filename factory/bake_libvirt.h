/* The connection to libvirt: opening it, and its errors in ours. For bake_domain.c. */
#pragma once

#include <libvirt/libvirt.h>

#include "factory/bake_domain.h"

/* Prepares the embedded driver where options->libvirt_uri is NULL. */
_must_check_ int bake_libvirt_open(const struct bake_domain_options *options,
				   virConnectPtr *ret_connection, struct error *err);

/* "what: libvirt's own words", with the package to install where one is missing. */
int bake_libvirt_error(struct error *err, const char *fmt, ...) _printf_(2, 3);
