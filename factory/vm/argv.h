/* The argument vector of a clone's QEMU, derived from that of the template's.
 *
 * A clone restores the template's device state, so its device tree must be the template's to the
 * last id and address: the devices are taken over as they stand, and only what differs between
 * two machines is replaced, by placeholders that are filled in for each clone:
 *
 *   {{memory}}        the guest's RAM; mapped privately (share=off), but for a clone's own copy
 *   {{image}}         the root image; {{images_0}}, ... the carried ones: each memory-backend-file
 *                     in the template's folder gets the placeholder of its name there
 *   {{scratch}} {{slot}}  files of disks (factory/guest/disks.h), found in the same way by
 * -blockdev
 *   {{agent_fd}}      the agent channel: the number of a descriptor that QEMU inherits, a Unix
 *                     socket its parent has bound and listens on, as in
 *                     -chardev socket,id=...,fd={{agent_fd}},server=on,wait=off
 *   {{tap_0}}, ...    the network cards, in order: the number of a tap's descriptor, as in
 *                     -netdev tap,id=...,fd={{tap_0}}
 *   {{vhost_net_0}}, ...  ditto, where the template's have vhost-net, that of a descriptor of
 *                     /dev/vhost-net, as in vhost=on,vhostfd={{vhost_net_0}}
 *   {{guest_cid}}, {{vhost_fd}}  the context id of a vhost-vsock device, and the number of the
 *                     descriptor that has it reserved (factory/vm/guest_cid.h), as in
 *                     -device
 * driver=vhost-vsock-pci,...,guest-cid={{guest_cid}},vhostfd={{vhost_fd}}
 *   {{share_dir}}     the folder the guest reaches as virtio-9p; must exist, with `lower` in it
 *   {{qmp_fd}}        the factory's monitor, ditto a listening socket
 *   {{shim_fd}}       the claimer's monitor, ditto
 *
 * (Descriptors, not paths: the parent can connect at once, before QEMU has even started.)
 *
 * Left out is what belongs to libvirt (its name, monitor, secrets, descriptors) and what only a
 * boot needs: kernel and initramfs are in the guest's memory already, and QEMU would keep both
 * in its heap. A clone starts stopped (-S) and waits for its state (-incoming defer); it ends
 * when its guest resets or powers off.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/strv.h"
#include "factory/vm/placeholder.h"

/* The start of an -object: memory that nobody else maps, and that another process can be given, as
 * the back end of a vhost-user device needs it. */
#define ARGV_OWN_MEMORY "memory-backend-memfd,share=on"

struct argv_template {
	const struct strv *argv;
	const char *dir; /* the template's folder, whose files get placeholders */
	bool copied;     /* a clone's files are its own: it writes to its RAM itself */
};

/* Fills *ret (empty before) with the vector with placeholders. -EINVAL: it is not a machine we
 * could clone, with the reason (RAM that is no file, no agent channel, ...). */
_must_check_ int argv_derive(const struct argv_template *template, struct strv *ret,
			     struct error *err);

/* The vector of a machine that is booted from the same kernel, initramfs and devices, at a size of
 * its own, which stands in further placeholders:
 *
 *   {{vcpus}} {{last_vcpu}}
 *   {{memory_kib}}      RAM, anonymous: private, or (copied) such that another process can have it
 *   {{max_memory_kib}}  RAM and *ret_room_kib for the memory devices
 *
 * What a clone grows by (virtio-mem, spare vCPUs) is left out. template is one that
 * argv_derive() takes. */
_must_check_ int argv_derive_boot(const struct argv_template *template, struct strv *ret,
				  uint64_t *ret_room_kib, struct error *err);

/* All borrowed. */
struct argv_values {
	const struct placeholder *files; /* "memory", "image", "images_0", ... */
	size_t nfiles;
	const char *agent_fd; /* decimal */
	const char *share_dir;
	const char *qmp_fd;
	const char *shim_fd;
	int first_tap_fd; /* of so many taps */
	size_t taps;
	int first_vhost_net_fd;           /* of as many */
	const char *guest_cid, *vhost_fd; /* decimal; NULL where argv_has_vsock() is false */
	/* of a machine that is booted; decimal, else NULL */
	const char *vcpus;
	const char *last_vcpu;
	const char *memory_kib;
	const char *max_memory_kib;
};

/* Fills *ret (empty before) with the vector of one clone. A value may hold any character: it is
 * escaped as the option around it wants (comma doubled, or as JSON). -EINVAL: a placeholder that
 * is not in the list, or one without a value. */
_must_check_ int argv_expand(const struct strv *argv, const struct argv_values *values,
			     struct strv *ret, struct error *err);

/* Whether a derived vector has a vhost-vsock device. */
bool argv_has_vsock(const struct strv *argv);

/* Whether its network cards have vhost-net. */
bool argv_has_vhost_net(const struct strv *argv);

/* The file the template's RAM is in, as its own vector says; the caller frees. */
_must_check_ int argv_memory_path(const struct strv *template_argv, char **ret_path,
				  struct error *err);
