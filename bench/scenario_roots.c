/* roots.X.WHO: a container's start by each way its root file system comes to it, and by runc. WHO
 * is
 *
 *   overlay-dax     an image of its layers in a DAX window
 *   overlay-image   the same on a block slot: of the factory whose template has no windows
 * (--slots) overlay-share   the layers through the share, for the cache has no image of them: it is
 * removed before, and being made meanwhile, as for the first container of an image share all of it
 * on the host (io.kiln.rootfs=share) runc
 *
 * They take turns, the order of which changes. X is
 *
 *   output          `ctr run --rm … echo` is started -> the first byte that echo wrote is read
 *   run             the same -> ctr has ended
 *   ready           `ctr run -d … sleep` is started -> it has ended: the container runs
 *
 * That a container has the root it is named after is asked of the factory while it runs. */

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/spawn.h"
#include "bench/ctr.h"
#include "bench/factory_client.h"
#include "bench/scenarios.h"

#define WARMUPS 1
#define SCRATCH "/tmp"
#define SAID    "ready"
#define END_MS  60000

static const struct root {
	const char *name;
	const char *what;
	const char *driver; /* io.kiln.rootfs; NULL: no machine */
	bool slots;         /* by the factory that has no windows */
	bool cold;          /* no image in the cache */
} roots[] = {
	{ "overlay-dax", "an image in a DAX window", "overlay", false, false },
	{ "overlay-image", "an image on a block slot", "overlay", true, false },
	{ "overlay-share", "no image yet", "overlay", false, true },
	{ "share", "the plain share", "share", false, false },
	{ "runc", "runc", NULL, false, false },
};

struct contestant {
	const struct root *root;
	const char *factory; /* NULL: runc */
	char *config;        /* owned; file for the shim */
};

/* ---------------------------------------------------------------- one start */

static void add_sample(struct bench *bench, const struct contestant *contestant, const char *event,
		       const char *what, uint64_t ns)
{
	_cleanup_free_ char *name = xasprintf("roots.%s.%s", event, contestant->root->name);
	_cleanup_free_ char *text = xasprintf("%s, %s", what, contestant->root->what);

	series_add(result_series(bench->result, name, text), ns);
}

static void begin_run(const struct bench *bench, const struct contestant *contestant,
		      const char *how, const char *id, struct strv *argv)
{
	ctr_run_begin(bench, contestant->factory ? CTR_KILN : CTR_RUNC, contestant->config, how,
		      argv);
	if (contestant->root->driver)
		strv_addf(argv, "--annotation=io.kiln.rootfs=%s", contestant->root->driver);
	strv_add(argv, bench->options.image);
	strv_add(argv, id);
}

static void on_end(int fd _unused_, unsigned events _unused_, void *userdata)
{
	*(bool *)userdata = true;
}

static int wait_end(struct bench *bench, int pidfd, struct error *err)
{
	bool ended = false;
	int status = 0;
	_cleanup_(loop_watch_free_cleanup) struct loop_watch *watch _unused_ = loop_watch_new(
		bench->loop, pidfd, LOOP_READ, on_end, &ended);

	if (!loop_run_until(bench->loop, &ended, END_MS))
		return error_set(err, ETIMEDOUT, "ctr has not ended in %d s", END_MS / 1000);
	int r = spawn_reap(pidfd, &status);
	if (r < 0)
		return error_set_errno(err, r, "cannot wait for ctr");
	return status == 0 ? 0 : spawn_status_error("ctr", status, NULL, err);
}

/* What ctr writes, to its end; *ret_first is when the first byte came. */
static int read_output(int fd, uint64_t *ret_first, struct error *err)
{
	char text[512];
	ssize_t len = read(fd, text, 1);

	*ret_first = clock_monotonic_ns();
	if (len == 1) {
		ssize_t more = read_full(fd, text + 1, sizeof(text) - 2);
		len += more > 0 ? more : 0;
	}
	text[len > 0 ? len : 0] = '\0';
	return str_equal(text, SAID "\n") ? 0 : error_set(err, EBADMSG, "ctr says \"%s\"", text);
}

/* *ret_fd is the end of a pipe that ctr writes to. */
static int start_ctr(const struct strv *argv, int *ret_pidfd, int *ret_fd, struct error *err)
{
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set_errno(err, errno, "cannot make a pipe");
	_cleanup_close_ int read_fd = ends[0], write_fd = ends[1];
	int r = spawn(&(struct spawn_options){ .argv = argv->items,
					       .fds = (struct spawn_fd[]){ { write_fd, 1 },
									   { write_fd, 2 } },
					       .nfds = 2 },
		      &pid, ret_pidfd, err);
	if (r == 0)
		*ret_fd = steal_fd(&read_fd);
	return r;
}

static int measure_output(struct bench *bench, const struct contestant *contestant, bool counted,
			  struct error *err)
{
	_cleanup_(strv_done) struct strv argv = {};
	_cleanup_(error_done) struct error ignored = {};
	_cleanup_free_ char *id = bench_id(bench);
	_cleanup_close_ int pidfd = -EBADF, fd = -EBADF;
	uint64_t first = 0;

	begin_run(bench, contestant, "--rm", id, &argv);
	strv_add(&argv, "echo");
	strv_add(&argv, SAID);
	uint64_t begun = clock_monotonic_ns();
	int r = start_ctr(&argv, &pidfd, &fd, err);
	if (r < 0)
		return r;
	r = read_output(fd, &first, err);
	int ended = wait_end(bench, pidfd, r < 0 ? &ignored : err);
	r = r < 0 ? r : ended;
	if (r == 0 && counted) {
		add_sample(bench, contestant, "output", "first output", first - begun);
		add_sample(bench, contestant, "run", "ctr run --rm", clock_monotonic_ns() - begun);
	}
	return r;
}

