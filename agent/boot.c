#include "agent/boot.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "agent/cgroup.h"
#include "agent/disk.h"
#include "agent/hotplug.h"
#include "agent/kernel_limits.h"
#include "agent/modules.h"
#include "agent/preemption.h"
#include "agent/sandbox.h"
#include "agent/scratch.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"

/* As systemd mounts it. Limits of a container are the guest's, also for one that may write to its
 * cgroup. */
#define CGROUP_OPTIONS "nsdelegate,memory_recursiveprot"

enum { FILE_MAX = 64 * 1024, NOFILE_MAX = 65536 };

static const struct {
	const char *type, *target, *data;
	unsigned long flags;
} mounts[] = {
	{ "proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
	{ "sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
	{ "devtmpfs", "/dev", "mode=0755", MS_NOSUID },
	{ "devpts", "/dev/pts", "mode=0620,ptmxmode=0666,gid=5", MS_NOSUID | MS_NOEXEC },
	{ "tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV },
	{ "tmpfs", "/run", "mode=0755", MS_NOSUID | MS_NODEV },
	{ "tmpfs", "/tmp", "mode=1777", MS_NOSUID | MS_NODEV },
	{ "cgroup2", "/sys/fs/cgroup", CGROUP_OPTIONS, MS_NOSUID | MS_NODEV | MS_NOEXEC },
};

static int mount_all(struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
		/* The root image is read-only; what is missing there fails in the mount. */
		(void)!mkdir(mounts[i].target, 0755);
		/* EBUSY: the initramfs has mounted it already. */
		if (mount(mounts[i].type, mounts[i].target, mounts[i].type, mounts[i].flags,
			  mounts[i].data) < 0 &&
		    errno != EBUSY)
			return error_set_errno(err, errno, "cannot mount %s", mounts[i].target);
	}
	return 0;
}

/* stdin is /dev/null, stdout and stderr the console where there is one. */
static int open_stdio(struct error *err)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	_cleanup_close_ int console = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
	int out = console >= 0 ? console : null;

	if (null < 0)
		return error_set_errno(err, errno, "cannot open /dev/null");
	if (dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
		return error_set_errno(err, errno, "cannot set up stdio");
	/* Where one of them was 0, 1 or 2 itself, closing it would undo that. */
	if (null <= 2)
		(void)steal_fd(&null);
	if (console >= 0 && console <= 2)
		(void)steal_fd(&console);
	return 0;
}

/* What follows the beginning of a word of the kernel's command line, of the last such word; NULL:
 * there is none. The caller frees. */
static char *rest_of_word(const char *begin)
{
	_cleanup_free_ char *cmdline = NULL;
	char *save = NULL, *found = NULL;

	if (file_read("/proc/cmdline", FILE_MAX, &cmdline, NULL, NULL) < 0)
		return NULL;
	for (char *word = strtok_r(cmdline, " \n", &save); word;
	     word = strtok_r(NULL, " \n", &save)) {
		const char *rest = str_after(word, begin);
		if (rest)
			replace_string(&found, rest);
	}
	return found;
}

bool boot_has_word(const char *word)
{
	_cleanup_free_ char *rest = rest_of_word(word);

	return rest && !*rest;
}

char *boot_parameter(const char *name)
{
	_cleanup_free_ char *begin = xasprintf("%s=", name);

	return rest_of_word(begin);
}

static void set_log_level(void)
{
	_cleanup_free_ char *name = boot_parameter("agent.log");
	int level = name ? log_level_from_string(name) : -EINVAL;

	if (level >= 0)
		log_set_level((enum log_level)level);
	else if (name)
		log_warning(NULL, "agent.log=%s on the kernel command line is no level", name);
}

static void bring_loopback_up(void)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = { .ifr_name = "lo" };

	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) < 0) {
		log_warning(NULL, "there is no loopback interface: %s", strerror(errno));
		return;
	}
	request.ifr_flags |= IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		log_warning(NULL, "cannot bring loopback up: %s", strerror(errno));
}

/* Containers' processes have them from the agent, but that of open files (agent/child.c); that of
 * processes as by containerd's unit. */
static void raise_limits(void)
{
	static const struct {
		const char *what;
		rlim_t most;
		int resource;
	} limits[] = {
		/* Each process of a container holds a few descriptors in the agent. */
		{ "open files", NOFILE_MAX, RLIMIT_NOFILE },
		{ "processes", RLIM_INFINITY, RLIMIT_NPROC },
		{ "pending signals", RLIM_INFINITY, RLIMIT_SIGPENDING },
	};

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		const struct rlimit limit = { limits[i].most, limits[i].most };
		if (setrlimit(limits[i].resource, &limit) < 0)
			log_warning(NULL, "cannot raise the limit of %s: %s", limits[i].what,
				    strerror(errno));
	}
	kernel_limits_raise();
}

static void limit_preemption(void)
{
	_cleanup_(error_done) struct error err = {};
	int r = preemption_limit(&err);

	if (r < 0)
		log_write(r == -ENOENT ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, NULL,
			  "processes preempt each other as ever: %s", error_message(&err));
}

int boot_guest(struct error *err)
{
	int r = mount_all(err);

	if (r == 0)
		r = open_stdio(err);
	if (r < 0)
		return r;
	set_log_level();
	raise_limits();
	modules_load_listed();
	disk_protect_images();
	r = scratch_mount(err);
	if (r < 0)
		return r;
	hotplug_prepare();
	limit_preemption();
	bring_loopback_up();
	if (sethostname(SANDBOX_DEFAULT_HOSTNAME, strlen(SANDBOX_DEFAULT_HOSTNAME)) < 0)
		log_warning(NULL, "cannot set the hostname: %s", strerror(errno));
	r = cgroup_enable_basic(err);
	return r == 0 ? cgroup_hold_device_control(err) : r;
}

int boot_outside_guest(struct error *err)
{
	if (unshare(CLONE_NEWNS | CLONE_NEWUTS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return error_set_errno(err, errno, "cannot make namespaces (root is needed)");
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return error_set_errno(err, errno, "cannot become the reaper of orphans");
	return scratch_mount(err);
}
