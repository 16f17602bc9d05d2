/* What entering a jail has in common for who makes it (jail.c) and who joins it (jail_join.c). In
 * a child: system calls only; NULL, or what failed, with errno. */
#pragma once

#include <linux/capability.h>
#include <stddef.h>
#include <stdint.h>

/* What files are served with, of its own ids only. SETFCAP: packages unpacked in a container bring
 * files with capabilities along. */
#define JAIL_FILE_CAPABILITIES                                                                     \
	(1U << CAP_CHOWN | 1U << CAP_DAC_OVERRIDE | 1U << CAP_FOWNER | 1U << CAP_FSETID |          \
	 1U << CAP_SETFCAP)

const char *jail_enter_cgroup(const int *doors, size_t count);

/* Has these (a set of bits, below 32) and no others from here on, and no new privileges. */
const char *jail_keep_capabilities(uint32_t kept);

/* Makes Unix sockets from here on, and no others: a network namespace bounds all families but
 * vsock, by which it would be the host to every guest. After jail_keep_capabilities(). */
const char *jail_refuse_sockets(void);
