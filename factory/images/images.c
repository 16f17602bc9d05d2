#include "factory/images/images.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/worker.h"
#include "factory/images/image_keeper.h"

enum {
	THREADS = 2, /* one may be making an image for long */
	JOBS_MAX = 64,
	QUEUE_MAX = 64,
	FAILURES_MAX = 64,
	RETRY_MS = 5 * 60 * 1000,
	TAKE_AGAIN_MS = 10 * 1000,
};

static const char *const state_names[] = {
	[IMAGE_QUEUED] = "queued",
	[IMAGE_MAKING] = "making",
	[IMAGE_READY] = "ready",
	[IMAGE_FAILED] = "failed",
};
DEFINE_STRING_TABLE(image_state, enum image_state, state_names)

/* Whoever asked for an image: first while it is looked for, then (only with `wait`) as one of the
 * task's. */
struct image_wish {
	TAILQ_ENTRY(image_wish) entry;
	struct images *images;
	struct strv layers;
	char *name;
	bool wait;
	image_wish_fn fn; /* NULL: given up, or answered */
	void *userdata;
	struct task *task; /* whose waiter it is; NULL: its look is under way */

	/* The look's result. */
	char key[DIGEST_HEX_SIZE];
	int number;
	struct error err;
	struct image_keeper keeper; /* as it was when it began */
	bool ready;
};

TAILQ_HEAD(wish_list, image_wish);

/* An image that is not ready. */
struct task {
	TAILQ_ENTRY(task) entry;
	char key[DIGEST_HEX_SIZE];
	struct strv layers;
	char *name;
	enum image_state state; /* never READY */
	struct wish_list waiters;
	char *error;        /* of FAILED, and of the last failure; "" before one */
	int number;         /* ditto */
	uint64_t failed_ms; /* CLOCK_MONOTONIC; ditto */
};

TAILQ_HEAD(task_list, task);

struct images {
	struct loop *loop;
	const char *dir;
	uint64_t limit_bytes;
	struct metrics *metrics;
	struct worker_pool *workers;
	struct image_keeper keeper;
	bool taking; /* the folder is being taken */
	uint64_t take_after_ms;
	int cancel_fd; /* readable once we stop */
	bool stopping;
	struct task_list tasks; /* in the order they are made in */
	bool making;
	uint32_t count; /* of the folder as it was last seen */
	uint64_t bytes;
	struct error folder_error;
	char *last_error; /* of an image; "" for none */
};

/* ---------------------------------------------------------------- tasks */

static void task_free(struct task *task)
{
	strv_done(&task->layers);
	free(task->name);
	free(task->error);
	free(task);
}

static struct task *task_find(struct images *images, const char *key)
{
	struct task *task;

	TAILQ_FOREACH (task, &images->tasks, entry)
		if (str_equal(task->key, key))
			return task;
	return NULL;
}

static struct task *task_in_state(struct images *images, enum image_state state)
{
	struct task *task;

	TAILQ_FOREACH (task, &images->tasks, entry)
		if (task->state == state)
			return task;
	return NULL;
}

static uint32_t task_count(const struct images *images, enum image_state state)
{
	const struct task *task;
	uint32_t count = 0;

	TAILQ_FOREACH (task, &images->tasks, entry) {
		count += task->state == state;
	}
	return count;
}

static void task_remove(struct images *images, struct task *task)
{
	TAILQ_REMOVE(&images->tasks, task, entry);
	task_free(task);
}

/* Without those of too many failures that nobody asks about any more. */
static void failures_trim(struct images *images)
{
	while (task_count(images, IMAGE_FAILED) > FAILURES_MAX)
		task_remove(images, task_in_state(images, IMAGE_FAILED));
}

static void failures_forget(struct images *images)
{
	struct task *task, *next;

	TAILQ_FOREACH_SAFE (task, &images->tasks, entry, next)
		if (task->state == IMAGE_FAILED)
			task_remove(images, task);
	replace_string(&images->last_error, "");
}

/* ---------------------------------------------------------------- wishes */

static void wish_free(struct image_wish *wish)
{
	strv_done(&wish->layers);
	error_done(&wish->err);
	free(wish->name);
	free(wish);
}

static void wish_answer(struct image_wish *wish, int number, enum image_state state,
			const struct error *err)
{
	image_wish_fn fn = steal_ptr(wish->fn);

	if (fn)
		fn(number, wish->key, state, err, wish->userdata);
	wish_free(wish);
}

