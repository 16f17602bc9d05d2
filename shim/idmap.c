#include "shim/idmap.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

#define MAP_MAX 4096

static bool is_ours(int userns)
{
	struct stat ours, theirs;

	return stat("/proc/self/ns/user", &ours) == 0 && fstat(userns, &theirs) == 0 &&
	       ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

/* The next word of *text as a number, which is moved behind it. */
static int take_number(const char **text, uint64_t max, uint64_t *ret)
{
	char word[16] = "";
	const char *begin = *text + strspn(*text, " ");
	size_t len = strcspn(begin, " \n");

	if (len == 0 || len >= sizeof(word))
		return -EBADMSG;
	memcpy(word, begin, len);
	*text = begin + len;
	return str_to_u64(word, 0, max, ret) < 0 ? -EBADMSG : 0;
}

int idmap_parse(const char *text, uint32_t *ret_first)
{
	uint64_t inside, first, count;

	if (take_number(&text, 0, &inside) < 0 || take_number(&text, UINT32_MAX, &first) < 0 ||
	    take_number(&text, UINT32_MAX, &count) < 0 || count == 0)
		return -EBADMSG;
	*ret_first = (uint32_t)first;
	return 0;
}

static int read_first(pid_t pid, uint32_t *ret_first, struct error *err)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/uid_map", (int)pid);
	_cleanup_free_ char *text = NULL;
	int r = file_read(path, MAP_MAX, &text, NULL, err);

	if (r < 0)
		return r;
	if (idmap_parse(text, ret_first) < 0)
		return error_set(err, EBADMSG, "%s maps no root", path);
	return 0;
}

int idmap_open(pid_t pid, int pidfd, struct idmap *ret_idmap, struct error *err)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/ns/user", (int)pid);
	_cleanup_close_ int userns = open(path, O_RDONLY | O_CLOEXEC);
	struct idmap idmap = IDMAP_NONE;

	if (userns < 0)
		return error_set_errno(err, errno, "cannot open the machine's user namespace");
	if (!is_ours(userns)) {
		int r = read_first(pid, &idmap.first, err);
		if (r < 0)
			return r;
		idmap.userns = steal_fd(&userns);
	}
	/* It still lives, so it was what was read. */
	if (syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) < 0) {
		idmap_close(&idmap);
		return error_set(err, ESRCH, "the machine's VMM has ended");
	}
	*ret_idmap = idmap;
	return 0;
}

void idmap_close(struct idmap *idmap)
{
	idmap->userns = close_fd(idmap->userns);
}

/* Another fsuid than root's costs the effective capabilities that concern files. */
static int raise_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {};

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	for (int i = 0; i < 2; i++)
		data[i].effective = data[i].permitted;
	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

int idmap_enter(const struct idmap *idmap, struct error *err)
{
	if (idmap->userns < 0)
		return 0;
	setfsgid(idmap->first);
	setfsuid(idmap->first);
	int r = raise_capabilities();
	if (r < 0) {
		idmap_leave(idmap);
		return error_set_errno(err, r, "cannot keep the capabilities");
	}
	return 0;
}

void idmap_leave(const struct idmap *idmap)
{
	if (idmap->userns < 0)
		return;
	setfsuid(0);
	setfsgid(0);
}
