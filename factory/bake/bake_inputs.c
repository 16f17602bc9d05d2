#include "factory/bake/bake_inputs.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"

enum { COPY_CHUNK = 64 << 20 };

/* What is read is stored at once: a bake that fails is tried again. */
int bake_inputs_read(struct bake_inputs *inputs, struct error *err)
{
	_cleanup_(error_done) struct error why = {};

	known_digests_load(inputs->store, &inputs->known);
	int r = template_inputs_read(inputs->definition, inputs->host, &inputs->known,
				     &inputs->values, err);
	if (known_digests_store(&inputs->known, inputs->store, &why) < 0)
		log_warning(inputs->definition->name, "its inputs will be read again: %s",
			    error_message(&why));
	return r;
}

void bake_inputs_done(struct bake_inputs *inputs)
{
	template_inputs_done(&inputs->values);
	known_digests_done(&inputs->known);
}

/* ---------------------------------------------------------------- copies */

static int copy_file(const char *input, const char *path, struct error *err)
{
	_cleanup_close_ int from = open(input, O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
				      TEMPLATE_FILE_MODE);
	ssize_t copied;

	if (from < 0 || to < 0)
		return error_set_errno(err, errno, "cannot copy %s to %s", input, path);
	while ((copied = sendfile(to, from, NULL, COPY_CHUNK)) > 0)
		continue;
	if (copied < 0 || fsync(to) < 0)
		return error_set_errno(err, errno, "cannot copy %s to %s", input, path);
	return 0;
}

int bake_inputs_copy_images(const struct bake_inputs *inputs, const char *dir, struct error *err)
{
	const struct carried *images = &inputs->definition->images;
	_cleanup_free_ char *image = path_join(dir, "image");
	_cleanup_free_ char *folder = path_join(dir, CARRIED_FOLDER);

	int r = copy_file(inputs->definition->image, image, err);
	if (r == 0 && images->count > 0)
		r = dir_make(folder, TEMPLATE_DIR_MODE, err);
	for (size_t i = 0; r == 0 && i < images->count; i++) {
		_cleanup_free_ char *path = carried_path(dir, i);
		r = copy_file(images->items[i].file, path, err);
	}
	return r;
}

/* ---------------------------------------------------------------- comparing */

static int refuse(const struct bake_inputs *inputs, struct error *err, const char *kind,
		  const char *name)
{
	known_digests_forget(inputs->store);
	return error_set(err, ESTALE, "%s %s was written to during the bake", kind, name);
}

static int check_copy(const struct bake_inputs *inputs, const char *path, const char *digest,
		      const char *kind, const char *name, struct error *err)
{
	char hex[DIGEST_HEX_SIZE];
	int r = digest_file(path, hex, err);

	if (r < 0)
		return r;
	return str_equal(hex, digest) ? 0 : refuse(inputs, err, kind, name);
}

static int copy_checked(const struct bake_inputs *inputs, enum template_input input,
			const char *path, struct error *err)
{
	const char *file = template_input_path(inputs->definition, input);
	int r = copy_file(file, path, err);

	return r < 0 ? r
		     : check_copy(inputs, path, inputs->values.values[input],
				  template_input_to_string(input), file, err);
}

int bake_inputs_copy_kernel(const struct bake_inputs *inputs, const char *kernel,
			    const char *initrd, struct error *err)
{
	int r = copy_checked(inputs, INPUT_KERNEL, kernel, err);
	return r < 0 ? r : copy_checked(inputs, INPUT_INITRD, initrd, err);
}

/* The inputs were read one after another, and then used: all that time they must have been the
 * same, or the template is of something that never was. */
static int check_originals(struct bake_inputs *inputs, struct error *err)
{
	_cleanup_(template_inputs_done) struct template_inputs now = {};
	int r = template_inputs_read(inputs->definition, inputs->host, &inputs->known, &now, err);

	if (r < 0)
		return r;
	_cleanup_free_ char *difference = template_inputs_difference(&inputs->values, &now);
	if (!difference)
		return 0;
	known_digests_forget(inputs->store);
	return error_set(err, ESTALE, "an input was written to during the bake: %s", difference);
}

int bake_inputs_check(struct bake_inputs *inputs, const char *dir, const char *image_digest,
		      struct error *err)
{
	const struct carried *images = &inputs->values.images;
	int r = check_originals(inputs, err);

	if (r == 0 && !str_equal(image_digest, inputs->values.values[INPUT_IMAGE]))
		r = refuse(inputs, err, "root image", inputs->definition->image);
	for (size_t i = 0; r == 0 && i < images->count; i++) {
		_cleanup_free_ char *path = carried_path(dir, i);
		r = check_copy(inputs, path, images->items[i].digest, "image",
			       images->items[i].name, err);
	}
	return r;
}
