#include "factory/jailer/kept_privileges.h"

#include <linux/capability.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"

struct privilege {
	unsigned number;
	const char *name;
};

#define PRIVILEGE(capability)                                                                      \
	{                                                                                          \
		capability, #capability                                                            \
	}

static const struct privilege kept[] = {
	/* Files: of layers, of the users of bakes and machines, of a machine that runs as root. */
	PRIVILEGE(CAP_CHOWN),
	PRIVILEGE(CAP_DAC_OVERRIDE),
	PRIVILEGE(CAP_FOWNER),
	PRIVILEGE(CAP_FSETID),
	PRIVILEGE(CAP_SETFCAP),
	/* Machines and bakes have users of their own, and fewer capabilities. */
	PRIVILEGE(CAP_SETGID),
	PRIVILEGE(CAP_SETUID),
	PRIVILEGE(CAP_SETPCAP),
	PRIVILEGE(CAP_KILL),
	/* Whose program a process is: what a killed factory left (factory/vm/remains.h). */
	PRIVILEGE(CAP_SYS_PTRACE),
	/* Mounts and namespaces; the user namespaces of machines are then its own. */
	PRIVILEGE(CAP_SYS_ADMIN),
	/* The taps of machines, in network namespaces of theirs (factory/jail/tap.h). */
	PRIVILEGE(CAP_NET_ADMIN),
};

const char *privilege_name(unsigned capability)
{
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		if (kept[i].number == capability)
			return kept[i].name;
	return NULL;
}

/* Only a process with CAP_SETPCAP may: another one has no capability to get back by execve. */
static int drop_from_bounding_set(struct error *err)
{
	for (unsigned cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (!privilege_name(cap) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return error_set_errno(err, errno, "cannot drop capability %u", cap);
	return 0;
}

static bool has(const struct __user_cap_data_struct *data, unsigned capability)
{
	return data[CAP_TO_INDEX(capability)].permitted & CAP_TO_MASK(capability);
}

int privileges_drop(struct error *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct before[_LINUX_CAPABILITY_U32S_3] = {};
	struct __user_cap_data_struct after[_LINUX_CAPABILITY_U32S_3] = {};

	if (syscall(SYS_capget, &header, before) < 0)
		return error_set_errno(err, errno, "cannot read which capabilities there are");
	int r = has(before, CAP_SETPCAP) ? drop_from_bounding_set(err) : 0;
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		unsigned number = kept[i].number;

		if (has(before, number))
			after[CAP_TO_INDEX(number)].permitted |= CAP_TO_MASK(number);
		else
			log_warning(NULL, "has no %s: what needs it will fail", kept[i].name);
	}
	for (size_t i = 0; i < ARRAY_SIZE(after); i++)
		after[i].effective = after[i].permitted;
	if (syscall(SYS_capset, &header, after) < 0)
		return error_set_errno(err, errno, "cannot drop capabilities");
	return 0;
}
