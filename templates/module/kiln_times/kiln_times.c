// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* For the guest's Linux 6.1: times of files by 9p to the nanosecond.
 *
 * The kernel's 9p says nowhere how fine its times are, so it gets the default of all file systems:
 * whole seconds, none before 1970. What utimensat() sets is cut to that before it is sent, and
 * nothing says so; the protocol carries all of it. So each 9p that is mounted while this is loaded
 * is given the server's range. A kernel of one's own that says it by itself is not harmed by it.
 *
 * Not unloaded, as the pointer below is 9p's. */
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/module.h>

typedef struct dentry *mount_fn(struct file_system_type *type, int flags, const char *source,
				void *data);

static mount_fn *mount_9p;

static struct dentry *mount_with_fine_times(struct file_system_type *type, int flags,
					    const char *source, void *data)
{
	struct dentry *root = mount_9p(type, flags, source, data);

	if (!IS_ERR(root)) {
		root->d_sb->s_time_gran = 1;
		root->d_sb->s_time_min = S64_MIN;
		root->d_sb->s_time_max = S64_MAX;
	}
	return root;
}

static int __init kiln_times_init(void)
{
	struct file_system_type *type = get_fs_type("9p");

	if (!type || !type->mount)
		return -ENODEV;
	mount_9p = type->mount;
	type->mount = mount_with_fine_times;
	return 0;
}
module_init(kiln_times_init);

MODULE_DESCRIPTION("Times of files by 9p to the nanosecond");
MODULE_LICENSE("GPL");
