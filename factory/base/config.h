/* kiln-factory's configuration: one JSON object, one table of keys (config.c).
 *
 * `kiln-factory --help-config` prints the table; unknown keys are refused by name.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/config.h"
#include "base/error.h"

#define FACTORY_CONFIG_PATH "/etc/kiln/factory.json"

/* All strings are owned. */
struct factory_config {
	char *run_dir;      /* sockets, journal and share folders of the machines */
	char *socket;       /* never NULL once loaded: RUN_DIR/factory.sock by default */
	char *http_socket;  /* never NULL once loaded: RUN_DIR/http.sock by default */
	uint64_t http_port; /* on 127.0.0.1; 0: none */
	char *store;        /* never NULL once loaded: RUN_DIR/store by default */
	char *templates;    /* a template definition, or a folder of them */
	char *qemu;
	char *accelerator;     /* "auto", "tcg", "kvm" */
	char *channel;         /* "auto", "vsock", "serial" */
	char *vhost_net;       /* "auto", "yes", "no" */
	char *libvirt_uri;     /* NULL: the embedded driver */
	char *log_file;        /* NULL: stderr */
	int log_level;         /* enum log_level */
	int log_format;        /* enum log_format */
	char *trace;           /* NULL: as the environment says; base/trace.h */
	char *trace_collector; /* NULL: none; factory/base/collector.h */
	uint64_t clones_at_once;
	uint64_t max_vms;
	uint64_t max_waiting;
	uint64_t boots_at_once;
	uint64_t max_vcpus, max_memory_mib; /* of a claim; 0: the host's */
	uint64_t lease_grace_s;
	uint64_t min_free_mib;
	bool merge_pages;
	char *scratch_dir;
	bool init_on_start;
	char *image_cache; /* factory/cache/image_cache.h; "": none */
	uint64_t image_cache_mib;
	uint64_t uid_first; /* 0: machines run as root */
	char *user;         /* NULL: KEEPER_USER, where there is one; factory/jail/keeper.h */
	char *cgroup;       /* "": none */
	char *allow_uids;   /* NULL: none but root; factory/base/access.h */
	char *allow_groups; /* the same */
};

/* path NULL: FACTORY_CONFIG_PATH, whose absence means all defaults; a path that was asked for
 * must be there. On failure ret_config is untouched. */
_must_check_ int factory_config_load(const char *path, struct factory_config *ret_config,
				     struct error *err);
void factory_config_done(struct factory_config *config);

/* The table itself, for comparing two configurations. */
const struct config_key *factory_config_keys(size_t *ret_count);

/* The keys as a Markdown table. */
void factory_config_print(FILE *out);
