#include "shim/layer_mounts.h"

#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "shim/mountinfo.h"

#ifndef EROFS_SUPER_MAGIC_V1
#define EROFS_SUPER_MAGIC_V1 0xE0F5E1E2
#endif

/* A mount point that only the templates of later mounts name. No path that is absolute is one. */
#define POINT "@%zu"

#define MKFS "X-containerd.mkfs."

enum { MOUNTS_MAX = LAYER_MOUNTS_IMAGES_MAX + 2, LOOP_PATH_MAX = 4096 };

/* That the guest's kernel can mount. */
static const char *const writable_types[] = { "ext2", "ext3", "ext4" };

static bool is_one_of(const char *name, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (str_equal(name, names[i]))
			return true;
	return false;
}

/* "overlay" of "format/mkdir/overlay". */
static const char *base_type(const char *type)
{
	const char *slash = strrchr(type, '/');

	return slash ? slash + 1 : type;
}

static bool has_transform(const char *type, const char *transform)
{
	size_t len = strlen(transform);

	for (const char *slash; (slash = strchr(type, '/')); type = slash + 1)
		if ((size_t)(slash - type) == len && strncmp(type, transform, len) == 0)
			return true;
	return false;
}

static int check_transforms(const char *type, struct error *err)
{
	static const char *const known[] = { "format", "mkdir", "mkfs" };
	_cleanup_free_ char *copy = xstrdup(type);
	char *rest = copy;

	for (const char *word = strsep(&rest, "/"); rest; word = strsep(&rest, "/"))
		if (!is_one_of(word, known, ARRAY_SIZE(known)))
			return error_set(err, EOPNOTSUPP, "transform \"%s\" is not known", word);
	return 0;
}

/* ---------------------------------------------------------------- templates */

static int refuse_template(const char *text, struct error *err)
{
	return error_set(err, EINVAL, "template in \"%.256s\" is not understood", text);
}

/* The next word of a template, and where the one after it begins. */
static size_t next_word(const char **p, const char *end)
{
	size_t len = 0;

	*p += strspn(*p, " \t");
	while (*p + len < end && !strchr(" \t", (*p)[len]))
		len++;
	return len;
}

static bool take_number(const char **p, const char *end, size_t max, size_t *ret)
{
	size_t len = next_word(p, end);
	_cleanup_free_ char *word = xstrndup(*p, len);
	uint64_t number;

	if (str_to_u64(word, 0, max, &number) < 0)
		return false;
	*p += len;
	*ret = number;
	return true;
}

/* "mount 1" or "overlay 1 9", from p to end; nmounts come before the mount it is of. */
static bool expand_one(const char *p, const char *end, size_t nmounts, struct strbuf *ret)
{
	size_t len = next_word(&p, end), first, last;
	bool is_mount = len == 5 && strncmp(p, "mount", len) == 0;
	bool is_overlay = len == 7 && strncmp(p, "overlay", len) == 0;

	p += len;
	if (nmounts == 0 || (!is_mount && !is_overlay) ||
	    !take_number(&p, end, nmounts - 1, &first))
		return false;
	last = first;
	if (is_overlay && !take_number(&p, end, nmounts - 1, &last))
		return false;
	if (next_word(&p, end) != 0)
		return false;
	for (size_t i = first;; i += first <= last ? 1 : (size_t)-1) {
		strbuf_addf(ret, "%s" POINT, i == first ? "" : ":", i);
		if (i == last)
			return true;
	}
}

/* The caller frees *ret. */
static int expand(const char *text, bool has_format, size_t nmounts, char **ret, struct error *err)
{
	_cleanup_(strbuf_done) struct strbuf out = {};
	const char *p = text;

	for (const char *open; has_format && (open = strstr(p, "{{"));) {
		const char *close = strstr(open, "}}");
		strbuf_add(&out, p, (size_t)(open - p));
		if (!close || !expand_one(open + 2, close, nmounts, &out))
			return refuse_template(text, err);
		p = close + 2;
	}
	strbuf_adds(&out, p);
	*ret = xstrdup(strbuf_text(&out));
	return 0;
}

/* The number of a mount that text names, alone or with a path below it (*ret_rest). */
static bool parse_point(const char *text, size_t *ret_index, const char **ret_rest)
{
	char *end;

	if (text[0] != '@')
		return false;
	*ret_index = strtoul(text + 1, &end, 10);
	*ret_rest = end;
	return end > text + 1 && (*end == '\0' || *end == '/');
}

/* ---------------------------------------------------------------- the mounts before the last */

static struct layer_mount *add_layer(struct layer_mounts *mounts, const char *path, bool is_folder)
{
	mounts->items = xrealloc_array(mounts->items, mounts->count + 1, sizeof(*mounts->items));
	mounts->items[mounts->count] = (struct layer_mount){ .path = xstrdup(path),
							     .is_folder = is_folder };
	return &mounts->items[mounts->count++];
}

