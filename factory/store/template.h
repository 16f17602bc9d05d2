/* What a template is made of, and what baking made of it.
 *
 * A definition is a JSON file written by a person (templates/default.json): kernel, initramfs,
 * root image, machine, size. Its inputs (factory/store/template_inputs.h) are the content of all
 * of that, QEMU's version, the accelerator, the host's kernel and CPU model and the agent
 * protocol's version; the template's id is the SHA-256 over its name and them.
 *
 * A manifest is what the bake leaves in STORE/templates/ID/: template.json, written last, next
 * to `memory`, `state`, `image`, `images/N`, `scratch` and `slot`. A folder without a valid
 * manifest is no template. Everything in it is checked when it is loaded (sizes and digest of
 * `state`, size of `memory`, the digests of the manifest itself), since a file can be truncated or
 * edited behind our back. The digests of `memory` and the images take a while and are compared by
 * template_verify().
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <sys/types.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/strings.h"
#include "base/strv.h"
#include "factory/guest/carried_device.h"
#include "factory/store/pool_policy.h"
#include "factory/store/size.h"
#include "factory/store/template_inputs.h"

enum accelerator { ACCELERATOR_TCG, ACCELERATOR_KVM };
DECLARE_STRING_TABLE(accelerator, enum accelerator); /* "tcg", "kvm" */

/* How a machine's agent is reached: by a virtio-serial port, which has one connection; or by vsock
 * beside it (factory/vm/guest_cid.h). */
enum channel { CHANNEL_SERIAL, CHANNEL_VSOCK };
DECLARE_STRING_TABLE(channel, enum channel); /* "serial", "vsock" */

/* What becomes of a template whose inputs are not what it was baked from any more. */
enum on_stale { ON_STALE_KEEP, ON_STALE_REBUILD };
DECLARE_STRING_TABLE(on_stale, enum on_stale); /* "keep", "rebuild" */

/* All strings owned. Paths are absolute; in the file they may be relative to its folder. */
struct template_definition {
	char *path; /* of the file itself */
	char *name;
	char *kernel;
	char *initrd;
	char *image;   /* EROFS root, its size a multiple of 2 MiB (virtio-pmem) */
	char *machine; /* libvirt domain XML with {{placeholders}} */
	char *kernel_params;
	uint64_t vcpus;
	uint64_t memory_mib;
	uint64_t spare_vcpus;    /* boot with the template and wait offline in its machines */
	uint64_t max_memory_mib; /* to which a machine can grow; memory_mib where it cannot */
	uint64_t scratch_mib; /* factory/guest/disks.h; 0: what containers write is guest memory */
	uint64_t block_slots; /* ditto */
	uint64_t dax_windows; /* factory/guest/dax_window.h; none where nothing is shared */
	uint64_t dax_window_mib;  /* of each */
	uint64_t network_cards;   /* factory/guest/network_cards.h */
	bool free_page_reporting; /* what a guest has freed goes back to the host */
	char *annotations;        /* factory/store/annotations.h */
	uint64_t ttl_s, idle_s;   /* of a sandbox, shim/lifetime.h; 0: the shim's settings alone */
	uint64_t boot_timeout_s;
	uint64_t pool_size;
	struct pool_policy pool;
	int on_stale;       /* enum on_stale */
	int share;          /* enum template_share */
	bool debug_console; /* the guest lets the host's operator in (agent/console.h) */
	char *memory_dir; /* where `memory` is kept (factory/bake/memory_place.h); "": in the store
			   */
	struct carried images;
};

/* Reads and checks a definition, including that its files exist: a missing one is named with
 * the command that makes it (`make image`). */
_must_check_ int template_definition_load(const char *path, struct template_definition **ret,
					  struct error *err);
