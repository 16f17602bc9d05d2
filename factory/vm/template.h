/* What a template is made of, and what baking made of it.
 *
 * A definition is a JSON file written by a person (templates/default.json): kernel, initramfs,
 * root image, machine, size. Its id is the SHA-256 over the content of all of that, QEMU's
 * version, the accelerator, the host CPU's model and the agent protocol's version: another
 * input is another template, so nothing stale is ever cloned.
 *
 * A manifest is what the bake leaves in STORE/templates/ID/: template.json, written last, next
 * to `memory` and `state`. A folder without a valid manifest is no template. Everything in it
 * is checked when it is loaded (sizes and digest of `state`, size of `memory`, the digests of
 * the manifest itself), since a file can be truncated or edited behind our back.
 */
#pragma once

#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/strings.h"
#include "base/strv.h"

enum accelerator { ACCELERATOR_TCG, ACCELERATOR_KVM };
DECLARE_STRING_TABLE(accelerator, enum accelerator); /* "tcg", "kvm" */

/* All strings owned. Paths are absolute; in the file they may be relative to its folder. */
struct template_definition {
	char *name;
	char *kernel;
	char *initrd;
	char *image;   /* EROFS root, its size a multiple of 2 MiB (virtio-pmem) */
	char *machine; /* libvirt domain XML with {{placeholders}} */
	char *kernel_params;
	uint64_t vcpus;
	uint64_t memory_mib;
	uint64_t boot_timeout_s;
	uint64_t pool_size;
};

/* Reads and checks a definition, including that its files exist: a missing one is named with
 * the command that makes it (`make image`). */
_must_check_ int template_definition_load(const char *path, struct template_definition **ret,
					  struct error *err);
void template_definition_free(struct template_definition *definition);
DEFINE_CLEANUP(struct template_definition *, template_definition_free)

/* Facts of this host that are part of a template's id. */
struct template_host {
	enum accelerator accelerator;
	char *qemu_binary;  /* owned */
	char *qemu_version; /* owned; first line of --version */
	char *cpu_model;    /* owned; /proc/cpuinfo */
};

/* accel: "auto", "tcg" or "kvm". auto takes KVM only where /proc/cpuinfo has vmx or svm and
 * /dev/kvm opens. -ENOENT names a missing QEMU and its package. Blocks (runs QEMU once). */
_must_check_ int template_host_probe(const char *qemu_binary, const char *accel,
				     struct template_host *ret_host, struct error *err);
void template_host_done(struct template_host *host);

/* Blocks: reads all inputs. */
_must_check_ int template_id(const struct template_definition *definition,
			     const struct template_host *host, char ret_id[static DIGEST_HEX_SIZE],
			     struct error *err);

struct template_manifest {
	char id[DIGEST_HEX_SIZE];
	char *name;
	char *dir; /* STORE/templates/ID */
	char *agent_version;
	char *qemu_binary;
	enum accelerator accelerator;
	struct strv argv; /* of a clone's QEMU, with {{placeholders}}; see factory/vm/argv.h */
	uint64_t vcpus;
	uint64_t memory_bytes;           /* guest RAM */
	uint64_t memory_allocated_bytes; /* of it after punching zero pages */
	uint64_t state_bytes;
	char state_digest[DIGEST_HEX_SIZE];
	uint64_t baked_at; /* seconds since the epoch */
	uint64_t boot_ms;  /* VMM start to the agent's first answer */
	uint64_t bake_ms;  /* all of it */
};

/* Loads STORE/templates/ID. -ENOENT: there is none; -EBADMSG: there is one that cannot be
 * trusted, with what is wrong. */
_must_check_ int template_manifest_load(const char *store, const char *id,
					struct template_manifest **ret, struct error *err);
/* Writes template.json into manifest->dir, atomically. */
_must_check_ int template_manifest_store(const struct template_manifest *manifest,
					 struct error *err);
void template_manifest_free(struct template_manifest *manifest);
DEFINE_CLEANUP(struct template_manifest *, template_manifest_free)

/* Removes STORE/templates/ID, the manifest first. Running clones keep what they have mapped. */
_must_check_ int template_remove(const char *store, const char *id, struct error *err);
