#include "factory/daemon/privileges.h"

#include <grp.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/log.h"
#include "base/memory.h"

enum { GROUPS_MAX = 2 };

/* As who runs a QEMU that uses KVM would; which one the factory asks whether it can be used. Where
 * the device is not there yet, the group that udev will give it to. */
static gid_t group_of_kvm(void)
{
	struct stat st;

	if (stat("/dev/kvm", &st) == 0 && (st.st_mode & 060) == 060)
		return st.st_gid;
	const struct group *kvm = getgrnam("kvm");
	return kvm ? kvm->gr_gid : 0;
}

static int become(const struct keeper *keeper, gid_t also, struct error *err)
{
	gid_t kvm = group_of_kvm(), groups[GROUPS_MAX];
	size_t ngroups = 0;

	if (also != 0)
		groups[ngroups++] = also;
	if (kvm != 0 && kvm != also)
		groups[ngroups++] = kvm;
	if (setgroups(ngroups, groups) < 0 ||
	    setresgid(keeper->gid, keeper->gid, keeper->gid) < 0 ||
	    setresuid(keeper->uid, keeper->uid, keeper->uid) < 0)
		return error_set_errno(err, errno, "cannot become the user %u", keeper->uid);
	return 0;
}

/* What execve would give back to root as well. */
static int drop_bounding_set(struct error *err)
{
	for (unsigned cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return error_set_errno(err, errno, "cannot drop capability %u", cap);
	return 0;
}

int privileges_give_up(const struct keeper *keeper, gid_t also, struct error *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
	struct __user_cap_data_struct has[_LINUX_CAPABILITY_U32S_3] = {};
	int r = geteuid() == 0 ? drop_bounding_set(err) : 0;

	if (r == 0 && geteuid() == 0 && keeper->uid != 0)
		r = become(keeper, also, err);
	if (r < 0)
		return r;
	/* Who has none may be forbidden to ask (SystemCallFilter=). */
	r = (int)syscall(SYS_capget, &header, has);
	if (r == 0 && memcmp(has, none, sizeof(none)) != 0)
		r = (int)syscall(SYS_capset, &header, none);
	if (r < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_set_errno(err, errno, "cannot give up privileges");
	return 0;
}

int privileges_shut_in(const char *run_dir, uint16_t tcp_port, struct error *err)
{
	bool done;
	int r = confine_writes(run_dir, tcp_port, &done, err);

	if (r == 0 && !done)
		log_info(NULL, "the kernel has no Landlock: writes wherever its user may");
	return r < 0 ? r
		     : confine_calls(CONFINE_HOST | CONFINE_PROCESSES | CONFINE_CORNERS |
					     CONFINE_MOUNTS,
				     err);
}
