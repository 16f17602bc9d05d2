/* A machine booted cold: the baseline of everything.
 *
 * It is the machine that the factory boots where no template fits a claim (boot_argv of the
 * manifest, factory/store/template.h), at the template's own size; QEMU is started directly,
 * without libvirt. So the comparison is with the fastest boot of the same guest that we know: the
 * same kernel, root image and devices, without those by which a clone can grow. The time ends with
 * the agent's first answer.
 *
 * Its folder is below $TMPDIR (/dev/shm where that is not set).
 */
#pragma once

#include "bench/bench.h"
#include "proto/ttrpc_client.h"

/* Boots the machine of the factory's template; *ret_ns is from before QEMU is started to the
 * agent's answer. */
_must_check_ int booted_new(struct bench *bench, const char *factory, struct booted **ret_booted,
			    uint64_t *ret_ns, struct error *err);
/* Boots the same machine with another initramfs, words added to its kernel parameters, and a disk
 * (virtio-blk, a raw file that is written to); returns when the machine has ended itself. */
_must_check_ int booted_run(struct bench *bench, const char *factory, const char *initrd,
			    const char *parameters, const char *disk, struct error *err);
/* Kills it and removes its folder. */
void booted_free(struct booted *booted);
DEFINE_CLEANUP(struct booted *, booted_free)
/* All there are: for the end by a signal, which nothing else of the run survives. */
void booted_free_all(struct bench *bench);

struct ttrpc_client *booted_agent(struct booted *booted);
pid_t booted_pid(const struct booted *booted);