static void answer_waiters(struct task *task, int number, const struct error *err)
{
	struct wish_list waiters = TAILQ_HEAD_INITIALIZER(waiters);
	struct image_wish *wish;

	TAILQ_CONCAT(&waiters, &task->waiters, entry);
	while ((wish = TAILQ_FIRST(&waiters))) {
		TAILQ_REMOVE(&waiters, wish, entry);
		wish_answer(wish, number, number < 0 ? IMAGE_FAILED : IMAGE_READY, err);
	}
}

void images_give_up(struct image_wish *wish)
{
	wish->fn = NULL;
	if (!wish->task)
		return; /* its look frees it */
	TAILQ_REMOVE(&wish->task->waiters, wish, entry);
	wish_free(wish);
}

/* ---------------------------------------------------------------- the folder */

struct taking {
	struct image_keeper keeper; /* of before; then what was taken */
	uint64_t limit_bytes;
	struct stored_images found;
	int number;
	struct error err;
};

static void take_run(void *data)
{
	struct taking *taking = data;

	taking->number = image_keeper_take(&taking->keeper, taking->limit_bytes, &taking->err);
	if (taking->number == 0)
		taking->number = image_keeper_list(&taking->keeper, &taking->found, &taking->err);
	if (taking->number < 0)
		image_keeper_leave(&taking->keeper);
}

static void note_found(struct images *images, const struct stored_images *found)
{
	images->count = (uint32_t)found->count;
	images->bytes = found->bytes;
}

static void folder_failed(struct images *images, const struct error *err)
{
	bool same = str_equal(images->folder_error.message, error_message(err));

	images->count = 0;
	images->bytes = 0;
	images->take_after_ms = clock_monotonic_ms() + TAKE_AGAIN_MS;
	if (same)
		return;
	log_error(NULL, "no images are made, containers go on without: %s", error_message(err));
	(void)error_set(&images->folder_error, err->number, "%s", error_message(err));
}

static void take_done(void *data, void *owner)
{
	struct images *images = owner;
	struct taking *taking = data;

	images->taking = false;
	images->keeper = taking->keeper;
	if (taking->number < 0) {
		folder_failed(images, &taking->err);
	} else {
		if (images->folder_error.number)
			log_info(NULL, "the cache of images %s is in use again", images->dir);
		error_done(&images->folder_error);
		note_found(images, &taking->found);
	}
	stored_images_done(&taking->found);
	error_done(&taking->err);
	free(taking);
}

/* The lock of a folder that is gone is of no use: it is given up on the way. */
static void take_again(struct images *images)
{
	struct taking *taking = NULL;

	if (images->taking || images->making || images->stopping ||
	    clock_monotonic_ms() < images->take_after_ms)
		return;
	taking = xnew(struct taking);
	*taking = (struct taking){ .keeper = images->keeper, .limit_bytes = images->limit_bytes };
	images->keeper.ours = false;
	images->keeper.lock_fd = -EBADF;
	const struct worker_job job = {
		.run = take_run, .done = take_done, .data = taking, .owner = images
	};
	images->taking = true;
	if (worker_submit(images->workers, &job) < 0) {
		images->taking = false;
		images->keeper = taking->keeper;
		free(taking);
	}
}

/* ---------------------------------------------------------------- making */

struct making {
	struct image_keeper keeper;
	char key[DIGEST_HEX_SIZE];
	struct strv layers;
	char *name;
	struct image_making what;
	uint64_t begun_ns;
	int number;
	struct error err;
	struct stored_images found; /* in the folder after it */
	int found_number;
};

static void make_next(struct images *images);

static void make_run(void *data)
{
	struct making *making = data;

	making->number = image_keeper_make(&making->keeper, &making->what, &making->err);
	making->found_number = image_keeper_list(&making->keeper, &making->found, NULL);
}

static const char *failure_reason(int number)
{
	switch (-number) {
	case EFBIG:
		return "too large";
	case ENOSPC:
		return "no space";
	case ENOENT:
		return "missing";
	case ESTALE:
		return "layers replaced";
	case EROFS:
		return "read-only";
	case EIO:
		return "mkfs.erofs failed";
	default:
		return "other";
	}
}

static void make_failed(struct images *images, struct task *task, const struct making *making)
{
	_cleanup_free_ char *what = xasprintf("cannot make the image of %s: %s",
					      *task->name ? task->name : task->layers.items[0],
					      error_message(&making->err));
	bool told = str_equal(task->error, error_message(&making->err));

	log_write(told ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR, task->key, "%s", what);
	metrics_count(images->metrics, COUNTER_IMAGES_FAILED, failure_reason(making->number));
	replace_string(&images->last_error, what);
	replace_string(&task->error, error_message(&making->err));
	task->number = making->number;
	task->failed_ms = clock_monotonic_ms();
	task->state = IMAGE_FAILED;
	failures_trim(images);
}

