/* Modules of the guest's kernel, which are files of its root image, in /lib/modules/kiln.
 *
 * Those in the list "load" are loaded at boot. The others are there for who asks the kernel for
 * what they bring: a protocol of sockets, a device, a kind of interface, a rule of a firewall. The
 * kernel then runs /sbin/modprobe, as root and outside of all containers, and waits for its end;
 * that is a link to kiln-agent. It learns from the table "aliases" what to load, a line for each
 * name by which the kernel may ask (templates/build-image writes it):
 *
 *   net_pf_2_proto_132 udp_tunnel.ko ip6_udp_tunnel.ko sctp.ko         PATTERN FILE...
 *
 * The pattern is one of fnmatch(3), in which '-' is written as '_'. The files are in the order of
 * loading: the module and, before it, all that it needs and that is not loaded at boot. A file's
 * options follow it: "dummy.ko:numdummies=0".
 *
 * The name is the one thing that comes from a container, which decides by its system calls what is
 * asked for. It is compared with the patterns, and is no part of a path. So a container can load
 * what the table has, and nothing else.
 *
 * Source: kernel/module/kmod.c of Linux 6.1 (call_modprobe): "modprobe -q -- NAME".
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

/* Longer names match nothing. The kernel's are at most 55 bytes. */
#define MODULE_ALIAS_MAX 255

/* Once, at the boot of the guest. What fails is logged. */
void modules_load_listed(void);

/* Loads what the table has by this name; what is loaded already is fine. Returns the number of
 * files that it takes, 0 where the table has no such name. */
_must_check_ int modules_load(const char *alias, struct error *err);

/* For a container that may set up a firewall. iptables-legacy asks for its tables by a socket
 * option, which the kernel loads nothing for: it counts on its host to have the modules. Where they
 * cannot be loaded, that program will say so. For the child: it logs nothing. */
void modules_load_iptables(void);

/* A file of /lib/modules/kiln, and the options of its module ("": none); negative ends the look-up,
 * with this error. */
typedef int (*module_fn)(const char *file, const char *options, void *userdata);

/* The files of all lines of the table whose pattern matches, in their order; one may come twice.
 * Returns their number. */
_must_check_ int modules_find(const char *table, const char *alias, module_fn fn, void *userdata);

/* Whether this is not the agent but what the kernel runs: by argv[0]. */
bool modules_is_program(const char *name);

/* The program; returns its exit status. What cannot be loaded is a line of the kernel's log. */
int modules_program(int argc, const char *const *argv);
