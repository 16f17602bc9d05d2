#include "agent/virtio_fs.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"

#define FOLDER "/sys/fs/virtiofs" /* Documentation/ABI/testing/sysfs-fs-virtiofs of Linux 6.12 */

enum { WAIT_MS = 10 * 1000, TAG_MAX = 64, NS_PER_MS = 1000000, KERNEL_EVENTS = 1 };

static bool has_tag(const char *name, const char *tag)
{
	_cleanup_free_ char *path = xasprintf(FOLDER "/%s/tag", name);
	_cleanup_free_ char *text = NULL;

	if (file_read(path, TAG_MAX, &text, NULL, NULL) < 0)
		return false;
	text[strcspn(text, "\n")] = '\0';
	return str_equal(text, tag);
}

static bool is_there(const char *tag)
{
	const struct dirent *entry;
	bool found = false;
	DIR *dir = opendir(FOLDER);

	while (dir && !found && (entry = readdir(dir)))
		found = has_tag(entry->d_name, tag);
	if (dir)
		closedir(dir);
	return found;
}

static int listen_to_devices(struct error *err)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = KERNEL_EVENTS };
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
					NETLINK_KOBJECT_UEVENT);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return error_set_errno(err, errno, "cannot listen to the kernel's devices");
	return steal_fd(&fd);
}

/* What an event says does not matter, nor one that was lost: each is a reason to look. */
static void drain(int fd)
{
	char event[4096];

	while (recv(fd, event, sizeof(event), 0) > 0 || errno == ENOBUFS)
		;
}

int virtio_fs_wait(const char *tag, struct error *err)
{
	uint64_t deadline = clock_monotonic_ns() + (uint64_t)WAIT_MS * NS_PER_MS;
	_cleanup_close_ int events = listen_to_devices(err);

	if (events < 0)
		return events;
	while (!is_there(tag)) {
		uint64_t now = clock_monotonic_ns();
		struct pollfd fd = { .fd = events, .events = POLLIN };
		if (now >= deadline)
			return error_set(err, ENODEV,
					 "no virtio-fs device with the tag %s has come within %d s",
					 tag, WAIT_MS / 1000);
		(void)!poll(&fd, 1, (int)((deadline - now) / NS_PER_MS) + 1);
		drain(events);
	}
	return 0;
}

/* The kernel lets go of all names that nobody uses when a file system is mounted anew. */
void virtio_fs_forget(const char *mount_point)
{
	_cleanup_close_ int fs = fspick(AT_FDCWD, mount_point, FSPICK_CLOEXEC);

	if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0)
		log_warning(NULL, "cannot let go of files of %s: %s", mount_point, strerror(errno));
}
