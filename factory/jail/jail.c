#include "factory/jail/jail.h"

#include <assert.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "base/strv.h"
#include "factory/base/layout.h"
#include "factory/jail/cgroup.h"
#include "factory/jail/jail_priv.h"

#define ROOT_OPTIONS "size=256k,mode=0755" /* holds mount points only */
/* virtio-9p looks at its own descriptors there; of other processes there is nothing. */
#define PROC_OPTIONS "hidepid=invisible,subset=pid"

#define KEPT_CAPABILITIES JAIL_FILE_CAPABILITIES

enum { ENTRIES_MAX = 32 };

enum { X32_CALLS = 0x40000000 }; /* added to the numbers of an ABI that shares the architecture */

/* Descriptors of the VMM. virtio-9p closes files that are not in use as it gets near, and opens
 * them again: a guest may have more open than this, or gets EMFILE. */
enum { FILES_MAX = 16384 };

/* Something of the host that is in the root as well, under the same name. */
struct entry {
	char *path;
	char *link; /* what it points to, for a symbolic link: that is made again */
	bool folder;
	uint64_t attributes; /* MOUNT_ATTR_* */
	int tree;            /* in the child: a copy of the mount, attached nowhere yet */
};

struct jail {
	char *dir;
	struct entry entries[ENTRIES_MAX];
	size_t nentries;
	int cgroup_doors[CGROUP_DOORS];
	size_t ndoors;
	const struct taps *taps; /* borrowed */
	uint32_t uid;
	gid_t groups[1]; /* as the host counts */
	size_t ngroups;
	int parent_end, child_end; /* a byte each way: namespace made, ids written */
};

void jail_free(struct jail *jail)
{
	for (size_t i = 0; i < jail->nentries; i++) {
		free(jail->entries[i].path);
		free(jail->entries[i].link);
	}
	close_fd(jail->parent_end);
	close_fd(jail->child_end);
	for (size_t i = 0; i < jail->ndoors; i++)
		close_fd(jail->cgroup_doors[i]);
	free(jail->dir);
	free(jail);
}

/* ---------------------------------------------------------------- what is in the root */

/* In a folder that is in the root, as our libraries are where they were installed below /usr/lib.
 */
static bool is_there(const struct jail *jail, const char *path)
{
	for (size_t i = 0; i < jail->nentries; i++) {
		const struct entry *entry = &jail->entries[i];
		const char *rest = entry->folder ? str_after(path, entry->path) : NULL;
		if (rest && *rest == '/')
			return true;
	}
	return false;
}

/* What is not on this host is left out: QEMU says best what it misses. */
static void add_entry(struct jail *jail, const char *path, uint64_t attributes)
{
	char target[PATH_MAX];
	struct stat st;

	if (lstat(path, &st) < 0 || is_there(jail, path))
		return;
	assert(jail->nentries < ENTRIES_MAX);
	struct entry *entry = &jail->entries[jail->nentries++];
	*entry = (struct entry){ .path = xstrdup(path),
				 .folder = S_ISDIR(st.st_mode),
				 .attributes = attributes };
	if (!S_ISLNK(st.st_mode))
		return;
	ssize_t len = readlink(path, target, sizeof(target) - 1);
	entry->link = xstrndup(target, len > 0 ? (size_t)len : 0);
}

static void add_program(struct jail *jail, const char *qemu_binary)
{
	static const char *const with_system[] = { "/lib", "/lib64", "/usr/lib", "/usr/lib64",
						   "/etc/ld.so.cache" };
	static const char *const with_qemu[] = { "lib", "lib64", "share/qemu", "share/seabios" };
	const uint64_t attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
	char real[PATH_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(with_system); i++)
		add_entry(jail, with_system[i], attributes);
	add_entry(jail, qemu_binary, attributes);
	if (!realpath(qemu_binary, real))
		return;
	if (!str_equal(real, qemu_binary))
		add_entry(jail, real, attributes);
	_cleanup_free_ char *bin = xstrdup(real);
	const char *prefix = dirname(dirname(bin));
	for (size_t i = 0; i < ARRAY_SIZE(with_qemu); i++) {
		_cleanup_free_ char *path = path_join(prefix, with_qemu[i]);
		if (!str_equal(prefix, "/usr") || str_after(with_qemu[i], "share"))
			add_entry(jail, path, attributes);
	}
}

/* A file that may be a link; NULL is nothing. */
static void add_file(struct jail *jail, const char *path, uint64_t attributes)
{
	char real[PATH_MAX];

	if (!path || !realpath(path, real))
		return;
	add_entry(jail, path, attributes);
	if (!str_equal(real, path))
		add_entry(jail, real, attributes);
}

