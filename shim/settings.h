/* What the shim is told from outside.
 *
 *   what       from, the first that says it                                       default
 *   factory    the runtime options' config file, env KILN_FACTORY unix:///run/kiln/factory.sock
 *   template   annotation io.kiln.template, the config file, env KILN_TEMPLATE    the factory's
 *   priority   the config file: normal, high, system                              normal
 *   vcpus      annotation io.kiln.vcpus, CRI's, the limits, the config file       the template's
 *   memory_mib annotation io.kiln.memory_mib, CRI's, the limits, the config file  the template's
 *   annotations  annotation io.kiln.annotations, the config file                  none
 *   images     annotation io.kiln.images: names, commas between                   none
 *   rootfs     annotation io.kiln.rootfs, the config file: overlay, block, share  overlay
 *   check_s    the config file                                                    10
 *   check_misses  the config file                                                 6
 *   kill_s     the config file                                                    10
 *   ttl_s, idle_s  annotations io.kiln.ttl_s and idle_s, the config file: the shortest  0: none
 *   idle_cpu_percent  the config file                                             5
 *   internetworking_model  annotation io.kiln.internetworking_model, the config file  tcfilter
 *   sandbox_cgroup_only  the config file                                          false
 *   volumes    annotation io.kiln.volumes, the config file: 9p, virtiofs, virtiofs-locks  9p
 *
 * An annotation io.kiln.NAME counts where the config file's enable_annotations names it, and is
 * refused elsewhere: by default all but vcpus and memory_mib, of which a tenant could take as much
 * as the host has, and internetworking_model, which is made of the host's network.
 *
 * vcpus and memory_mib are what the sandbox has to have at least; annotations are words the
 * template has to carry (factory/store/annotations.h), images are those it has to carry
 * (factory/store/carried.h). CRI's annotations io.kubernetes.cri.sandbox-cpu-period, -cpu-quota and
 * -memory (bytes) are what containerd says of a pod's limits: quota by period, rounded up, are its
 * vCPUs. The limits are those of the container that a sandbox is made for, where it is no pod's
 * (shim/limits.h): linux.resources of its config.json.
 *
 * Runtime options are containerd's runtimeoptions.v1.Options (ctr: --runtime-config-path FILE;
 * CRI: [plugins...runtimes.kiln.options] ConfigPath). The file is a JSON object with the words of
 * the first column as keys. The environment is containerd's, which the shim inherits.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "base/strv.h"
#include "google/protobuf/any.pb-c.h"

struct settings {
	char *factory;                            /* owned */
	char *template_name;                      /* owned */
	int priority;                             /* enum claim_priority */
	uint64_t vcpus;                           /* 0: the template's */
	uint64_t memory_mib;                      /* 0: the template's */
	char *annotations;                        /* owned; "": none */
	char *enable_annotations;                 /* owned; names with commas between */
	struct strv images;                       /* that the template must carry; owned */
	int rootfs;                               /* enum rootfs_driver; of a container */
	int volumes;                              /* enum volumes_driver; ditto */
	int internetworking_model;                /* enum network_model */
	uint64_t check_s, check_misses;           /* shim/health_watch.h */
	uint64_t kill_s;                          /* shim/process.h; of a container */
	uint64_t ttl_s, idle_s, idle_cpu_percent; /* shim/lifetime.h */
	bool sandbox_cgroup_only;                 /* shim/pod_cgroup.h */
	char *netns;       /* path of the pod's network namespace; NULL: none of its own. Owned */
	bool is_netns_new; /* there is to be one, for whoever fills it before the start */
	char *cgroup; /* the pod's control group, that the VMM is to be in; NULL: none. Owned */
};

/* options: of the Create request, may be NULL or of a type that is not ours (ignored). */
_must_check_ int settings_load(const Google__Protobuf__Any *options, struct settings *ret_settings,
			       struct error *err);
/* Takes over what the annotations of a sandbox say, and where its network and its control group
 * are. -EINVAL names one that makes no sense or is not enabled; -EOPNOTSUPP: it wants the host's
 * network. */
struct spec;
_must_check_ int settings_annotate(struct settings *settings, const struct spec *spec,
				   struct error *err);
bool settings_equal(const struct settings *a, const struct settings *b);
void settings_copy(struct settings *to, const struct settings *from); /* frees what to had */
void settings_done(struct settings *settings);

/* The keys of the config file as a Markdown table. */
void settings_print(FILE *out);
