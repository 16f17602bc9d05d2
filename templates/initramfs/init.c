/* kiln-init: the guest's first program, from the initramfs.
 *
 * Loads the modules the root device needs, mounts the root image by DAX, empties the initramfs
 * (its pages are guest RAM that every clone would carry) and becomes /sbin/kiln-agent. The
 * kernel command line may name another root device with kiln.root=/dev/NAME.
 *
 * A root that is not mapped by DAX would work and cost every clone its own page cache, so it is
 * refused like any other failure: one line on the console, then power off. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

#define MODULE_DIR     "/modules"
#define NEW_ROOT       "/root"
#define AGENT          "/sbin/kiln-agent"
#define ROOT_DEFAULT   "/dev/pmem0"
#define ROOT_OPTIONS   "dax=always"
#define ROOT_WAIT_MS   30000 /* under software emulation on a busy host */
#define CMDLINE_MAX    4096
#define ROOT_PARAMETER "kiln.root="

/* The end of a boot that cannot go on. The console is drained first: the line is all the person
 * at the other end will have. */
static _Noreturn void _printf_(1, 2) fail(const char *fmt, ...)
{
	va_list args;

	fputs("kiln-init: ", stderr);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	tcdrain(STDERR_FILENO);
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void mount_kernel_filesystem(const char *type, const char *dir)
{
	if (mkdir(dir, 0755) < 0 && errno != EEXIST)
		fail("cannot create %s: %m", dir);
	if (mount(type, dir, type, MS_NOSUID | MS_NOEXEC, NULL) < 0 && errno != EBUSY)
		fail("cannot mount %s: %m", dir);
}

/* The kernel opens the initramfs's /dev/console for us; one without that node gets the console
 * here, now that devtmpfs is mounted. */
static void console_open(void)
{
	if (fcntl(STDERR_FILENO, F_GETFD) >= 0)
		return;

	int fd = open("/dev/console", O_RDWR | O_NOCTTY);
	for (int to = STDIN_FILENO; fd >= 0 && to <= STDERR_FILENO; to++) {
		if (fd != to)
			dup2(fd, to);
	}
}

static void module_load(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), MODULE_DIR "/%s", name);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail("cannot open module %s: %m", name);
	if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST)
		fail("cannot load module %s: %m (is it of this kernel?)", name);
}

static void modules_load(void)
{
	char line[128];

	_cleanup_file_ FILE *list = fopen(MODULE_DIR "/load", "re");
	if (!list && errno != ENOENT) /* a kernel with everything built in has none */
		fail("cannot open " MODULE_DIR "/load: %m");
	while (list && fgets(line, sizeof(line), list)) {
		line[strcspn(line, "\n")] = '\0';
		if (*line)
			module_load(line);
	}
}

/* Writes the root device into path: kiln.root= of the kernel command line, or the default. */
static void root_device(char *path, size_t size)
{
	char text[CMDLINE_MAX] = "";
	char *rest = text;

	snprintf(path, size, "%s", ROOT_DEFAULT);
	_cleanup_file_ FILE *cmdline = fopen("/proc/cmdline", "re");
	if (!cmdline || !fgets(text, sizeof(text), cmdline))
		return;
	for (const char *word; (word = strsep(&rest, " \n"));) {
		if (strncmp(word, ROOT_PARAMETER, strlen(ROOT_PARAMETER)) == 0)
			snprintf(path, size, "%s", word + strlen(ROOT_PARAMETER));
	}
}

/* Waits until the device node exists: its driver is probed asynchronously. */
static void root_wait(const char *device)
{
	char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	int64_t deadline = now_ms() + ROOT_WAIT_MS;

	_cleanup_close_ int watch = inotify_init1(IN_CLOEXEC);
	if (watch < 0 || inotify_add_watch(watch, "/dev", IN_CREATE) < 0)
		fail("cannot watch /dev: %m");

	/* Looked at after the watch is set and after every event, so none is missed. */
	while (access(device, F_OK) < 0) {
		struct pollfd pfd = { .fd = watch, .events = POLLIN };
		int64_t left = deadline - now_ms();

		if (left <= 0 || poll(&pfd, 1, (int)left) == 0)
			fail("no %s after %d s: is virtio-pmem in the machine and its driver in "
			     "the initramfs?",
			     device, ROOT_WAIT_MS / 1000);
		if (read(watch, events, sizeof(events)) < 0 && errno != EINTR)
			fail("cannot watch /dev: %m");
	}
}

/* EROFS mounts without DAX, and only warns, where the device cannot do it: the options that
 * /proc/self/mounts shows are what we got. */
static bool root_is_dax(void)
{
	char line[CMDLINE_MAX];

	_cleanup_file_ FILE *mounts = fopen("/proc/self/mounts", "re");
	while (mounts && fgets(line, sizeof(line), mounts)) {
		if (strstr(line, " " NEW_ROOT " "))
			return strstr(line, ROOT_OPTIONS);
	}
	return false;
}

static void root_mount(const char *device)
{
	if (mkdir(NEW_ROOT, 0755) < 0 && errno != EEXIST)
		fail("cannot create " NEW_ROOT ": %m");
	if (mount(device, NEW_ROOT, "erofs", MS_RDONLY, ROOT_OPTIONS) < 0)
		fail("cannot mount %s as erofs with " ROOT_OPTIONS ": %m", device);
	if (!root_is_dax())
		fail("cannot mount %s with " ROOT_OPTIONS ": the device does not support DAX (it "
		     "must be virtio-pmem)",
		     device);
}

/* Removes the files of the initramfs, which nothing can reach once the root is another. */
static void initramfs_empty(void)
{
	_cleanup_close_ int dir_fd = open(MODULE_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)unlink("/init");
	if (dir_fd < 0)
		return;

	DIR *dir = fdopendir(dup(dir_fd));
	for (const struct dirent *entry; dir && (entry = readdir(dir));)
		(void)unlinkat(dir_fd, entry->d_name, 0);
	if (dir)
		closedir(dir);
	(void)rmdir(MODULE_DIR);
}

static void root_switch(void)
{
	static const char *const kept[] = { "/dev", "/proc", "/sys" };
	char to[64];

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		snprintf(to, sizeof(to), NEW_ROOT "%s", kept[i]);
		if (mount(kept[i], to, NULL, MS_MOVE, NULL) < 0)
			fail("cannot move %s into the root image: %m", kept[i]);
	}
	initramfs_empty();
	if (chdir(NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
	    chdir("/") < 0)
		fail("cannot switch to the root image: %m");
}

int main(void)
{
	char device[128];
	char *argv[] = { (char[]){ AGENT }, NULL };

	if (getpid() != 1) {
		fputs("kiln-init: runs as the first process of a Kiln guest only\n", stderr);
		return EXIT_FAILURE;
	}
	mount_kernel_filesystem("devtmpfs", "/dev");
	console_open();
	mount_kernel_filesystem("proc", "/proc");
	mount_kernel_filesystem("sysfs", "/sys");
	modules_load();
	root_device(device, sizeof(device));
	root_wait(device);
	root_mount(device);
	root_switch();
	execv(AGENT, argv);
	fail("cannot start " AGENT " of the root image: %m");
}