void template_definition_free(struct template_definition *definition);
DEFINE_CLEANUP(struct template_definition *, template_definition_free)
/* Of the guest's kernel, as its template is baked. The caller frees. */
char *template_kernel_params(const struct template_definition *definition);
/* The keys as a Markdown table, but for the objects "pool" and "images". */
void template_definition_print(FILE *out);

struct cpu_facts {
	bool virtualization; /* vmx or svm */
	char *model;         /* owned: name, and a short digest of the flags */
};

/* Reads the text of /proc/cpuinfo; never fails, for the model is only compared. */
void cpu_facts_parse(const char *cpuinfo, struct cpu_facts *ret);

/* Facts of this host that are part of a template's id, and why it is not a faster one. */
struct template_host {
	enum accelerator accelerator;
	enum channel channel;
	bool vhost_net;      /* the host's kernel moves packets of machines: factory/jail/tap.h */
	bool virtualization; /* the processor has vmx or svm */
	char *kvm_obstacle;  /* owned; why "auto" does not take KVM though the processor has it, or
				NULL */
	char *qemu_binary;   /* owned */
	char *qemu_version;  /* owned; first line of --version */
	struct input_stamp qemu_stamp; /* of the binary that said it */
	char *cpu_model;               /* owned; /proc/cpuinfo */
	char *kernel_release;          /* owned; uname -r */
};

/* What is configured; borrowed. accelerator: "auto", "tcg" or "kvm". auto takes KVM only where
 * /proc/cpuinfo has vmx or svm and /dev/kvm opens, also for others than root. channel: "auto",
 * "vsock" or "serial"; auto takes vsock where the module vhost_vsock is loaded. vhost_net: "auto",
 * "yes" or "no", ditto of the module vhost_net; with KVM only. */
struct template_host_choice {
	const char *accelerator, *channel, *vhost_net;
};

/* -ENOENT names a missing QEMU and its package. Blocks (runs QEMU once). */
_must_check_ int template_host_probe(const char *qemu_binary,
				     const struct template_host_choice *choice,
				     struct template_host *ret_host, struct error *err);
/* Chooses again, on a host that was probed: a module that is loaded or a device that got another
 * group since makes a difference. */
_must_check_ int template_host_choose(struct template_host *host,
				      const struct template_host_choice *choice, struct error *err);
/* Ditto, and asks QEMU again where another program is called so now. Blocks. */
_must_check_ int template_host_refresh(struct template_host *host, const char *qemu_binary,
				       const struct template_host_choice *choice,
				       struct error *err);
void template_host_done(struct template_host *host);
void template_host_copy(const struct template_host *host, struct template_host *ret_copy);

struct template_manifest {
	char id[DIGEST_HEX_SIZE];
	unsigned generation; /* 0 or 1, see template_inputs_id() */
	struct template_inputs inputs;
	char *name;
	char *dir;    /* STORE/templates/ID */
	char *memory; /* the file of the guest's RAM: `memory` in dir, or in the memory_dir */
	char *agent_version;
	char *qemu_binary;
	enum accelerator accelerator;
	struct strv argv; /* of a clone's QEMU, with {{placeholders}}; see factory/vm/argv.h */
	/* Of a machine booted from it: likewise, with the placeholders of a size. Room for memory
	 * devices beyond its RAM. */
	struct strv boot_argv;
	uint64_t boot_room_kib;
	uint64_t vcpus;
	uint64_t spare_vcpus;
	uint64_t max_memory_mib;           /* at least memory_bytes */
	uint64_t block_slots;              /* factory/guest/disks.h */
	uint64_t dax_windows;              /* factory/guest/dax_window.h */
	uint64_t dax_window_bytes;         /* of each */
	uint64_t network_cards;            /* factory/guest/network_cards.h */
	uint64_t scratch_bytes;            /* size of `scratch`; 0: there is none */
	uint64_t memory_bytes;             /* guest RAM */
	uint64_t memory_before_trim_bytes; /* what it took up before the guest trimmed itself */
	uint64_t memory_allocated_bytes;   /* and after */
	uint64_t state_bytes;
	uint64_t image_bytes;
	char memory_digest[DIGEST_HEX_SIZE];
	char state_digest[DIGEST_HEX_SIZE];
	char image_digest[DIGEST_HEX_SIZE];   /* of the copy in the store */
	char scratch_digest[DIGEST_HEX_SIZE]; /* "": there is none */
	uint64_t baked_at;                    /* seconds since the epoch */
	uint64_t boot_ms;                     /* VMM start to the agent's first answer */
	uint64_t bake_ms;                     /* all of it */
};

