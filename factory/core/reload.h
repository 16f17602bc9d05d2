/* SIGHUP: the configuration file is read again. What may change live (`reloadable` in the table
 * of factory/base/config.c) does; what may not is named in the log and waits for a restart. A file
 * that cannot be used changes nothing.
 */
#pragma once

#include "base/strv.h"
#include "factory/base/config.h"

struct factory;

/* Names of keys. */
struct reload_report {
	struct strv changed; /* differ, and are in effect */
	struct strv waiting; /* differ, and need a restart */
};
void reload_report_done(struct reload_report *report);

/* Moves what may change live from fresh into config; both stay whole. */
void reload_merge(struct factory_config *config, struct factory_config *fresh,
		  struct reload_report *ret_report);

/* Reads path as factory_config_load() does, and logs how it went. */
void reload_run(struct factory *factory, const char *path);