static void add_devices(struct jail *jail, bool kvm)
{
	const uint64_t attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
	struct stat st;

	add_entry(jail, "/dev/null", attributes);
	add_entry(jail, "/dev/urandom", attributes);
	if (!kvm || stat("/dev/kvm", &st) < 0)
		return;
	add_entry(jail, "/dev/kvm", attributes);
	if (st.st_mode & S_IWGRP)
		jail->groups[jail->ngroups++] = st.st_gid;
}

static void add_libraries(struct jail *jail, const struct strv *libraries)
{
	const uint64_t attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;

	for (size_t i = 0; i < libraries->count; i++)
		add_entry(jail, libraries->items[i], attributes);
}

int jail_new(const struct jail_options *options, struct jail **ret_jail, struct error *err)
{
	const uint64_t data = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return error_set_errno(err, errno, "cannot make a socket pair");
	_cleanup_(jail_free_cleanup) struct jail *jail = xnew(struct jail);
	jail->parent_end = ends[0];
	jail->child_end = ends[1];
	jail->dir = xstrdup(options->dir);
	jail->uid = options->uid;
	jail->taps = options->taps;
	add_program(jail, options->qemu_binary);
	add_devices(jail, options->kvm);
	if (options->template_dir)
		add_entry(jail, options->template_dir, data | MOUNT_ATTR_RDONLY);
	add_file(jail, options->kernel, data | MOUNT_ATTR_RDONLY);
	add_file(jail, options->initrd, data | MOUNT_ATTR_RDONLY);
	add_entry(jail, options->share_dir, data);
	add_file(jail, options->memory, data | MOUNT_ATTR_RDONLY);
	add_libraries(jail, options->libraries);
	int r = 0;
	if (options->cgroup)
		r = cgroup_open(options->cgroup, jail->cgroup_doors, &jail->ndoors, err);
	if (r == 0)
		*ret_jail = steal_ptr(jail);
	return r;
}

int jail_share_make(const char *share_dir, struct error *err)
{
	if (mount(share_dir, share_dir, NULL, MS_BIND, NULL) < 0)
		return error_set_errno(err, errno, "cannot mount the share %s", share_dir);
	/* First private: the folder around it may be shared with other namespaces. */
	if (mount(NULL, share_dir, NULL, MS_PRIVATE, NULL) < 0 ||
	    mount(NULL, share_dir, NULL, MS_SHARED, NULL) < 0)
		return error_set_errno(err, errno, "cannot share the mounts of %s", share_dir);
	return 0;
}

/* ---------------------------------------------------------------- in the child
 *
 * System calls only. Each step returns what failed, with errno, or NULL. */

const char *jail_enter_cgroup(const int *doors, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (write(doors[i], "0", 1) != 1)
			return "cannot enter its control group";
	return NULL;
}

static const char *join_cgroup(struct jail *jail)
{
	return jail_enter_cgroup(jail->cgroup_doors, jail->ndoors);
}

static const char *limit_files(_unused_ struct jail *jail)
{
	const struct rlimit limit = { FILES_MAX, FILES_MAX };

	return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? "cannot limit its descriptors" : NULL;
}

static const char *copy_mounts(struct jail *jail)
{
	for (size_t i = 0; i < jail->nentries; i++) {
		struct entry *entry = &jail->entries[i];
		struct mount_attr attr = { .attr_set = entry->attributes };
		unsigned deep = entry->folder ? AT_RECURSIVE : 0;

		if (entry->link)
			continue;
		entry->tree = open_tree(AT_FDCWD, entry->path,
					OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | deep);
		if (entry->tree < 0 ||
		    mount_setattr(entry->tree, "", AT_EMPTY_PATH | deep, &attr, sizeof(attr)) < 0)
			return "cannot copy a mount for its root";
	}
	return NULL;
}

/* The folders on the way to path, below the working folder; path is put right again. */
static int make_parents(char *path)
{
	for (char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		int r = mkdir(path, 0755);
		*slash = '/';
		if (r < 0 && errno != EEXIST)
			return -1;
	}
	return 0;
}

