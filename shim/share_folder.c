#include "shim/share_folder.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"

static int open_fresh(int dir_fd, const char *name, int *ret_fd, struct error *err)
{
	int r = FAULT_ERROR("folder.made", err);
	if (r < 0)
		return r;
	int fd = openat(dir_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return error_set_errno(err, errno, "cannot open folder %s in the share", name);
	*ret_fd = fd;
	return 0;
}

/* A fresh folder, which somebody else cannot have prepared. */
static int make_fresh(int dir_fd, const char *name, int *ret_fd, struct error *err)
{
	if (mkdirat(dir_fd, name, 0755) < 0)
		return error_set_errno(err, errno, "cannot make folder %s in the share", name);
	int r = open_fresh(dir_fd, name, ret_fd, err);
	if (r < 0)
		(void)unlinkat(dir_fd, name, AT_REMOVEDIR);
	return r;
}

int share_folder_make(const char *share_dir, const char *container_id,
		      struct share_folder *ret_folder, struct error *err)
{
	_cleanup_close_ int share = open(share_dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r;

	if (share < 0)
		return error_set_errno(err, errno, "cannot open share %s", share_dir);
	r = make_fresh(share, container_id, &ret_folder->fd, err);
	if (r == 0)
		ret_folder->path = path_join(share_dir, container_id);
	return r;
}

int share_folder_add(const struct share_folder *folder, const char *name, int *ret_fd,
		     struct error *err)
{
	return make_fresh(folder->fd, name, ret_fd, err);
}

void share_folder_remove(struct share_folder *folder)
{
	_cleanup_(error_done) struct error err = {};

	if (folder->fd >= 0 && path_remove(folder->path, &err) < 0)
		log_debug(NULL, "left in the share: %s", error_message(&err));
	folder->fd = close_fd(folder->fd);
	free(folder->path);
	folder->path = NULL;
}
