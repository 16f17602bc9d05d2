/* Bytes as the mounts of a root, one in each line, its words apart by tabs: what is taken keeps the
 * promises of shim/layer_mounts.h. And as what `start` reads, which it always takes. The fuzzers
 * are linked without the programs' rooms, so the modules come in whole. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "shim/bootstrap.c"
#include "shim/layer_mounts.c"
#include "shim/mountinfo.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LINES = 400, WORDS = 16 };

struct input {
	Containerd__Types__Mount mounts[LINES];
	Containerd__Types__Mount *list[LINES];
	char *words[LINES][WORDS];
	size_t count;
};

static void read_line(struct input *input, char *line)
{
	size_t i = input->count++;
	Containerd__Types__Mount *mount = &input->mounts[i];

	containerd__types__mount__init(mount);
	input->list[i] = mount;
	mount->options = input->words[i];
	mount->type = strsep(&line, "\t");
	mount->source = line ? strsep(&line, "\t") : (char *)"";
	while (line && mount->n_options < WORDS)
		mount->options[mount->n_options++] = strsep(&line, "\t");
}

static void check_taken(const struct layer_mounts *mounts)
{
	size_t images = mounts->count;

	for (size_t i = 0; i < mounts->count; i++) {
		const struct layer_mount *layer = &mounts->items[i];
		if (layer->path[0] != '/' || (layer->is_folder && layer->devices.count))
			abort();
		for (size_t d = 0; d < layer->devices.count; d++)
			if (layer->devices.items[d][0] != '/')
				abort();
		images += layer->devices.count;
	}
	if (images > LAYER_MOUNTS_IMAGES_MAX || (mounts->upper && mounts->upper[0] != '/'))
		abort();
	if (mounts->writable.path && (mounts->writable.path[0] != '/' || !mounts->writable.fstype))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct input input;
	_cleanup_free_ char *text = xstrndup((const char *)data, size);
	_cleanup_(layer_mounts_done) struct layer_mounts mounts = {};
	_cleanup_(error_done) struct error err = {};
	struct bootstrap bootstrap;
	char *rest = text;

	input.count = 0;
	while (rest && input.count < LINES)
		read_line(&input, strsep(&rest, "\n"));
	if (layer_mounts_parse(input.list, input.count, &mounts, &err) == 0)
		check_taken(&mounts);
	else if (!err.message || mounts.count)
		abort();
	bootstrap_read(data, size, "c1", &bootstrap);
	bootstrap_done(&bootstrap);
	return 0;
}