static void make_succeeded(struct images *images, struct task *task, const struct making *making)
{
	uint64_t ms = (clock_monotonic_ns() - making->begun_ns) / 1000000;

	log_info(task->key, "image of %s made of %zu layers in %llu ms",
		 *task->name ? task->name : task->layers.items[0], task->layers.count,
		 (unsigned long long)ms);
	metrics_count(images->metrics, COUNTER_IMAGES_MADE, "");
	metrics_observe_since(images->metrics, HISTOGRAM_IMAGE_MAKE, making->begun_ns);
	replace_string(&images->last_error, "");
	task_remove(images, task);
}

static void making_free(struct making *making)
{
	strv_done(&making->layers);
	stored_images_done(&making->found);
	error_done(&making->err);
	free(making->name);
	free(making);
}

static void make_done(void *data, void *owner)
{
	struct images *images = owner;
	struct making *making = data;
	struct task *task = task_find(images, making->key);

	images->making = false;
	if (making->found_number == 0)
		note_found(images, &making->found);
	if (images->stopping) {
		making_free(making);
		return; /* its task has been answered */
	}
	answer_waiters(task, making->number, making->number < 0 ? &making->err : NULL);
	if (making->number < 0)
		make_failed(images, task, making);
	else
		make_succeeded(images, task, making);
	making_free(making);
	make_next(images);
}

static struct making *making_new(const struct images *images, const struct task *task)
{
	struct making *making = xnew(struct making);

	making->keeper = images->keeper;
	memcpy(making->key, task->key, sizeof(making->key));
	strv_add_all(&making->layers, &task->layers);
	making->name = xstrdup(task->name);
	making->begun_ns = clock_monotonic_ns();
	making->what = (struct image_making){
		.cache_dir = images->dir,
		.key = making->key,
		.name = making->name,
		.layers = &making->layers,
		.limit_bytes = images->limit_bytes,
		.cancel_fd = images->cancel_fd,
	};
	return making;
}

static void make_next(struct images *images)
{
	struct task *task = task_in_state(images, IMAGE_QUEUED);

	if (images->making || images->stopping || !task)
		return;
	struct making *making = making_new(images, task);
	const struct worker_job job = {
		.run = make_run, .done = make_done, .data = making, .owner = images
	};
	if (worker_submit(images->workers, &job) < 0) {
		making_free(making); /* the next job that ends tries again */
		return;
	}
	images->making = true;
	task->state = IMAGE_MAKING;
}

/* ---------------------------------------------------------------- wanting one */

static void look_run(void *data)
{
	struct image_wish *wish = data;

	wish->number = image_keeper_look(&wish->keeper, &wish->layers, wish->key, &wish->ready,
					 &wish->err);
}

/* NULL: the queue is full. */
static struct task *task_for(struct images *images, struct image_wish *wish)
{
	struct task *task = task_find(images, wish->key);

	if (task)
		return task;
	if (task_count(images, IMAGE_QUEUED) >= QUEUE_MAX)
		return NULL;
	task = xnew(struct task);
	memcpy(task->key, wish->key, sizeof(task->key));
	strv_add_all(&task->layers, &wish->layers);
	task->name = xstrdup(wish->name);
	task->error = xstrdup("");
	task->state = IMAGE_QUEUED;
	TAILQ_INIT(&task->waiters);
	TAILQ_INSERT_TAIL(&images->tasks, task, entry);
	return task;
}

static bool may_retry(const struct task *task, bool wait)
{
	if (task->number == -EFBIG)
		return false;
	return wait || clock_monotonic_ms() - task->failed_ms >= RETRY_MS;
}

static void wish_remembered(struct image_wish *wish, const struct task *task)
{
	_cleanup_(error_done) struct error err = {};
	int r = error_set(&err, task->number, "%s", task->error);

	wish_answer(wish, wish->wait ? r : 0, IMAGE_FAILED, &err);
}

