#include "shim/volume_guest.h"

#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/file.h"
#include "base/memory.h"
#include "proto/guest_disks.h"
#include "proto/message_text.h"

#define FOLDERS       GUEST_SCRATCH "/volumes"
#define MEMORY        "/run/kiln/memory"
#define SHM           MEMORY "/shm"
#define NAME_MAX_SEEN 64 /* bytes of the volume's name in its mount point */
#define DIGEST_DIGITS 16

/* One place for one path of the host, whichever container asks for it. The caller frees. */
static char *place_of(enum volume_kind kind, const char *path)
{
	_cleanup_free_ char *copy = xstrdup(path);
	char hex[DIGEST_HEX_SIZE];
	struct digest *digest = digest_new();

	digest_add_string(digest, path);
	digest_finish(digest, hex);
	digest_free(digest);
	return xasprintf("%s/%.*s-%.*s", kind == VOLUME_MEMORY ? MEMORY : FOLDERS, NAME_MAX_SEEN,
			 basename(copy), DIGEST_DIGITS, hex);
}

static int add_owner(Grpc__Storage *storage, const char *path, struct error *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return error_set_errno(err, errno, "volume %s", path);
	storage_take_option(storage, xasprintf("mode=%o", st.st_mode & 07777));
	storage_take_option(storage, xasprintf("uid=%u", st.st_uid));
	storage_take_option(storage, xasprintf("gid=%u", st.st_gid));
	return 0;
}

/* A tmpfs that nobody gave a size has half of the host's memory, and is to have half of the
 * guest's. */
static int add_limits(Grpc__Storage *storage, const char *path, struct error *err)
{
	uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	static const struct {
		unsigned long flag;
		const char *option;
	} flags[] = { { ST_NOSUID, "nosuid" }, { ST_NODEV, "nodev" }, { ST_NOEXEC, "noexec" } };
	struct statvfs fs;

	if (statvfs(path, &fs) < 0)
		return error_set_errno(err, errno, "volume %s", path);
	uint64_t size = (uint64_t)fs.f_blocks * fs.f_frsize;

	if (size > 0 && size < memory / 2)
		storage_take_option(storage, xasprintf("size=%lu", (unsigned long)size));
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (fs.f_flag & flags[i].flag)
			storage_take_option(storage, xstrdup(flags[i].option));
	return 0;
}

static int add_home(struct storages *storages, enum volume_kind kind, const char *path,
		    const char *place, struct error *err)
{
	Grpc__Storage *storage = kind == VOLUME_MEMORY
					 ? storages_add(storages, "ephemeral", "tmpfs", "tmpfs",
							place)
					 : storages_add(storages, "local", "local", "local", place);
	int r = add_owner(storage, path, err);

	storage_keep(storage);
	return r == 0 && kind == VOLUME_MEMORY ? add_limits(storage, path, err) : r;
}

/* Each level of a sub-path is a storage of its own, which the guest makes where no container has
 * made something there: it has the mode and owner that the kubelet gave to the host's. */
static int add_sub(struct storages *storages, const struct volume_home *home, const char *place,
		   struct error *err)
{
	size_t len = 0;
	int r;

	do {
		len += strcspn(home->sub + len, "/");
		_cleanup_free_ char *path = xasprintf("%s/%.*s", home->path, (int)len, home->sub);
		_cleanup_free_ char *level = xasprintf("%s/%.*s", place, (int)len, home->sub);
		r = add_home(storages, VOLUME_FOLDER, path, level, err);
	} while (r == 0 && home->sub[len++]);
	return r;
}

static bool is_of_file_system(const char *option)
{
	return strchr(option, '=') != NULL;
}

void volume_guest_add_shm(Grpc__Mount *mount, struct storages *storages)
{
	Grpc__Storage *storage = storages_add(storages, "ephemeral", "tmpfs", "shm", SHM);
	size_t kept = 0;

	storage_keep(storage);
	for (size_t i = 0; i < mount->n_options; i++) {
		storage_option(storage, mount->options[i]);
		if (is_of_file_system(mount->options[i]))
			free(mount->options[i]);
		else
			mount->options[kept++] = mount->options[i];
	}
	mount->options = xrealloc_array(mount->options, kept + 1, sizeof(mount->options[0]));
	mount->options[kept++] = xstrdup("bind");
	mount->n_options = kept;
	free(mount->type);
	mount->type = xstrdup("bind");
	message_text_set(&mount->source, xstrdup(SHM));
}

int volume_guest_add(Grpc__Mount *mount, enum volume_kind kind, const struct volume_home *home,
		     struct storages *storages, struct error *err)
{
	_cleanup_free_ char *place = place_of(kind, home->path);
	int r = add_home(storages, kind, home->path, place, err);

	if (r == 0 && *home->sub)
		r = add_sub(storages, home, place, err);
	if (r == 0)
		message_text_set(&mount->source,
				 *home->sub ? path_join(place, home->sub) : steal_ptr(place));
	return r;
}