static const char *place_entry(const struct entry *entry)
{
	char *path = entry->path + 1; /* from the root to be */

	if (make_parents(path) < 0)
		return "cannot make a folder in its root";
	if (entry->link)
		return symlink(entry->link, path) < 0 ? "cannot make a link in its root" : NULL;
	if (entry->folder ? mkdir(path, 0755) < 0 && errno != EEXIST
			  : mknod(path, S_IFREG | 0444, 0) < 0)
		return "cannot make a mount point in its root";
	if (move_mount(entry->tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return "cannot mount in its root";
	close(entry->tree);
	return NULL;
}

static const char *enter_root(struct jail *jail)
{
	struct mount_attr readonly = { .attr_set = MOUNT_ATTR_RDONLY };
	const char *what = copy_mounts(jail);

	if (what)
		return what;
	if (mount("kiln", jail->dir, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, ROOT_OPTIONS) < 0 ||
	    chdir(jail->dir) < 0)
		return "cannot mount its root";
	for (size_t i = 0; i < jail->nentries; i++) {
		what = place_entry(&jail->entries[i]);
		if (what)
			return what;
	}
	if (mkdir("proc", 0555) < 0 ||
	    mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, PROC_OPTIONS) < 0)
		return "cannot mount its /proc";
	if (mount_setattr(AT_FDCWD, ".", 0, &readonly, sizeof(readonly)) < 0 ||
	    syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return "cannot change to its root";
	return NULL;
}

/* The calls themselves, not libc's: those have all threads of the process do the same, and would
 * wait here for one of the parent's that was just being started or ended when this was forked. */
static const char *become_nobody(struct jail *jail)
{
	char byte = 0;

	/* The device's group stays, though it has no number in the namespace. */
	if (syscall(SYS_setgroups, jail->ngroups, jail->groups) < 0)
		return "cannot leave its groups";
	if (unshare(CLONE_NEWUSER) < 0)
		return "cannot make a user namespace (see /proc/sys/user/max_user_namespaces)";
	errno = ECANCELED; /* of a parent that fails or is killed meanwhile */
	if (write(jail->child_end, &byte, 1) != 1 || read(jail->child_end, &byte, 1) != 1)
		return "cannot get its user ids";
	if (syscall(SYS_setresgid, 0, 0, 0) < 0 || syscall(SYS_setresuid, 0, 0, 0) < 0)
		return "cannot take its user ids";
	return NULL;
}

/* The bounding set is what root has after execve. */
const char *jail_keep_capabilities(uint32_t kept)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { .effective = kept, .permitted = kept } };

	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if ((cap >= 32 || !(kept & 1U << cap)) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return "cannot drop a capability";
	if (syscall(SYS_capset, &header, data) < 0)
		return "cannot drop its capabilities";
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return "cannot renounce privileges";
	return NULL;
}

static const char *drop_capabilities(_unused_ struct jail *jail)
{
	return jail_keep_capabilities(KEPT_CAPABILITIES);
}

/* In the kernel's own words, because libseccomp takes memory, and a lock that a thread of the
 * parent may have held. Numbers of another architecture end the process. */
const char *jail_refuse_sockets(void)
{
	static struct sock_filter steps[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_CALLS, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 2),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	};
	const struct sock_fprog filter = { .len = ARRAY_SIZE(steps), .filter = steps };

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) < 0)
		return "cannot renounce sockets";
	return NULL;
}

static const char *refuse_sockets(_unused_ struct jail *jail)
{
	return jail_refuse_sockets();
}

static const char *make_taps(struct jail *jail)
{
	return taps_make(jail->taps);
}

static const char *leave_namespaces(_unused_ struct jail *jail)
{
	if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
		return "cannot make its namespaces";
	/* Slaves: the host's mounts reach the share, nothing goes back. */
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return "cannot part its mounts from the host's";
	return NULL;
}

int jail_enter(void *data, const char **ret_what)
{
	/* The control group has no /dev/net/tun. */
	static const char *(*const steps[])(struct jail *) = {
		limit_files, leave_namespaces, make_taps,         join_cgroup,
		enter_root,  become_nobody,    drop_capabilities, refuse_sockets,
	};
	struct jail *jail = data;

	close(jail->parent_end);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		const char *what = steps[i](jail);
		if (!what)
			continue;
		*ret_what = what;
		return -errno;
	}
	return 0;
}

/* ---------------------------------------------------------------- in the parent */

static int write_ids(pid_t pid, const char *file, uint32_t first, struct error *err)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/%s", (int)pid, file);
	_cleanup_free_ char *text = xasprintf("0 %u %u", first, UID_RANGE_SIZE);

	return file_write_value(path, text, err);
}

int jail_admit(void *data, pid_t pid, struct error *err)
{
	struct jail *jail = data;
	char byte;

	jail->child_end = close_fd(jail->child_end); /* its end shows as the end of the stream */
	if (read_full(jail->parent_end, &byte, 1) != 1)
		return error_set(err, ESRCH, "it ended while it was being shut in");
	int r = write_ids(pid, "uid_map", jail->uid, err);
	if (r == 0)
		r = write_ids(pid, "gid_map", jail->uid, err);
	return r < 0 ? r : write_full(jail->parent_end, &byte, 1);
}
