/* The template machine: templates/machine.xml (or the user's own) with its placeholders filled
 * in, ready for libvirt. Values are escaped for XML.
 *
 *   {{domain_type}}     "qemu" or "kvm"
 *   {{cpu_mode}}        "maximum" or "host-passthrough"
 *   {{fast_strings}}    policy of the features that make a kernel clear and copy by bytes (erms,
 *                       fsrm): "disable" under emulation, where each byte is a turn of a loop,
 *                       else "optional": as the host has them
 *   {{name}} {{uuid}} {{genid}}
 *   {{emulator}}        QEMU's binary
 *   {{vcpus}} {{last_vcpu}}             the spare ones included: they boot with the others
 *   {{memory_kib}} {{max_memory_kib}}   guest RAM, and with room for all images and what is
 *                       added later
 *   {{memory_device}}   in <qemu:commandline>, before other memory devices: the virtio-mem by
 *                       which memory is added, at size 0; nothing where none can be
 *   {{kernel}} {{initrd}} {{kernel_params}}
 *   {{image}} {{image_bytes}}           root image (EROFS): the template's own copy of it
 *   {{image_option}}    its path with commas doubled, for an option of QEMU's
 *   {{agent_socket}}    Unix socket of the agent channel (port org.kiln.agent.0)
 *   {{image_devices}}   <qemu:arg> elements for the images that are carried
 * (factory/store/carried.h): a memory-backend-file and a virtio-pmem device each; no text without
 *                       images
 *   {{volumes_port}}    the same for the port that a device for volumes is plugged into
 *                       (factory/guest/guest_volumes.h); no text where memory is shared. A machine
 *                       may do without it, and then has no such volumes
 *   {{network_cards}}   <interface> elements in <devices> (factory/guest/network_cards.h); they are
 *                       frozen with their link down
 *   {{vsock}}           a <vsock> element in <devices> where the channel is vsock, else nothing; a
 *                       machine may do without it, and is then reached by the port only
 *   {{free_page_reporting}}   the same for the device by which a guest gives back what it has freed
 *   {{disks}}           the same for the scratch disk and the slots (factory/guest/disks.h)
 *   {{share_dir}}       folder of the virtio-9p share (tag kilnShared); `lower` in it is another
 *                       one (tag kilnLower), read-only
 *   {{console_log}}     file the serial console goes to
 *
 * Spare vCPUs are announced to the agent on the kernel's command line (factory/vm/growth.h),
 * which takes them offline before the template is frozen.
 *
 * The uuid follows from the template's id, since a clone has it too: it names no machine.
 */
#pragma once

#include "factory/store/template.h"

#define MACHINE_SHORT_ID 12 /* digits of a template's id in its domain's name */

/* All borrowed. */
struct machine_options {
	const struct template_definition *definition;
	const struct template_host *host;
	const char *id;
	const char *dir;   /* the template's folder, with its copies of the carried images */
	const char *image; /* the template's own copy */
	const char *agent_socket;
	const char *share_dir;
	const char *console_log;
};

/* Reads definition->machine; the caller frees *ret_xml. */
_must_check_ int machine_xml(const struct machine_options *options, char **ret_xml,
			     struct error *err);
