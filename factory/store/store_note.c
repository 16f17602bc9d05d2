#include "factory/store/store_note.h"

#include <jansson.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/config.h"
#include "base/file.h"
#include "base/format.h"
#include "base/memory.h"
#include "base/strings.h"

#define C struct store_note

static const struct config_key note_keys[] = {
	CONFIG_STRING(C, run_dir, "run_dir", NULL, "folder of the machines"),
	CONFIG_STRING(C, store, "store", NULL, "folder of the templates"),
	CONFIG_UINT(C, uid_first, "uid_first", 0, 0, UINT32_MAX, "first of the machines' user ids"),
	CONFIG_STRING(C, cgroup, "cgroup", NULL, "control group of the machines"),
	CONFIG_STRING(C, scratch_dir, "scratch_dir", NULL, "folder of their scratch disks"),
	CONFIG_STRING(C, image_cache, "image_cache", NULL, "folder of the cache of images"),
};

#undef C

int store_note_write(const char *socket, const struct store_note *note, struct error *err)
{
	_cleanup_free_ char *path = xasprintf("%s.json", socket);
	json_t *json = json_pack("{s:s, s:s, s:s, s:I, s:s*, s:s*}", "run_dir", note->run_dir,
				 "store", note->store, "scratch_dir", note->scratch_dir,
				 "uid_first", (json_int_t)note->uid_first, "cgroup", note->cgroup,
				 "image_cache", note->image_cache);
	_cleanup_free_ char *text = json ? json_dumps(json, JSON_INDENT(1)) : NULL;

	json_decref(json);
	if (!text)
		return error_set(err, EINVAL, "a path of %s is no UTF-8 text", path);
	return file_write_atomic(path, text, strlen(text), 0600, err);
}

static int check_owner(const char *path, struct error *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? error_set(err, ENOENT, "no factory was ever there")
				       : error_set_errno(err, errno, "cannot read %s", path);
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022))
		return error_set(err, EPERM, "%s is not ours alone: it is not believed", path);
	return 0;
}

static bool is_absolute(const char *path)
{
	return path && path[0] == '/';
}

static int read_keys(const char *path, struct store_note *note, struct error *err)
{
	json_t *object = NULL;
	int r = config_load_file(path, &object, err);

	if (r < 0)
		return r;
	r = format_check_object(FORMAT_NOTE, object, "version", true, err);
	if (r < 0)
		error_wrap(err, "%s", path);
	else
		r = config_read_known(note_keys, ARRAY_SIZE(note_keys), object, path, note, err);
	json_decref(object);
	if (r == 0 && (!is_absolute(note->run_dir) || !is_absolute(note->store) ||
		       !is_absolute(note->scratch_dir)))
		r = error_set(err, EBADMSG,
			      "%s: run_dir, store and scratch_dir must be absolute paths", path);
	if (r == 0 && note->image_cache && !is_absolute(note->image_cache))
		r = error_set(err, EBADMSG, "%s: image_cache must be an absolute path", path);
	return r;
}

int store_note_read(const char *address, struct store_note *ret_note, struct error *err)
{
	const char *path = str_after(address, "unix://");
	struct store_note note = {};

	if (!path)
		path = address;
	if (path[0] != '/')
		return error_set(err, ENOENT, "%s is not a path", address);
	_cleanup_free_ char *file = xasprintf("%s.json", path);
	int r = check_owner(file, err);
	if (r == 0)
		r = read_keys(file, &note, err);
	if (r < 0) {
		store_note_done(&note);
		return r;
	}
	*ret_note = note;
	return 0;
}

void store_note_done(struct store_note *note)
{
	config_done(note_keys, ARRAY_SIZE(note_keys), note);
}