static void wish_begin(struct images *images, struct image_wish *wish)
{
	_cleanup_(error_done) struct error err = {};
	struct task *task = task_for(images, wish);

	if (!task) {
		int r = error_set(&err, EAGAIN, "%d images wait to be made already", QUEUE_MAX);
		wish_answer(wish, r, IMAGE_FAILED, &err);
		return;
	}
	if (task->state == IMAGE_FAILED && !may_retry(task, wish->wait)) {
		wish_remembered(wish, task);
		return;
	}
	if (task->state == IMAGE_FAILED) {
		TAILQ_REMOVE(&images->tasks, task, entry);
		TAILQ_INSERT_TAIL(&images->tasks, task, entry);
		task->state = IMAGE_QUEUED;
	}
	make_next(images);
	if (!wish->wait || !wish->fn) {
		wish_answer(wish, 0, task->state, NULL);
		return;
	}
	wish->task = task;
	TAILQ_INSERT_TAIL(&task->waiters, wish, entry);
}

static void look_done(void *data, void *owner)
{
	struct images *images = owner;
	struct image_wish *wish = data;

	if (images->stopping && wish->number == 0)
		wish->number = error_set(&wish->err, ENOTCONN, "the factory is stopping");
	if (wish->number == -ESTALE) {
		folder_failed(images, &wish->err);
		images->take_after_ms = 0;
		take_again(images);
	}
	if (wish->number < 0)
		wish_answer(wish, wish->number, IMAGE_FAILED, &wish->err);
	else if (wish->ready)
		wish_answer(wish, 0, IMAGE_READY, NULL);
	else
		wish_begin(images, wish);
	make_next(images);
}

/* Whether the folder is ours; else why not. */
static int check_usable(struct images *images, struct error *err)
{
	if (images->stopping)
		return error_set(err, ENOTCONN, "the factory is stopping");
	if (images->keeper.ours)
		return 0;
	take_again(images);
	if (!images->folder_error.number)
		return error_set(err, EAGAIN, "the cache of images is being opened, try again");
	return error_set(err, images->folder_error.number, "%s", images->folder_error.message);
}

int images_prepare(struct images *images, const struct strv *layers, const char *name, bool wait,
		   image_wish_fn fn, void *userdata, struct image_wish **ret_wish,
		   struct error *err)
{
	int r = check_usable(images, err);

	if (r < 0)
		return r;
	if (layers->count == 0 || layers->count > IMAGE_LAYERS_MAX)
		return error_set(err, EINVAL, "an image has 1 to %d layers, not %zu",
				 IMAGE_LAYERS_MAX, layers->count);
	if (!str_empty(name) && !image_name_is_valid(name))
		return error_set(err, EINVAL,
				 "the name \"%.64s\" is not 1 to %d printable characters", name,
				 IMAGE_NAME_MAX);
	struct image_wish *wish = xnew(struct image_wish);
	wish->images = images;
	strv_add_all(&wish->layers, layers);
	wish->name = xstrdup(name ? name : "");
	wish->wait = wait;
	wish->fn = fn;
	wish->userdata = userdata;
	wish->keeper = images->keeper;
	const struct worker_job job = {
		.run = look_run, .done = look_done, .data = wish, .owner = images
	};
	r = worker_submit(images->workers, &job);
	if (r < 0) {
		wish_free(wish);
		return error_set(err, -r, "too much is under way in the cache of images");
	}
	*ret_wish = wish;
	return 0;
}

/* ---------------------------------------------------------------- listing and removing */

struct listing {
	struct image_keeper keeper;
	char *remove; /* key or name */
	bool prune;
	uint64_t freed;
	uint32_t count;
	struct stored_images found;
	int number;
	struct error err;
	images_list_fn on_list; /* one of the two */
	images_remove_fn on_removed;
	void *userdata;
};

static void listing_free(struct listing *listing)
{
	stored_images_done(&listing->found);
	error_done(&listing->err);
	free(listing->remove);
	free(listing);
}

static void listing_run(void *data)
{
	struct listing *listing = data;

	if (listing->remove)
		listing->number = image_keeper_remove(&listing->keeper, listing->remove,
						      &listing->freed, &listing->err);
	else if (listing->prune)
		listing->number = image_keeper_prune(&listing->keeper, &listing->freed,
						     &listing->count, &listing->err);
	if (listing->number == 0)
		listing->number = image_keeper_list(&listing->keeper, &listing->found,
						    &listing->err);
}

static void listing_done(void *data, void *owner)
{
	struct images *images = owner;
	struct listing *listing = data;
	const struct error *err = listing->number < 0 ? &listing->err : NULL;

	if (listing->number == 0)
		note_found(images, &listing->found);
	if (listing->number == 0 && listing->prune)
		failures_forget(images);
	if (listing->on_list)
		listing->on_list(listing->number, &listing->found, err, listing->userdata);
	else
		listing->on_removed(listing->number, listing->freed, listing->count, err,
				    listing->userdata);
	listing_free(listing);
	make_next(images);
}

