#include "factory/vm/dax_window.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

char *dax_window_path(const char *template_dir, size_t index)
{
	return xasprintf("%s/" DAX_WINDOW_FILE, template_dir, index);
}

int dax_window_make(const char *template_dir, size_t index, uint64_t bytes, struct error *err)
{
	_cleanup_free_ char *path = dax_window_path(template_dir, index);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0 || fchmod(fd, 0444) < 0)
		return error_set_errno(err, errno, "cannot make %s", path);
	return 0;
}
