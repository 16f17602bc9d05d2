/* Users and groups from 65536 on, in files that a machine reaches by virtio-9p.
 *
 * A machine's VMM has 65536 ids on the host (factory/jail/jail.h), so it has no number for such an
 * owner. The few that a pod's containers name get one each: a place, which is an id below 65536
 * that nobody gives to users. Between the disk and the guest an owner goes this way:
 *
 *   disk                 1000650000   what the host sees
 *   the mount's mapping                (shim/large_ids.h)
 *   VMM                  61056        the place, an id in its user namespace
 *   library in the VMM                 (factory/preload/large_ids.c)
 *   guest                1000650000   by virtio-9p, whose numbers have 32 bits
 *
 * The guest knows nothing of it. A container's table says which places its mounts have: it is the
 * text of a symbolic link in the container's folder of the share, of eight hexadecimal digits for
 * each place, and is never changed. Where there is none, nothing is translated, neither by the
 * mounts nor by the library.
 *
 * The places of a container with a table are not to be had as owners: on its mounts files of the
 * ids 61056 to 61183 are nobody's.
 */
#pragma once

/* Of what systemd's list of uids and gids has as unused, 60578 to 61183, and without any that
 * Debian has given out (base-passwd). */
#define LARGE_IDS_FIRST 61056u
#define LARGE_IDS_MAX   128u /* in one machine; a mapping in /proc/PID/uid_map is a page at most */

/* No container has a name like this. */
#define LARGE_IDS_LINK   ".ids"
#define LARGE_IDS_DIGITS 8u

/* What the library finds in its environment: the machine's share. */
#define LARGE_IDS_ENV "KILN_SHARE"
