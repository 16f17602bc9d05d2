#include "proto/direct_volume.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "proto/base64.h"
#include "proto/pbjson.h"

#define MOUNT_INFO "mountInfo.json"

enum { INFO_MAX = 64 * 1024, OPTIONS_MAX = 64, NAME_MAX_BYTES = 255, ADDRESS_MAX = 4096 };

/* ---------------------------------------------------------------- the text */

static inline void json_decref_cleanup(json_t **json)
{
	json_decref(*json);
}

static int take_string(json_t *info, const char *key, char **ret, struct error *err)
{
	const char *text = json_string_value(json_object_get(info, key));

	if (str_empty(text))
		return error_set(err, EINVAL, "\"%s\" is missing, or no text", key);
	replace_string(ret, text);
	return 0;
}

static int take_options(json_t *info, struct strv *ret, struct error *err)
{
	json_t *options = json_object_get(info, "options");
	json_t *option;
	size_t i;

	if (!options || json_is_null(options))
		return 0;
	if (!json_is_array(options) || json_array_size(options) > OPTIONS_MAX)
		return error_set(err, EINVAL, "\"options\" is no list of at most %d texts",
				 OPTIONS_MAX);
	json_array_foreach (options, i, option) {
		if (!json_is_string(option))
			return error_set(err, EINVAL, "\"options\" has something that is no text");
		strv_add(ret, json_string_value(option));
	}
	return 0;
}

/* Kata's types of what is, or lies on, a block device. */
static int check_type(json_t *info, struct error *err)
{
	static const char *const types[] = { "block", "directvol", "rawblock" };
	json_t *value = json_object_get(info, "volume-type");
	const char *type = json_string_value(value);

	if (!value || str_equal(type, ""))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (str_equal(type, types[i]))
			return 0;
	return error_set(err, EINVAL, "\"volume-type\" is \"%.64s\": only block is supported",
			 type ? type : "no text");
}

static int check_metadata(json_t *info, struct error *err)
{
	static const char *const refused[] = { "fsGroup", "fsGroupChangePolicy", "encryptionKey",
					       "createFilesystem", "create_filesystem" };
	json_t *metadata = json_object_get(info, "metadata");

	if (metadata && !json_is_null(metadata) && !json_is_object(metadata))
		return error_set(err, EINVAL, "\"metadata\" is no object");
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		if (json_object_get(metadata, refused[i]))
			return error_set(err, EINVAL, "metadata \"%s\" is not supported",
					 refused[i]);
	return 0;
}

static int parse(json_t *info, struct direct_volume *volume, struct error *err)
{
	if (!json_is_object(info))
		return error_set(err, EINVAL, "it is no object");
	int r = check_type(info, err);
	if (r == 0)
		r = check_metadata(info, err);
	if (r == 0)
		r = take_string(info, "device", &volume->device, err);
	if (r == 0)
		r = take_string(info, "fstype", &volume->fstype, err);
	if (r == 0)
		r = take_options(info, &volume->options, err);
	if (r == 0 && !str_after(volume->device, "/"))
		r = error_set(err, EINVAL, "\"device\" is no absolute path");
	return r;
}

int direct_volume_parse(const char *text, size_t len, struct direct_volume *ret, struct error *err)
{
	_cleanup_(direct_volume_done) struct direct_volume volume = {};
	_cleanup_(json_decref_cleanup) json_t *info = NULL;
	int r = len > INFO_MAX ? error_set(err, E2BIG, "it is longer than %d bytes", INFO_MAX)
			       : pbjson_parse(text, len, &info, err);

	if (r == 0)
		r = parse(info, &volume, err);
	if (r < 0)
		return error_wrap(err, "mount info");
	*ret = volume;
	volume = (struct direct_volume){};
	return 0;
}

void direct_volume_done(struct direct_volume *volume)
{
	free(volume->device);
	free(volume->fstype);
	strv_done(&volume->options);
	*volume = (struct direct_volume){};
}

/* ---------------------------------------------------------------- the folder */

