#include "factory/client/jail_join.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include "base/file.h"
#include "factory/jail/jail_priv.h"
#include "factory/vm/journal.h"

#define CAPABILITIES                                                                               \
	(JAIL_FILE_CAPABILITIES | 1U << CAP_SETUID | 1U << CAP_SETGID | 1U << CAP_MKNOD |          \
	 1U << CAP_SYS_CHROOT | 1U << CAP_SETPCAP)

int jail_join_init(struct jail_join *join, const char *run_dir, const char *vm_id, int vmm_pidfd,
		   struct error *err)
{
	struct journal_entry entry = {};
	int r = journal_read(run_dir, vm_id, &entry, err);

	*join = (struct jail_join){ .vmm_pidfd = vmm_pidfd };
	if (r == 0 && entry.uid == 0)
		r = error_set(err, EOPNOTSUPP,
			      "machines are shut in nothing here (\"uid_first\": 0)");
	if (r == 0 && entry.cgroup)
		r = cgroup_open(entry.cgroup, join->doors, &join->ndoors, err);
	journal_entry_done(&entry);
	return r;
}

void jail_join_done(struct jail_join *join)
{
	for (size_t i = 0; i < join->ndoors; i++)
		close_fd(join->doors[i]);
	join->ndoors = 0;
}

/* virtiofsd reads a file of /proc/sys, which the VMM's /proc has not. Of other processes there is
 * nothing here either, and nothing can be written to. */
static const char *mount_proc(void)
{
	const unsigned long flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;

	if (unshare(CLONE_NEWNS) < 0 ||
	    mount("proc", "/proc", "proc", flags, "hidepid=invisible") < 0)
		return "cannot mount its /proc";
	return NULL;
}

/* The user namespace last: entering the others takes rights over the host's, which own them. */
static const char *enter_namespaces(int vmm_pidfd)
{
	if (setns(vmm_pidfd, CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
		return "cannot enter the namespaces of the machine's VMM";

	const char *what = mount_proc();

	if (what)
		return what;
	if (syscall(SYS_setgroups, 0, NULL) < 0)
		return "cannot leave its groups";
	if (setns(vmm_pidfd, CLONE_NEWUSER) < 0)
		return "cannot enter the user namespace of the machine's VMM";
	if (syscall(SYS_setresgid, 0, 0, 0) < 0 || syscall(SYS_setresuid, 0, 0, 0) < 0)
		return "cannot take the machine's user ids";
	return NULL;
}

int jail_join_enter(void *data, const char **ret_what)
{
	const struct jail_join *join = data;
	const char *what = jail_enter_cgroup(join->doors, join->ndoors);

	if (!what)
		what = enter_namespaces(join->vmm_pidfd);
	if (!what)
		what = jail_keep_capabilities(CAPABILITIES);
	if (!what)
		what = jail_refuse_sockets();
	if (!what)
		return 0;
	*ret_what = what;
	return -errno;
}
