/* The connection to libvirt: opening it, and its errors in ours. */
#pragma once

#include <libvirt/libvirt.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

/* All borrowed. */
struct connection_options {
	const char *run_dir; /* the embedded driver's folder is below it */
	const char *store;   /* guest RAM is a file on its file system */
	const char *uri;     /* NULL: the embedded driver, which is prepared first */
	bool kvm;            /* the machine uses it */
	uid_t uid;           /* of QEMU, with the embedded driver */
	gid_t gid;
};

/* Once in a process: libvirt keeps for ever what it was started with. */
_must_check_ int connection_open(const struct connection_options *options,
				 virConnectPtr *ret_connection, struct error *err);

/* "what: libvirt's own words", with the package to install where one is missing. */
int connection_error(struct error *err, const char *fmt, ...) _printf_(2, 3);