static int check_path(const char *path, struct error *err)
{
	return path[0] == '/' ? 0 : error_set(err, EINVAL, "\"%s\" is no absolute path", path);
}

/* Everything that is not done in the guest is refused, lest it is left out without a word. */
static int add_image(const Containerd__Types__Mount *mount, struct layer_mounts *mounts,
		     struct error *err)
{
	static const char *const known[] = { "ro", "loop" };
	struct layer_mount *layer = add_layer(mounts, mount->source, false);
	int r = check_path(mount->source, err);

	for (size_t i = 0; r == 0 && i < mount->n_options; i++) {
		const char *option = mount->options[i];
		const char *device = str_after(option, "device=");
		if (device) {
			r = check_path(device, err);
			strv_add(&layer->devices, device);
		} else if (str_after(option, "X-containerd.dmverity=")) {
			r = error_set(err, EOPNOTSUPP,
				      "dm-verity of layers is not checked in the guest: set "
				      "dmverity_mode = \"off\" for the snapshotter");
		} else if (!is_one_of(option, known, ARRAY_SIZE(known))) {
			r = error_set(err, EOPNOTSUPP, "option \"%s\" is not supported", option);
		}
	}
	return r;
}

/* A mount as later ones refer to it: an image of mounts, or the one for what is written. */
struct earlier {
	Containerd__Types__Mount *const *mounts;
	size_t count;
};

static bool is_image(const Containerd__Types__Mount *mount)
{
	return str_equal(mount->type, "erofs");
}

static bool is_writable(const Containerd__Types__Mount *mount)
{
	return is_one_of(base_type(mount->type), writable_types, ARRAY_SIZE(writable_types));
}

static int check_earlier(const struct earlier *earlier, struct error *err)
{
	for (size_t i = 0; i < earlier->count; i++) {
		const Containerd__Types__Mount *mount = earlier->mounts[i];
		int r = check_transforms(mount->type, err);
		if (r == 0 && !is_image(mount) && !is_writable(mount))
			r = error_set(err, EOPNOTSUPP, "its type is not known before an overlay");
		if (r < 0)
			return error_wrap(err, "mount %zu (%s)", i, mount->type);
	}
	return 0;
}

/* ---------------------------------------------------------------- the last mount */

static int add_lower(const char *text, const struct earlier *earlier, struct layer_mounts *ret,
		     struct error *err)
{
	const char *rest;
	size_t index;

	if (!parse_point(text, &index, &rest)) {
		add_layer(ret, text, true);
		return check_path(text, err);
	}
	if (*rest || index >= earlier->count || !is_image(earlier->mounts[index]))
		return error_set(err, EINVAL, "mount %zu is no layer", index);
	int r = add_image(earlier->mounts[index], ret, err);
	return r < 0 ? error_wrap(err, "%s", earlier->mounts[index]->source) : 0;
}

static void forget_layers(struct layer_mounts *mounts)
{
	for (size_t i = 0; i < mounts->count; i++) {
		free(mounts->items[i].path);
		strv_done(&mounts->items[i].devices);
	}
	free(steal_ptr(mounts->items));
	mounts->count = 0;
}

/* The last lowerdir is what counts. */
static int set_lowers(const char *value, const struct earlier *earlier, struct layer_mounts *ret,
		      struct error *err)
{
	_cleanup_free_ char *copy = xstrdup(value);
	char *rest = copy;
	int r = 0;

	forget_layers(ret);
	for (const char *path; r == 0 && (path = strsep(&rest, ":"));) {
		if (ret->count == LAYER_MOUNTS_IMAGES_MAX)
			return error_set(err, E2BIG, "more than %d layers",
					 LAYER_MOUNTS_IMAGES_MAX);
		r = add_lower(path, earlier, ret, err);
	}
	return r;
}

static int read_writable_option(const char *option, struct layer_writable *writable,
				struct error *err)
{
	static const char *const known[] = { "rw", "loop" };
	const char *value;

	if ((value = str_after(option, MKFS "size=")))
		return str_to_u64(value, 1, INT64_MAX, &writable->bytes) == 0
			       ? 0
			       : error_set(err, EINVAL, "\"%s\" is no number of bytes", option);
	if ((value = str_after(option, MKFS "uuid="))) {
		replace_string(&writable->uuid, value);
		return 0;
	}
	if ((value = str_after(option, MKFS "fs=")))
		return str_equal(value, writable->fstype)
			       ? 0
			       : error_set(err, EINVAL, "\"%s\" is to be made for a mount of %s",
					   value, writable->fstype);
	return is_one_of(option, known, ARRAY_SIZE(known))
		       ? 0
		       : error_set(err, EOPNOTSUPP, "option \"%s\" is not supported", option);
}

