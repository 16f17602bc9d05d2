/* Each step of a container's life that can fail, failing (base/fault.h), seen by containerd: the
 * answer says which step and why, the pod's other container lives, nothing of the failed one is
 * left, and the next try works. */
#include "shim_bench.h"

#include <dirent.h>

enum { TRIES = 1000 };

#define ARMED "/tmp/kiln-test-fault.XXXXXX"

#define VOLUME                                                                                     \
	",{\"destination\":\"/data\",\"type\":\"bind\",\"source\":\"/tmp\",\"options\":[\"rbind\"]}"

static const char *const errors[] = { "ENOSPC", "EIO", "ENOMEM", "EMFILE", "EINTR" };
static const int numbers[] = { ENOSPC, EIO, ENOMEM, EMFILE, EINTR };

/* In the order they are passed; nth is the passing that fails. */
struct point {
	const char *name;
	unsigned nth;
};

/* Of Create. */
static const struct point creations[] = {
	{ "create.loading", 1 }, { "streams.opening", 1 }, { "create.noting", 1 },
	{ "create.ids", 1 },     { "folder.made", 1 },     { "folder.made", 2 },
	{ "folder.made", 3 },    { "folder.made", 4 },     { "root.mounted", 1 },
	{ "volume.mounted", 1 }, { "create.mounted", 1 },
};

static char armed[] = ARMED;

static void arm(const struct point *point, size_t error)
{
	_cleanup_free_ char *text = xasprintf("%s=%s:%u", point->name, errors[error], point->nth);

	assert_int_equal(file_write_atomic(armed, text, strlen(text), 0600, NULL), 0);
}

static void expect_fault(struct answer answer, const struct point *point, size_t error)
{
	_cleanup_free_ char *sentence = xasprintf("fault point %s: %s", point->name,
						  strerrordesc_np(numbers[error]));

	if (path_exists(armed))
		fail_msg("%s:%u was not passed: %s", point->name, point->nth, answer.message);
	if (answer.code == TTRPC_OK || answer.code == TTRPC_NOT_FOUND ||
	    !strstr(answer.message, sentence))
		fail_msg("%s: %s; expected: %s", ttrpc_code_to_string(answer.code), answer.message,
			 sentence);
}

