#include "agent/machine_id.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/mounts.h"
#include "agent/rootpath.h"
#include "base/file.h"
#include "base/id.h"
#include "base/log.h"
#include "base/strings.h"

#define FOLDER        "/run/kata-containers/sandbox"
#define FILE_PATH     FOLDER "/machine-id"
#define TARGET        "/etc/machine-id"
#define UNINITIALIZED "uninitialized\n"

/* Where a random UUID says that it is one (version 4, variant 1), as hex digits. */
enum { VERSION_AT = 12, VARIANT_AT = 16 };

/* With its line's end; empty while there is no sandbox. */
static char machine_id[ID_HEX_SIZE + 1];

void machine_id_make(void)
{
	static const char variants[] = "89ab";

	id_random_hex(machine_id);
	machine_id[VERSION_AT] = '4';
	machine_id[VARIANT_AT] = variants[machine_id[VARIANT_AT] % 4];
	machine_id[ID_HEX_SIZE - 1] = '\n';
}

void machine_id_remove(void)
{
	_cleanup_(error_done) struct error err = {};

	machine_id[0] = '\0';
	if (path_remove(FILE_PATH, &err) < 0)
		log_warning(NULL, "%s", error_message(&err));
}

/* 1 where the image has left its place for ours. */
static int is_wanted(int root, int target)
{
	_cleanup_close_ int fd = -EBADF;
	char text[sizeof(UNINITIALIZED)] = "";
	struct stat st;

	if (fstat(target, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size >= (off_t)sizeof(text))
		return 0;
	int r = rootpath_open_file(root, TARGET, O_RDONLY | O_CLOEXEC | O_NONBLOCK, &fd);
	if (r < 0)
		return r;
	ssize_t n = read_full(fd, text, sizeof(text) - 1);
	if (n < 0)
		return (int)n;
	return n == 0 || str_equal(text, UNINITIALIZED);
}

/* By the first of the sandbox's containers; two at once write the same. */
static int write_file(struct error *err)
{
	if (path_exists(FILE_PATH))
		return 0;
	int r = dir_make(FOLDER, 0755, err);
	return r < 0 ? r : file_write_volatile(FILE_PATH, machine_id, ID_HEX_SIZE, 0444, err);
}

int machine_id_show(int root, struct error *err)
{
	_cleanup_close_ int target = -EBADF, tree = -EBADF;

	if (str_empty(machine_id))
		return 0;
	int r = rootpath_open(root, TARGET, &target);
	if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP)
		return 0;
	if (r == 0)
		r = is_wanted(root, target);
	if (r == 0)
		return 0;
	if (r > 0 && write_file(err) < 0)
		return error_wrap(err, "cannot show the machine id");
	if (r > 0)
		r = mount_copy(AT_FDCWD, FILE_PATH, false, &tree, NULL);
	if (r == 0)
		r = mount_set_readonly(tree, false);
	if (r == 0)
		r = mount_attach(tree, target);
	return r < 0 ? error_set_errno(err, r, "cannot show the machine id at " TARGET) : 0;
}