/* The size of its machines, and what they can grow to. */
struct vm_size template_size(const struct template_manifest *manifest);
struct vm_size template_max_size(const struct template_manifest *manifest);
const char *template_annotations(const struct template_manifest *manifest);

/* How many times as long as usual things of its machines may take on this host: 1 where the guest
 * of the bake was up within TEMPLATE_USUAL_BOOT_MS, else as many times as it took longer. That is
 * what two slow cores need that emulate; a machine of its own takes a second or two. */
#define TEMPLATE_USUAL_BOOT_MS 10000
#define TEMPLATE_PATIENCE_MAX  20
unsigned template_patience(const struct template_manifest *manifest);

/* Loads STORE/templates/ID. -ENOENT: there is none; -EBADMSG: there is one that cannot be
 * trusted, with what is wrong; -EPROTONOSUPPORT: one of another version of FORMAT_TEMPLATE
 * (base/format.h). Its keys are strict: another key is another version. "format" (the version),
 * "id" and "name" are the same in all of them. */
_must_check_ int template_manifest_load(const char *store, const char *id,
					struct template_manifest **ret, struct error *err);
/* Writes template.json into manifest->dir, atomically. */
_must_check_ int template_manifest_store(const struct template_manifest *manifest,
					 struct error *err);
void template_manifest_free(struct template_manifest *manifest);
DEFINE_CLEANUP(struct template_manifest *, template_manifest_free)

/* As root: what in a template's folder is not for clones, which are all other users, is for the
 * factory, by this group. */
_must_check_ int template_open(const char *dir, gid_t group, struct error *err);
bool template_id_is_valid(const char *id); /* 64 hex digits */

/* Whether the clones of a template have copies of their own of its files. */
bool template_is_copied(const struct template_manifest *manifest);

/* Where the RAM of a template is kept; memory_dir "": in its folder. The caller frees. */
char *template_memory_path(const char *dir, const char *memory_dir, const char *id);

/* Removes STORE/templates/ID, and the memory that is kept elsewhere (in its folder `memory` is a
 * link to it then, made before the file). Running clones keep what they have mapped. Where it fails
 * it is no template any more all the same, and the two below remove the rest. */
_must_check_ int template_remove(const char *store, const char *id, struct error *err);

/* Removes all templates of this name but the one with the id `keep` (NULL: but none), those that
 * cannot be loaded among them, and what is left of any that could not be removed before. Blocks. */
_must_check_ int template_remove_others(const char *store, const char *name, const char *keep,
					struct error *err);
/* The latter alone. */
_must_check_ int template_remove_left(const char *store, struct error *err);

/* One file of a template, compared with the digest in the manifest. */
struct template_check {
	char *file; /* owned: "memory", "state", "image", "scratch", "image NAME" */
	uint64_t bytes;
	char expected[DIGEST_HEX_SIZE];
	char found[DIGEST_HEX_SIZE]; /* "" where it cannot be read */
	char *problem;               /* owned; NULL: it is what was baked */
};
#define TEMPLATE_CHECKS_MAX (4 + CARRIED_MAX)

/* Blocks: reads all files of the template. Returns how many there are. */
size_t template_verify(const struct template_manifest *manifest,
		       struct template_check ret_checks[static TEMPLATE_CHECKS_MAX]);
void template_checks_done(struct template_check *checks, size_t count);