/* The factory's word for the root of a container. */
static int check_root(struct bench *bench, const struct contestant *contestant, const char *id,
		      struct error *err)
{
	_cleanup_(list_response_free_cleanup) Kiln__Factory__V1__ListResponse *list = NULL;
	int r = factory_list(bench->loop, contestant->factory, &list, err);

	for (size_t i = 0; r == 0 && i < list->n_vms; i++) {
		for (size_t j = 0; j < list->vms[i]->n_roots; j++) {
			const Kiln__Factory__V1__ContainerRoot *root = list->vms[i]->roots[j];

			if (!str_equal(root->container_id, id))
				continue;
			return str_equal(root->root, contestant->root->name)
				       ? 0
				       : error_set(err, EINVAL, "its root is %s, not %s",
						   root->root, contestant->root->name);
		}
	}
	return r < 0 ? r : error_set(err, ENOENT, "the factory has no container %s", id);
}

static int measure_ready(struct bench *bench, const struct contestant *contestant, bool counted,
			 struct error *err)
{
	_cleanup_(strv_done) struct strv argv = {};
	_cleanup_(error_done) struct error ignored = {};
	_cleanup_free_ char *output = NULL;
	_cleanup_free_ char *id = bench_id(bench);

	begin_run(bench, contestant, "-d", id, &argv);
	strv_add(&argv, "sleep");
	strv_add(&argv, "600");
	uint64_t begun = clock_monotonic_ns();
	int r = spawn_and_wait(argv.items, &output, err);
	if (r < 0)
		return r;
	if (counted)
		add_sample(bench, contestant, "ready", "ctr run -d", clock_monotonic_ns() - begun);
	if (contestant->factory)
		r = check_root(bench, contestant, id, err);
	int deleted = ctr_delete(bench, id, r < 0 ? &ignored : err);
	return r < 0 ? r : deleted;
}

/* ---------------------------------------------------------------- turns */

/* All that no machine has open, for one that a shim has asked for has no name. */
static int remove_images(const char *factory, struct error *err)
{
	_cleanup_free_ char *output = NULL;

	return spawn_and_wait(SPAWN_ARGV("kiln-ctl", "image", "prune", "--socket", factory),
			      &output, err);
}

typedef int (*measure_fn)(struct bench *bench, const struct contestant *contestant, bool counted,
			  struct error *err);

/* The machine waits, and no image is being made by whoever was before. */
static int take_turn(struct bench *bench, const struct contestant *contestant, measure_fn measure,
		     bool counted, struct error *err)
{
	const char *factory = contestant->factory;
	int r = 0;

	if (factory)
		r = ctr_prepare_image(bench, factory, bench->options.image, err);
	if (r == 0 && factory)
		r = factory_warm(bench->loop, factory, 1, err);
	if (r == 0 && contestant->root->cold)
		r = remove_images(factory, err);
	if (r == 0)
		r = measure(bench, contestant, counted, err);
	return r < 0 ? error_wrap(err, "%s", contestant->root->name) : 0;
}

static int take_turns(struct bench *bench, const struct contestant *contestants, size_t count,
		      struct error *err)
{
	unsigned runs = bench_share(bench, COUNT_ROOTS);
	int r = 0;

	for (unsigned i = 0; r == 0 && i < WARMUPS + runs; i++) {
		progress_step(&bench->progress, i, WARMUPS + runs);
		for (size_t j = 0; r == 0 && j < count; j++) {
			const struct contestant *contestant = &contestants[(i + j) % count];

			r = take_turn(bench, contestant, measure_output, i >= WARMUPS, err);
			if (r == 0)
				r = take_turn(bench, contestant, measure_ready, i >= WARMUPS, err);
		}
	}
	return r;
}

/* ---------------------------------------------------------------- the scenario */

static int add_contestant(const struct bench *bench, const struct root *root, const char *folder,
			  struct contestant *contestants, size_t *count, struct error *err)
{
	const struct bench_options *options = &bench->options;
	struct contestant *contestant = &contestants[*count];

	if (root->slots && !options->slots)
		return 0;
	*contestant = (struct contestant){ .root = root };
	++*count;
	if (!root->driver)
		return 0;
	contestant->factory = root->slots ? options->slots : options->factory;
	contestant->config = path_join(folder, root->name);
	return ctr_write_config(contestant->factory, contestant->config, err);
}

int scenario_roots(struct bench *bench, struct error *err)
{
	struct contestant contestants[ARRAY_SIZE(roots)] = {};
	_cleanup_free_ char *folder = NULL;
	size_t count = 0;
	int r = 0;

	if (bench->options.counts[COUNT_ROOTS] == 0)
		return 0;
	r = bench_make_folder(SCRATCH, &folder, err);
	if (r < 0)
		return r;
	if (bench->options.slots)
		r = factory_init(bench->loop, bench->options.slots, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(roots); i++)
		r = add_contestant(bench, &roots[i], folder, contestants, &count, err);
	if (r == 0)
		r = take_turns(bench, contestants, count, err);
	for (size_t i = 0; i < count; i++)
		free(contestants[i].config);
	(void)!path_remove(folder, NULL);
	return r;
}
