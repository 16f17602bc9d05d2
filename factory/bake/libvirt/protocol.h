/* What the factory and kiln-libvirt, its helper for one bake, say to each other.
 *
 * Requests and replies are packets of JSON on a SOCK_SEQPACKET socket, one at a time:
 *
 *   {"do": "boot", "arguments": {"xml": …}}             -> {"result": {"name": …}}
 *   {"do": "monitor", "arguments": {"execute": …, …}}   -> {"result": QEMU's reply}; with a
 *                                                         descriptor for getfd
 *   {"do": "destroy"}, {"do": "clean"}                  -> {}
 *   any                                                 -> {"error": {"number": …, "message": …}}
 */
#pragma once

enum {
	LIBVIRT_LINK_FD = 3,              /* in the helper */
	LIBVIRT_MESSAGE_MAX = 192 * 1024, /* what a packet can hold by default */
};

/* Libvirt's user and group for QEMU, made by Debian's libvirt-daemon-system. The template's QEMU
 * has the group, and a user of its own (factory/bake/bake_user.h). */
#define BAKE_USER "libvirt-qemu"
