/* A container's configuration: config.json of its bundle, made fit for the guest.
 *
 * Source: the OCI runtime specification 1.0.2 (config.md, config-linux.md). What changes on the
 * way into the guest:
 *
 *   root.path         stays: rootfs_mount() sets it (shim/rootfs.h)
 *   namespaces        network is dropped (the machine is the container's network namespace, and
 *                     the pod's leads to it: shim/pod_network.h);
 *                     paths of the host mean nothing in the guest: ipc and uts with a path are
 *                     shared by the pod, hence the guest's own, and dropped; so is pid with a
 *                     path, of which shim/pid_sharing.h says what it means; others lose the path.
 *                     In a pod of the Sandbox service a list without uts means one of its own
 *                     the user namespace is gone already, with all its mappings
 *                     (shim/user_namespace.h)
 *   linux.devices     those of the host's hardware are dropped, with a warning: their numbers mean
 *                     something else in the guest. Memory, terminal and misc devices stay; block
 *                     devices are for shim/container_disks.h. So are the rules of
 *                     linux.resources.devices about them; in those that stay, a number that is
 *                     missing becomes -1
 *   linux.resources.cpu.cpus, mems  dropped: they are numbers of the host's CPUs
 *   hooks             dropped: they are programs of the host (shim/hooks.h)
 *   linux.cgroupsPath /kiln/ID
 *
 * Bind mounts of the host's are for shim/volumes.h.
 *
 * The file is hostile input: bounded, and checked by type for every key (proto/pbjson.h).
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "proto/oci.pb-c.h"

#define SPEC_FILE "config.json"
#define SPEC_MAX  (2u << 20) /* bytes of config.json */

struct spec {
	Grpc__Spec *oci; /* owned */
	char *rootfs;    /* root.path, made absolute by the bundle; owned; NULL: no root */
	bool in_pod;     /* of the Sandbox service, which said what the pod's namespaces are */
	bool shares_ipc; /* after spec_for_guest(): with its pod, because a path says so */
};

/* Reads BUNDLE/config.json. -ENOENT, or -EINVAL with what is wrong where. */
_must_check_ int spec_load(const char *bundle, struct spec **ret_spec, struct error *err);
_must_check_ int spec_parse(const char *text, size_t len, const char *bundle,
			    struct spec **ret_spec, struct error *err);
/* For who may be given a pod's bundle: there may be no config.json in it (the spec is empty then),
 * or one without process and root. */
_must_check_ int spec_load_pod(const char *bundle, struct spec **ret_spec, struct error *err);
void spec_free(struct spec *spec);
DEFINE_CLEANUP(struct spec *, spec_free)

/* What the list of namespaces leaves out is the guest's, where it has none of network, pid, ipc and
 * uts, as those of containerd's shimtest, or where the pod is there already. Any other list asks
 * for the host's by it, and so does that of a pod's sandbox container. */
bool spec_leaves_sandbox(const struct spec *spec);

/* Refuses namespaces that a machine cannot join: the host's pid and ipc, those of another sandbox
 * (pid, ipc, uts and user), and those that are not there. is_of_pod says of a number whether the
 * pod's own are named by its /proc/PID/ns; NULL: a path is the pod's, whatever it says. */
typedef bool (*spec_pid_fn)(pid_t pid, const void *userdata);
_must_check_ int spec_check_namespaces(const struct spec *spec, bool is_sandbox,
				       spec_pid_fn is_of_pod, const void *userdata,
				       struct error *err);

/* PID of a path /proc/PID/ns/TYPE; 0: it is another path. */
pid_t spec_namespace_pid(const Grpc__LinuxNamespace *ns);

/* The changes above; once. */
void spec_for_guest(struct spec *spec, const char *container_id);

/* The namespace of a type, as the specification names it ("network"); NULL: the host's. Before
 * spec_for_guest(). */
const Grpc__LinuxNamespace *spec_namespace(const struct spec *spec, const char *type);

/* Value of an annotation, or NULL. */
const char *spec_annotation(const struct spec *spec, const char *key);

/* It stands for its pod, as CRI's engines say by an annotation. */
bool spec_is_sandbox(const struct spec *spec);
/* It is that, or one of the pod's containers, or the pod is of the Sandbox service. */
bool spec_is_of_pod(const struct spec *spec);

/* The process of an exec, as containerd sends it: JSON of the specification's `process`. */
_must_check_ int spec_parse_process(const void *json, size_t len, Grpc__Process **ret_process,
				    struct error *err);

/* What an Update changes, ditto of `linux.resources`: what of it a guest can change. */
_must_check_ int spec_parse_resources(const void *json, size_t len,
				      Grpc__LinuxResources **ret_resources, struct error *err);