/* RFC 4648, section 5. */
static int folder_of(const char *run_dir, const char *path, char **ret_folder, struct error *err)
{
	_cleanup_free_ char *name = base64_encode(path, strlen(path));

	if (path[0] != '/')
		return error_set(err, EINVAL, "volume path \"%.256s\" is not absolute", path);
	if (strlen(name) > NAME_MAX_BYTES)
		return error_set(err, ENAMETOOLONG, "volume path %.256s is too long", path);
	for (char *at = name; *at; at++)
		*at = *at == '+' ? '-' : *at == '/' ? '_' : *at;
	*ret_folder = xasprintf("%s/" DIRECT_VOLUMES "/%s", run_dir, name);
	return 0;
}

int direct_volume_add(const char *run_dir, const char *path, const char *text, struct error *err)
{
	_cleanup_(direct_volume_done) struct direct_volume volume = {};
	_cleanup_free_ char *folder = NULL, *file = NULL;
	int r = direct_volume_parse(text, strlen(text), &volume, err);

	if (r == 0)
		r = folder_of(run_dir, path, &folder, err);
	if (r == 0)
		r = dir_make(folder, 0700, err);
	if (r < 0)
		return r;
	file = path_join(folder, MOUNT_INFO);
	return file_write_volatile(file, text, strlen(text), 0600, err);
}

int direct_volume_remove(const char *run_dir, const char *path, struct error *err)
{
	_cleanup_free_ char *folder = NULL;
	int r = folder_of(run_dir, path, &folder, err);

	return r < 0 ? r : path_remove(folder, err);
}

int direct_volume_load(const char *run_dir, const char *path, struct direct_volume *ret,
		       struct error *err)
{
	_cleanup_free_ char *folder = NULL, *file = NULL, *text = NULL;
	size_t len;
	int r = folder_of(run_dir, path, &folder, err);

	if (r == -ENAMETOOLONG) /* none was added, then */
		return -ENOENT;
	if (r < 0)
		return r;
	file = path_join(folder, MOUNT_INFO);
	r = file_read(file, INFO_MAX, &text, &len, err);
	if (r == 0)
		r = direct_volume_parse(text, len, ret, err);
	return r < 0 ? error_wrap(err, "%s", file) : 0;
}

/* ---------------------------------------------------------------- its user */

int direct_volume_note_user(const char *run_dir, const char *path, const char *sandbox_id,
			    const char *address, struct error *err)
{
	_cleanup_free_ char *folder = NULL, *file = NULL;
	int r = folder_of(run_dir, path, &folder, err);

	if (r < 0)
		return r;
	file = path_join(folder, sandbox_id);
	return file_write_volatile(file, address, strlen(address), 0600, err);
}

void direct_volume_forget_user(const char *run_dir, const char *path, const char *sandbox_id)
{
	_cleanup_free_ char *folder = NULL, *file = NULL;

	if (folder_of(run_dir, path, &folder, NULL) < 0)
		return;
	file = path_join(folder, sandbox_id);
	(void)unlink(file);
}

/* The newest file but the volume's own; NULL: there is none. */
static char *find_newest(const char *folder)
{
	DIR *dir = opendir(folder);
	struct timespec newest = {};
	const struct dirent *entry;
	char *found = NULL;
	struct stat st;

	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || str_equal(entry->d_name, MOUNT_INFO) ||
		    fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    st.st_mtim.tv_sec < newest.tv_sec ||
		    (st.st_mtim.tv_sec == newest.tv_sec && st.st_mtim.tv_nsec < newest.tv_nsec))
			continue;
		newest = st.st_mtim;
		free(found);
		found = path_join(folder, entry->d_name);
	}
	if (dir)
		closedir(dir);
	return found;
}

int direct_volume_find_user(const char *run_dir, const char *path, char **ret_address,
			    struct error *err)
{
	_cleanup_free_ char *folder = NULL, *file = NULL;
	int r = folder_of(run_dir, path, &folder, err);

	if (r < 0 || !folder)
		return r;
	file = find_newest(folder);
	if (!file)
		return error_set(err, ENOENT, "no sandbox has the volume %s", path);
	return file_read(file, ADDRESS_MAX, ret_address, NULL, err);
}