static int listing_submit(struct images *images, struct listing *listing, struct error *err)
{
	const struct worker_job job = {
		.run = listing_run, .done = listing_done, .data = listing, .owner = images
	};
	int r = check_usable(images, err);

	if (r == 0 && worker_submit(images->workers, &job) < 0)
		r = error_set(err, EAGAIN, "too much is under way in the cache of images");
	if (r < 0)
		listing_free(listing);
	return r;
}

int images_list(struct images *images, images_list_fn fn, void *userdata, struct error *err)
{
	struct listing *listing = xnew(struct listing);

	*listing =
		(struct listing){ .keeper = images->keeper, .on_list = fn, .userdata = userdata };
	return listing_submit(images, listing, err);
}

int images_remove(struct images *images, const char *key_or_name, images_remove_fn fn,
		  void *userdata, struct error *err)
{
	struct listing *listing = xnew(struct listing);

	*listing = (struct listing){
		.keeper = images->keeper,
		.remove = xstrdup(key_or_name),
		.prune = !key_or_name,
		.on_removed = fn,
		.userdata = userdata,
	};
	return listing_submit(images, listing, err);
}

bool images_next_wanted(const struct images *images, const void **cursor,
			struct image_wanted *ret_wanted)
{
	const struct task *before = *cursor;
	const struct task *task = before ? TAILQ_NEXT(before, entry) : TAILQ_FIRST(&images->tasks);

	*cursor = task;
	if (!task)
		return false;
	*ret_wanted = (struct image_wanted){
		.key = task->key,
		.name = task->name,
		.layers = &task->layers,
		.state = task->state,
		.error = task->state == IMAGE_FAILED ? task->error : "",
	};
	return true;
}

void images_status(const struct images *images, struct images_status *ret_status)
{
	const struct task *task = task_in_state((struct images *)images, IMAGE_MAKING);

	*ret_status = (struct images_status){
		.dir = images->dir,
		.count = images->count,
		.bytes = images->bytes,
		.limit_bytes = images->limit_bytes,
		.making = !task         ? ""
			  : *task->name ? task->name
					: task->key,
		.queued = task_count(images, IMAGE_QUEUED),
		.error = images->folder_error.number ? images->folder_error.message
						     : images->last_error,
	};
}

void images_set_limit(struct images *images, uint64_t limit_bytes)
{
	struct task *task, *next;

	if (images->limit_bytes == limit_bytes)
		return;
	images->limit_bytes = limit_bytes;
	TAILQ_FOREACH_SAFE (task, &images->tasks, entry, next)
		if (task->state == IMAGE_FAILED && task->number == -EFBIG)
			task_remove(images, task);
}

/* ---------------------------------------------------------------- begin and end */

struct images *images_new(struct loop *loop, const char *dir, struct jailer *jailer,
			  uint64_t limit_bytes, struct metrics *metrics)
{
	struct images *images = xnew(struct images);
	struct taking *taking = xnew(struct taking);

	images->loop = loop;
	images->dir = dir;
	images->limit_bytes = limit_bytes;
	images->metrics = metrics;
	images->last_error = xstrdup("");
	TAILQ_INIT(&images->tasks);
	images->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (images->cancel_fd < 0) {
		log_error(NULL, "cannot make an eventfd: %s", strerror(errno));
		abort();
	}
	images->workers = worker_pool_new(loop, THREADS, JOBS_MAX);
	images->keeper = (struct image_keeper){ .dir = dir, .jailer = jailer, .lock_fd = -EBADF };
	*taking = (struct taking){ .keeper = images->keeper, .limit_bytes = limit_bytes };
	take_run(taking);
	take_done(taking, images);
	return images;
}

void images_stop(struct images *images)
{
	_cleanup_(error_done) struct error err = {};
	struct task *task;
	int r = error_set(&err, ENOTCONN, "the factory is stopping");

	if (images->stopping)
		return;
	images->stopping = true;
	(void)!write(images->cancel_fd, &(uint64_t){ 1 }, sizeof(uint64_t));
	TAILQ_FOREACH (task, &images->tasks, entry) {
		answer_waiters(task, r, &err);
	}
}

void images_free(struct images *images)
{
	struct task *task, *next;

	if (!images)
		return;
	images_stop(images);
	worker_pool_free(images->workers);
	TAILQ_FOREACH_SAFE (task, &images->tasks, entry, next) {
		task_free(task);
	}
	close_fd(images->cancel_fd);
	image_keeper_leave(&images->keeper);
	error_done(&images->folder_error);
	free(images->last_error);
	free(images);
}
