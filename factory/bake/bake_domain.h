/* The template's virtual machine while it is baked: a transient libvirt domain.
 *
 * Every call blocks: worker threads only, one call at a time for one domain. libvirt is spoken to
 * by a process of its own, kiln-libvirt, one for each bake (factory/bake/libvirt_link.h).
 *
 * QEMU is a user of its own (factory/bake/bake_user.h), to whom the caller has opened what the
 * machine is made of; with a libvirt of the host's, whom that one says.
 *
 * By default libvirt's embedded driver is used: it runs inside that process, and all it keeps
 * is below RUN_DIR/libvirt: its configuration, written here; run/qemu/NAME.pid of each running
 * domain, by which bake_clean() finds what a killed factory left; its cache of what QEMU can
 * do, which takes seconds to make. It has a lock: one bake at a time below one RUN_DIR.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/strv.h"

struct bake_domain;

/* All borrowed. */
struct bake_domain_options {
	const char *run_dir;
	const char *store;       /* guest RAM is a file on its file system */
	const char *libvirt_uri; /* NULL: embedded */
	bool kvm;                /* the machine uses it */
	uint32_t first_uid;      /* of the machines' ranges; 0: none */
	size_t network_cards;    /* of the machine (factory/guest/network_cards.h) */
};

/* Defines and boots the machine. -ENOENT: libvirt or QEMU is not installed, with the package's
 * name. On failure nothing is left running. */
_must_check_ int bake_domain_boot(const struct bake_domain_options *options, const char *xml,
				  struct bake_domain **ret, struct error *err);

pid_t bake_domain_pid(const struct bake_domain *domain);
/* QEMU's own argument vector. Valid as long as the domain. */
const struct strv *bake_domain_argv(const struct bake_domain *domain);

/* Takes the network cards' links down, waits until QEMU has seen that nobody is
 * connected to the agent channel any more and the guest has calmed down (at most some seconds),
 * then stops the vCPUs for good. */
_must_check_ int bake_domain_stop(struct bake_domain *domain, struct error *err);

/* Writes the state of all devices to fd (borrowed), RAM left out. Only after stop. */
_must_check_ int bake_domain_save(struct bake_domain *domain, int fd, struct error *err);

/* Kills QEMU and the helper from any thread, so that a call that waits for them fails. */
void bake_domain_kill(struct bake_domain *domain);

/* Destroys the machine and waits for its end. NULL does nothing. */
void bake_domain_free(struct bake_domain *domain);

/* Destroys every domain of ours that the libvirt at libvirt_uri (not NULL) knows. */
_must_check_ int bake_domain_clean(const struct bake_domain_options *options, struct error *err);
