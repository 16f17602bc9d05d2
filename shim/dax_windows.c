#include "shim/dax_windows.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/waiters.h"
#include "factory/guest/carried_device.h"
#include "factory/guest/dax_window.h"
#include "shim/dax_link.h"

static const char *const dax_window_state_names[] = {
	[DAX_WINDOW_EMPTY] = "empty",
	[DAX_WINDOW_ATTACHING] = "attaching",
	[DAX_WINDOW_HOLDING] = "holding",
	[DAX_WINDOW_BROKEN] = "broken",
};
DEFINE_STRING_TABLE(dax_window_state, enum dax_window_state, dax_window_state_names)

static const unsigned dax_window_next[] = {
	[DAX_WINDOW_EMPTY] = STATE(DAX_WINDOW_ATTACHING),
	[DAX_WINDOW_ATTACHING] = STATE(DAX_WINDOW_HOLDING) | STATE(DAX_WINDOW_BROKEN),
	[DAX_WINDOW_HOLDING] = 0,
	[DAX_WINDOW_BROKEN] = 0,
};
const struct state_machine dax_window_states = STATE_MACHINE("DAX window", dax_window_state_names,
							     dax_window_next);

struct window {
	struct dax_windows *windows; /* whose it is */
	enum dax_window_state state;
	char key[DIGEST_HEX_SIZE]; /* not in EMPTY */
	size_t unanswered;         /* files, in ATTACHING */
	struct error error;        /* of the first file that was not taken, in ATTACHING */
	struct waiters waiters;    /* whose dax_windows_attach() has not called back */
};

struct dax_windows {
	struct loop *loop;
	struct dax_link *link; /* NULL once closed */
	char *sandbox_id;
	size_t carried;
	size_t count;
	uint64_t bytes;
	struct window items[DAX_WINDOWS_MAX];
};

static size_t number_of(const struct window *window)
{
	return (size_t)(window - window->windows->items);
}

static void set_state(struct window *window, enum dax_window_state state)
{
	_cleanup_free_ char *object = xasprintf("%s window %zu (%.12s)",
						window->windows->sandbox_id, number_of(window),
						window->key);

	state_change(&dax_window_states, object, window->state, state);
	window->state = state;
}

static void tell_held(void *userdata)
{
	static const struct error none = {};
	struct window *window = userdata;

	waiters_answer(&window->waiters, (int)number_of(window), &none);
}

static void on_put(int number, const struct error *err, void *userdata)
{
	struct window *window = userdata;
	_cleanup_(error_done) struct error first = {};

	if (number < 0 && !window->error.number)
		(void)error_set(&window->error, -number, "%s", error_message(err));
	if (--window->unanswered > 0)
		return;
	error_move(&first, &window->error);
	set_state(window, first.number ? DAX_WINDOW_BROKEN : DAX_WINDOW_HOLDING);
	if (first.number)
		log_warning(window->windows->sandbox_id, "image %.12s: %s", window->key,
			    error_message(&first));
	waiters_answer(&window->waiters, first.number ? -first.number : (int)number_of(window),
		       &first);
}

static struct window *find_holder(struct dax_windows *windows, const char *key)
{
	for (size_t i = 0; i < windows->count; i++) {
		struct window *window = &windows->items[i];
		if ((window->state == DAX_WINDOW_ATTACHING ||
		     window->state == DAX_WINDOW_HOLDING) &&
		    str_equal(window->key, key))
			return window;
	}
	return NULL;
}

static struct window *find_empty(struct dax_windows *windows)
{
	for (size_t i = 0; i < windows->count; i++)
		if (windows->items[i].state == DAX_WINDOW_EMPTY)
			return &windows->items[i];
	return NULL;
}

static uint64_t room_for(uint64_t bytes)
{
	return (bytes + DAX_WINDOW_UNIT - 1) / DAX_WINDOW_UNIT * DAX_WINDOW_UNIT;
}

static uint64_t room_for_all(const struct slot_file *files, size_t count)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < count; i++)
		bytes += room_for(files[i].bytes);
	return bytes;
}

static void put_all(struct window *window, struct slot_file *files, size_t count)
{
	struct dax_window_request request = { .window = (uint32_t)number_of(window) };

	window->unanswered = count;
	for (size_t i = 0; i < count; i++) {
		request.is_last = i + 1 == count;
		dax_link_put(window->windows->link, &request, steal_fd(&files[i].fd), on_put,
			     window);
		request.offset += room_for(files[i].bytes);
	}
}

bool dax_windows_attach(struct dax_windows *windows, const char *key, struct slot_file *files,
			size_t count, dax_windows_fn fn, void *userdata)
{
	struct window *window = find_holder(windows, key);

	if (window) {
		for (size_t i = 0; i < count; i++)
			close_fd(steal_fd(&files[i].fd));
		waiters_add(&window->waiters, fn, userdata);
		if (window->state == DAX_WINDOW_HOLDING)
			loop_defer(windows->loop, tell_held, window);
		return true;
	}
	window = room_for_all(files, count) <= windows->bytes ? find_empty(windows) : NULL;
	if (!window)
		return false;
	memcpy(window->key, key, sizeof(window->key));
	set_state(window, DAX_WINDOW_ATTACHING);
	waiters_add(&window->waiters, fn, userdata);
	put_all(window, files, count);
	return true;
}

char *dax_windows_device(const struct dax_windows *windows, size_t window)
{
	return carried_device(windows->carried + window);
}

struct dax_windows *dax_windows_new(const struct dax_windows_options *options)
{
	struct dax_windows *windows = xnew(struct dax_windows);

	windows->loop = options->loop;
	windows->link = dax_link_new(options->loop, options->vm_dir);
	windows->sandbox_id = xstrdup(options->sandbox_id);
	windows->carried = options->carried;
	windows->count = options->count < DAX_WINDOWS_MAX ? options->count : DAX_WINDOWS_MAX;
	windows->bytes = options->bytes;
	for (size_t i = 0; i < windows->count; i++) {
		windows->items[i].windows = windows;
	}
	return windows;
}

/* Calls that are deferred already come before it, and find nobody who waits. */
static void free_windows(void *userdata)
{
	struct dax_windows *windows = userdata;

	for (size_t i = 0; i < windows->count; i++)
		error_done(&windows->items[i].error);
	free(windows->sandbox_id);
	free(windows);
}

void dax_windows_close(struct dax_windows *windows)
{
	_cleanup_(error_done) struct error err = {};

	if (!windows)
		return;
	dax_link_free(steal_ptr(windows->link));
	(void)error_set(&err, ECANCELED, "the machine is being released");
	for (size_t i = 0; i < windows->count; i++)
		waiters_answer(&windows->items[i].waiters, -ECANCELED, &err);
	loop_defer(windows->loop, free_windows, windows);
}
