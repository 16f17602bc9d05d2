/* The watch of a template's inputs, with real files, a worker and a program that calls itself QEMU.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "factory/templates/input_watch.h"
#include "tests/unit/factory/inputs_fixture.h"

#define LOOK_MS (10 * INPUT_WATCH_MS)

struct bench {
	struct inputs_fixture f;
	char *qemu;
	struct template_host host; /* as it was at the start */
	struct template_manifest manifest;
	struct loop *loop;
	struct worker_pool *workers;
	struct input_watch *watch;
	bool looked;
};

static void on_look(struct input_watch *watch _unused_, void *userdata)
{
	struct bench *bench = userdata;

	bench->looked = true;
}

static int setup(void **state)
{
	static const struct template_host_choice choice = { "tcg", "serial", "no" };
	struct bench *bench = xnew(struct bench);
	_cleanup_(known_digests_done) struct known_digests known = {};

	inputs_setup(&bench->f);
	bench->qemu = path_join(bench->f.dir, "qemu");
	write_input(&bench->f, "qemu", "#!/bin/sh\nexec cat \"${0%/*}/version\"\n", 0755);
	write_input(&bench->f, "version", "QEMU 1\n", 0644);
	assert_int_equal(template_host_probe(bench->qemu, &choice, &bench->host, NULL), 0);
	assert_int_equal(template_inputs_read(bench->f.definition, &bench->host, &known,
					      &bench->manifest.inputs, NULL),
			 0);
	bench->loop = loop_new();
	bench->workers = worker_pool_new(bench->loop, 1, 4);
	bench->watch = input_watch_new(&(struct input_watch_options){
		.loop = bench->loop,
		.workers = bench->workers,
		.name = bench->f.definition->name,
		.path = bench->f.definition_path,
		.store = bench->f.store,
		.qemu = bench->qemu,
		.accelerator = choice.accelerator,
		.channel = choice.channel,
		.vhost_net = choice.vhost_net,
		.host = &bench->host,
		.on_look = on_look,
		.userdata = bench,
	});
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	worker_pool_free(bench->workers);
	input_watch_free(bench->watch);
	loop_free(bench->loop);
	template_inputs_done(&bench->manifest.inputs);
	template_host_done(&bench->host);
	inputs_teardown(&bench->f);
	free(bench->qemu);
	free(bench);
	return 0;
}

/* What the next look finds. */
static const char *look(struct bench *bench)
{
	bench->looked = false;
	assert_true(loop_run_until(bench->loop, &bench->looked, LOOK_MS));
	return input_watch_stale(bench->watch);
}

static const char *start(struct bench *bench)
{
	input_watch_start(bench->watch, &bench->manifest);
	return look(bench);
}

static void test_a_changed_input_is_told(void **state)
{
	struct bench *bench = *state;

	assert_string_equal(start(bench), "");
	assert_false(input_watch_settled(bench->watch));
	write_input(&bench->f, "vmlinux", "another", 0644);
	assert_non_null(strstr(look(bench), "kernel changed (sha256 "));
	assert_false(input_watch_settled(bench->watch));
	assert_non_null(strstr(look(bench), "kernel changed (sha256 "));
	assert_true(input_watch_settled(bench->watch));
}

/* The store's digests say of the kernel what it is not. */
static void store_a_wrong_digest(const struct bench *bench)
{
	_cleanup_(known_digests_done) struct known_digests known = {};
	char hex[DIGEST_HEX_SIZE];
	uint64_t bytes;

	assert_int_equal(known_digests_file(&known, bench->f.definition->kernel, hex, &bytes, NULL),
			 0);
	memset(known.items[0].digest, 'f', DIGEST_HEX_SIZE - 1);
	known.items[0].storable = known.grown = true;
	assert_int_equal(known_digests_store(&known, bench->f.store, NULL), 0);
}

/* A bake may have found that they are wrong. */
static void test_digests_are_the_stores_anew_with_each_template(void **state)
{
	struct bench *bench = *state;

	store_a_wrong_digest(bench);
	assert_non_null(strstr(start(bench), "-> ffffffff…)"));
	known_digests_forget(bench->f.store);
	assert_non_null(strstr(look(bench), "-> ffffffff…)"));
	assert_string_equal(start(bench), "");
}

/* The program is the same, and says something else: as a wrapper does. */
static void test_qemu_is_asked_where_a_bake_found_another(void **state)
{
	struct bench *bench = *state;

	assert_string_equal(start(bench), "");
	write_input(&bench->f, "version", "QEMU 2\n", 0644);
	assert_string_equal(look(bench), "");
	replace_string(&bench->manifest.inputs.values[INPUT_QEMU], "QEMU 2");
	assert_string_equal(start(bench), "");
	assert_string_equal(input_watch_host(bench->watch)->qemu_version, "QEMU 2");
	/* Once: what a bake has found may be gone again. */
	write_input(&bench->f, "version", "QEMU 1\n", 0644);
	assert_string_equal(look(bench), "");
}

static void test_a_watch_that_is_freed_while_it_looks(void **state)
{
	struct bench *bench = *state;

	input_watch_start(bench->watch, &bench->manifest);
	input_watch_free(bench->watch);
	bench->watch = NULL; /* it ends with its look */
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_changed_input_is_told),
		TEST(test_digests_are_the_stores_anew_with_each_template),
		TEST(test_qemu_is_asked_where_a_bake_found_another),
		TEST(test_a_watch_that_is_freed_while_it_looks),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