static int set_writable(const Containerd__Types__Mount *mount, struct layer_writable *writable,
			struct error *err)
{
	int r = check_path(mount->source, err);

	replace_string(&writable->path, mount->source);
	replace_string(&writable->fstype, base_type(mount->type));
	for (size_t i = 0; r == 0 && i < mount->n_options; i++)
		r = read_writable_option(mount->options[i], writable, err);
	if (r == 0 && has_transform(mount->type, "mkfs") && writable->bytes == 0)
		r = error_set(err, EINVAL, "option \"" MKFS "size=\" is missing");
	return r < 0 ? error_wrap(err, "%s", mount->source) : 0;
}

/* Who commits the snapshot looks for what was written in this folder of the image. */
static int set_upper(const char *value, const struct earlier *earlier, struct layer_mounts *ret,
		     struct error *err)
{
	const char *rest;
	size_t index;

	if (!parse_point(value, &index, &rest)) {
		replace_string(&ret->upper, value);
		return check_path(value, err);
	}
	if (index >= earlier->count || !is_writable(earlier->mounts[index]))
		return error_set(err, EINVAL, "mount %zu cannot be written to", index);
	if (!str_equal(rest, "/upper"))
		return error_set(err, EOPNOTSUPP,
				 "upperdir is not the folder \"upper\" of mount %zu", index);
	return set_writable(earlier->mounts[index], &ret->writable, err);
}

/* The guest makes the overlay, its upper and its work folder, so what says how is of no use here;
 * nor is whose the files are (shim/user_namespace.h). */
static int read_option(const char *option, const struct earlier *earlier, struct layer_mounts *ret,
		       struct error *err)
{
	const char *value;

	if ((value = str_after(option, "lowerdir=")))
		return set_lowers(value, earlier, ret, err);
	if ((value = str_after(option, "upperdir=")))
		return set_upper(value, earlier, ret, err);
	return 0;
}

static int read_overlay(const Containerd__Types__Mount *mount, const struct earlier *earlier,
			struct layer_mounts *ret, struct error *err)
{
	bool has_format = has_transform(mount->type, "format");
	int r = 0;

	for (size_t i = 0; r == 0 && i < mount->n_options; i++) {
		_cleanup_free_ char *option = NULL;
		r = expand(mount->options[i], has_format, earlier->count, &option, err);
		if (r == 0)
			r = read_option(option, earlier, ret, err);
	}
	if (r == 0 && ret->count == 0)
		r = error_set(err, EINVAL, "the overlay has no lowerdir");
	return r;
}

static int read_bind(const Containerd__Types__Mount *mount, const struct earlier *earlier,
		     struct layer_mounts *ret, struct error *err)
{
	_cleanup_free_ char *source = NULL;
	size_t index;
	const char *rest;
	int r = expand(mount->source, has_transform(mount->type, "format"), earlier->count, &source,
		       err);

	if (r < 0)
		return r;
	if (parse_point(source, &index, &rest) && index < earlier->count &&
	    is_writable(earlier->mounts[index]))
		return error_set(err, EOPNOTSUPP,
				 "a root without layers, on a writable image, is not supported");
	return set_lowers(source, earlier, ret, err);
}

static int read_last(const Containerd__Types__Mount *mount, const struct earlier *earlier,
		     struct layer_mounts *ret, struct error *err)
{
	const char *type = base_type(mount->type);
	int r = check_transforms(mount->type, err);

	if (r < 0)
		return r;
	if (str_equal(type, "overlay"))
		return read_overlay(mount, earlier, ret, err);
	if (str_equal(type, "bind"))
		return read_bind(mount, earlier, ret, err);
	if (is_image(mount) && earlier->count == 0)
		return add_image(mount, ret, err);
	return error_set(err, EOPNOTSUPP, "a root of this type is not supported");
}

/* ---------------------------------------------------------------- all of them */

/* Of an EROFS snapshotter, or an overlay whose folders are to be looked at. */
static bool is_ours(Containerd__Types__Mount *const *mounts, size_t nmounts)
{
	for (size_t i = 0; i < nmounts; i++)
		if (is_image(mounts[i]) || strchr(mounts[i]->type, '/'))
			return true;
	return nmounts == 1 && str_equal(mounts[0]->type, "overlay");
}

static int count_images(const struct layer_mounts *mounts, struct error *err)
{
	size_t count = mounts->count;

	for (size_t i = 0; i < mounts->count; i++)
		count += mounts->items[i].devices.count;
	if (count > LAYER_MOUNTS_IMAGES_MAX)
		return error_set(err, E2BIG, "%zu images of layers are more than %d", count,
				 LAYER_MOUNTS_IMAGES_MAX);
	return 0;
}

