#include "shim/layer_losses.h"

#include <fts.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/worker.h"
#include "factory/base/layout.h"
#include "factory/client/image_request.h"

/* ---------------------------------------------------------------- looking */

/* Without a place of its own: threads share the working folder. */
enum { WALK = FTS_PHYSICAL | FTS_NOCHDIR };

static char *loss_of(const FTSENT *entry)
{
	const struct stat *st = entry->fts_statp;

	if (entry->fts_info == FTS_DP || entry->fts_info == FTS_NS)
		return NULL;
	if (st->st_uid >= UID_RANGE_SIZE || st->st_gid >= UID_RANGE_SIZE)
		return xasprintf("%s belongs to %u:%u", entry->fts_path, st->st_uid, st->st_gid);
	if (S_ISREG(st->st_mode) && lgetxattr(entry->fts_path, "security.capability", NULL, 0) > 0)
		return xasprintf("%s has capabilities", entry->fts_path);
	return NULL;
}

char *layer_losses_find(const struct strv *layers)
{
	char *loss = NULL;
	FTSENT *entry;
	FTS *walk = layers->count > 0 ? fts_open(layers->items, WALK, NULL) : NULL;

	if (!walk)
		return NULL;
	while (!loss && (entry = fts_read(walk)))
		loss = loss_of(entry);
	fts_close(walk);
	return loss;
}

/* ---------------------------------------------------------------- waiting */

struct avoiding {
	struct loop *loop;
	const char *factory_address, *container_id; /* borrowed */
	struct strv layers;                         /* owned */
	layer_losses_fn fn;
	void *userdata;
	struct worker_pool *pool; /* owned */
	char *loss;               /* owned; the worker's, until it is done */
	bool was_made;
};

static void avoiding_end(void *userdata)
{
	struct avoiding *avoiding = userdata;

	avoiding->fn(avoiding->was_made, avoiding->userdata);
	worker_pool_free(avoiding->pool);
	strv_done(&avoiding->layers);
	free(avoiding->loss);
	free(avoiding);
}

static void on_image(const struct error *err, void *userdata)
{
	struct avoiding *avoiding = userdata;

	avoiding->was_made = !err->number;
	if (err->number)
		log_warning(avoiding->container_id,
			    "files lose what they have: %s, and there is no "
			    "image of the layers: %s",
			    avoiding->loss, error_message(err));
	avoiding_end(avoiding);
}

static void look(void *data)
{
	struct avoiding *avoiding = data;

	avoiding->loss = layer_losses_find(&avoiding->layers);
}

/* From inside the pool, which ends after this. */
static void on_looked(void *data, _unused_ void *owner)
{
	struct avoiding *avoiding = data;

	if (!avoiding->loss) {
		loop_defer(avoiding->loop, avoiding_end, avoiding);
		return;
	}
	log_info(avoiding->container_id, "it waits for the image of its layers: %s",
		 avoiding->loss);
	image_wait(avoiding->loop, avoiding->factory_address, &avoiding->layers, on_image,
		   avoiding);
}

void layer_losses_avoid(struct loop *loop, const char *factory_address, const char *container_id,
			const struct strv *layers, layer_losses_fn fn, void *userdata)
{
	struct avoiding *avoiding = xnew(struct avoiding);
	const struct worker_job job = { .run = look, .done = on_looked, .data = avoiding };

	*avoiding = (struct avoiding){
		.loop = loop,
		.factory_address = factory_address,
		.container_id = container_id,
		.fn = fn,
		.userdata = userdata,
		.pool = worker_pool_new(loop, 1, 1),
	};
	strv_add_all(&avoiding->layers, layers);
	if (worker_submit(avoiding->pool, &job) < 0)
		loop_defer(loop, avoiding_end, avoiding);
}