static size_t count_entries(const char *path)
{
	DIR *dir = opendir(path);
	size_t count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* What a container may leave: descriptors of the shim, mounts, folders in the machine's share. */
struct traces {
	size_t fds, mounts, shared, lowers;
};

/* Those of others come and go. */
static size_t count_mounts(const struct bench *bench)
{
	_cleanup_free_ char *text = NULL;
	size_t count = 0;

	assert_int_equal(file_read("/proc/self/mountinfo", 1 << 20, &text, NULL, NULL), 0);
	for (const char *at = text; (at = strstr(at, bench->dir)); at++)
		count++;
	return count;
}

static struct traces look(struct bench *bench)
{
	_cleanup_free_ char *share = path_join(bench->dir, "vms/vm1/share");
	_cleanup_free_ char *lower = path_join(share, "lower");

	turn(bench->loop, 2); /* what was deferred */
	return (struct traces){
		.fds = count_entries("/proc/self/fd"),
		.mounts = count_mounts(bench),
		.shared = count_entries(share),
		.lowers = count_entries(lower),
	};
}

static bool has_left(const struct traces *before, const struct traces *now)
{
	return now->fds > before->fds || now->mounts != before->mounts ||
	       now->shared != before->shared || now->lowers != before->lowers;
}

/* Events may still be on their way to containerd. */
static void expect_no_traces(struct bench *bench, const struct traces *before, const char *point)
{
	struct traces now = look(bench);

	for (unsigned i = 0; i < TRIES && has_left(before, &now); i++)
		now = look(bench);
	if (has_left(before, &now))
		fail_msg("after %s: %zu descriptors, %zu mounts, %zu and %zu folders; before it "
			 "%zu, %zu, %zu and %zu",
			 point, now.fds, now.mounts, now.shared, now.lowers, before->fds,
			 before->mounts, before->shared, before->lowers);
	assert_false(bench_in_bundle(bench, "c2", "kiln.json"));
}

/* The pod's other container, which runs. */
static void start_neighbour(struct bench *bench)
{
	bench_make_bundle(bench, "c2", SPEC_JSON("", VOLUME, ""));
	expect_ok(bench_create(bench, "c1"));
	expect_ok(bench_start(bench, "c1", ""));
	await(bench->loop, strstr(strbuf_text(&bench->events), "start"));
}

static void expect_neighbour_lives(struct bench *bench)
{
	expect_ok(bench_state(bench, "c1", ""));
	assert_true(bench_is_shared(bench, "c1"));
	assert_int_equal(bench->releases, 0);
	expect_ok(bench_kill(bench, "c1", "", SIGTERM));
}

static void creation_fails_beside_a_neighbour(void **state)
{
	struct bench *bench = *state;

	start_neighbour(bench);
	bench->agent.die_by_signal = true; /* the one that is waited for last */
	const struct traces before = look(bench);
	for (size_t i = 0; i < ARRAY_SIZE(creations); i++) {
		for (size_t e = 0; e < ARRAY_SIZE(errors); e++) {
			arm(&creations[i], e);
			expect_fault(bench_create(bench, "c2"), &creations[i], e);
			expect_no_traces(bench, &before, creations[i].name);
		}
	}
	expect_neighbour_lives(bench);
}

static void first_one_fails(const struct point *point, size_t error, unsigned claims)
{
	struct bench *bench = NULL;

	(void)bench_setup((void **)&bench);
	arm(point, error);
	expect_fault(bench_create(bench, "c1"), point, error);
	assert_false(bench_is_shared(bench, "c1"));
	assert_int_equal(bench->claims, claims);
	await(bench->loop, bench->releases == claims);
	await(bench->loop, !bench_in_bundle(bench, "c1", "kiln.json"));
	(void)bench_teardown((void **)&bench);
}

static void creation_of_the_first_gives_the_machine_back(void **state _unused_)
{
	static const struct point claiming = { "sandbox.claiming", 1 };

	/* The first two come before a machine, and the container has no volume. */
	for (size_t i = 0; i < ARRAY_SIZE(creations); i++)
		if (!str_equal(creations[i].name, "volume.mounted"))
			first_one_fails(&creations[i], i % ARRAY_SIZE(errors), i >= 2);
	first_one_fails(&claiming, 0, 0);
}

static void exec_fails(void **state)
{
	static const struct point points[] = { { "exec.adding", 1 }, { "streams.opening", 1 } };
	struct bench *bench = *state;

	start_neighbour(bench);
	const struct traces before = look(bench);
	for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
		for (size_t e = 0; e < ARRAY_SIZE(errors); e++) {
			arm(&points[i], e);
			expect_fault(bench_exec(bench, "c1", "x1", PROCESS_JSON), &points[i], e);
			expect_no_traces(bench, &before, points[i].name);
		}
	}
	expect_ok(bench_exec(bench, "c1", "x1", PROCESS_JSON));
	expect_ok(bench_start(bench, "c1", "x1"));
}

static void start_kill_and_delete_fail_and_can_be_asked_again(void **state)
{
	static const struct point starting = { "process.starting", 1 },
				  signalling = { "process.signalling", 1 },
				  deleting = { "delete.begun", 1 };
	struct bench *bench = *state;

	bench->agent.die_by_signal = true;
	for (size_t e = 0; e < ARRAY_SIZE(errors); e++) {
		expect_ok(bench_create(bench, "c1"));
		arm(&starting, e);
		expect_fault(bench_start(bench, "c1", ""), &starting, e);
		expect_ok(bench_state(bench, "c1", ""));
		expect_ok(bench_start(bench, "c1", ""));
		arm(&signalling, e);
		expect_fault(bench_kill(bench, "c1", "", SIGKILL), &signalling, e);
		expect_ok(bench_kill(bench, "c1", "", SIGKILL));
		fake_stream_set(&bench->agent.out, NULL, 0, true);
		fake_stream_set(&bench->agent.err, NULL, 0, true);
		expect_ok(bench_wait(bench, "c1", ""));
		arm(&deleting, e);
		expect_fault(bench_delete(bench, "c1", ""), &deleting, e);
		assert_true(bench_is_shared(bench, "c1"));
		expect_ok(bench_delete(bench, "c1", ""));
		assert_false(bench_is_shared(bench, "c1"));
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(creation_fails_beside_a_neighbour),
		cmocka_unit_test(creation_of_the_first_gives_the_machine_back),
		T(exec_fails),
		T(start_kill_and_delete_fail_and_can_be_asked_again),
	};

	log_set_level(LOG_LEVEL_ERROR);
	if (!bench_private_mounts())
		return 0;
	close_fd(mkstemp(armed));
	(void)unlink(armed);
	_cleanup_free_ char *variable = xasprintf("@%s", armed);
	setenv("KILN_FAULT", variable, 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