int layer_mounts_parse(Containerd__Types__Mount *const *mounts, size_t nmounts,
		       struct layer_mounts *ret, struct error *err)
{
	_cleanup_(layer_mounts_done) struct layer_mounts found = {};
	int r;

	if (!is_ours(mounts, nmounts)) {
		*ret = found;
		return 0;
	}
	if (nmounts > MOUNTS_MAX)
		return error_set(err, E2BIG, "%zu mounts are too many for a root", nmounts);
	const struct earlier earlier = { mounts, nmounts - 1 };
	r = check_earlier(&earlier, err);
	if (r < 0)
		return r;
	r = read_last(mounts[nmounts - 1], &earlier, &found, err);
	if (r < 0)
		return error_wrap(err, "mount %zu (%s)", nmounts - 1, mounts[nmounts - 1]->type);
	r = count_images(&found, err);
	if (r < 0)
		return r;
	*ret = found;
	found = (struct layer_mounts){};
	return 0;
}

void layer_mounts_done(struct layer_mounts *mounts)
{
	forget_layers(mounts);
	free(mounts->writable.path);
	free(mounts->writable.fstype);
	free(mounts->writable.uuid);
	free(mounts->upper);
	*mounts = (struct layer_mounts){};
}

/* ---------------------------------------------------------------- images that the host has mounted
 */

static bool is_on_erofs(const char *path)
{
	struct statfs st;

	return statfs(path, &st) == 0 && (uint32_t)st.f_type == EROFS_SUPER_MAGIC_V1;
}

/* The file behind "/dev/loop3"; NULL: it is no loop device. The caller frees. */
static char *loop_file(const char *device)
{
	const char *number = str_after(device, "/dev/loop");
	_cleanup_free_ char *path = NULL;
	uint64_t index;
	char *text;

	if (!number || str_to_u64(number, 0, UINT32_MAX, &index) < 0)
		return NULL;
	path = xasprintf("/sys/block/loop%s/loop/backing_file", number);
	if (file_read(path, LOOP_PATH_MAX, &text, NULL, NULL) < 0)
		return NULL;
	text[strcspn(text, "\n")] = '\0';
	return text;
}

/* An image that refers to others does not say in mountinfo where they are. */
static int find_image(struct layer_mount *layer, const struct mountinfo *info, struct error *err)
{
	const struct mountinfo_entry *entry = mountinfo_find(info, layer->path);

	if (!entry || !str_equal(entry->point, layer->path) || !str_equal(entry->root, "/") ||
	    !str_equal(entry->type, "erofs"))
		return error_set(err, EOPNOTSUPP, "layer %s is not where an image is mounted",
				 layer->path);
	char *file = loop_file(entry->source);
	if (!file)
		file = xstrdup(entry->source);
	if (file[0] != '/' || str_after(file, "/dev/")) {
		int r = error_set(err, EOPNOTSUPP,
				  "layer %s is mounted of %s, which is no file of an image",
				  layer->path, file);
		free(file);
		return r;
	}
	free(layer->path);
	layer->path = file;
	layer->is_folder = false;
	return 0;
}

static int find_images(struct layer_mounts *mounts, struct error *err)
{
	_cleanup_(mountinfo_done) struct mountinfo info = {};
	size_t folders = 0;
	int r;

	for (size_t i = 0; i < mounts->count; i++)
		folders += mounts->items[i].is_folder;
	if (folders == 0)
		return 0;
	r = mountinfo_read(0, &info, err);
	for (size_t i = 0; r == 0 && i < mounts->count; i++)
		if (mounts->items[i].is_folder)
			r = find_image(&mounts->items[i], &info, err);
	return r;
}

/* Any other overlay costs a system call a layer. */
static bool has_layer_on_erofs(const Containerd__Types__Mount *mount)
{
	bool found = false;

	for (size_t i = 0; !found && i < mount->n_options; i++) {
		const char *value = str_after(mount->options[i], "lowerdir=");
		_cleanup_free_ char *copy = value ? xstrdup(value) : NULL;
		char *rest = copy;
		for (const char *path; !found && (path = strsep(&rest, ":"));)
			found = is_on_erofs(path);
	}
	return found;
}

int layer_mounts_find(Containerd__Types__Mount *const *mounts, size_t nmounts,
		      struct layer_mounts *ret, struct error *err)
{
	_cleanup_(layer_mounts_done) struct layer_mounts found = {};
	bool is_overlay = nmounts == 1 && str_equal(mounts[0]->type, "overlay");
	int r = 0;

	if (!is_overlay || has_layer_on_erofs(mounts[0]))
		r = layer_mounts_parse(mounts, nmounts, &found, err);
	if (r == 0)
		r = find_images(&found, err);
	if (r < 0)
		return r;
	*ret = found;
	found = (struct layer_mounts){};
	return 0;
}
