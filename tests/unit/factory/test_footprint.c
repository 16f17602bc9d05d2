/* What machines take of the host's memory, measured of real processes. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>
/* After what it needs. */
#include <cmocka.h>

#include "factory/base/footprint.h"
#include "factory/vm/host.h"

struct bench {
	struct loop *loop;
	struct footprint *footprint;
	unsigned listed, answered;
};

/* Two names; one of the processes is gone by the time it is looked at. */
static void list(struct measurement *measurement, void *userdata)
{
	struct bench *bench = userdata;

	bench->listed++;
	measurement_add(measurement, "small", getpid());
	measurement_add(measurement, "large", getppid());
	measurement_add(measurement, "small", getpid());
	measurement_add(measurement, "large", INT32_MAX);
}

static int open_memory(pid_t pid, int *ret_fd, void *userdata _unused_)
{
	return host_open_memory(NULL, pid, ret_fd);
}

static void on_measured(int number _unused_, const struct error *err _unused_, void *userdata)
{
	struct bench *bench = userdata;

	if (++bench->answered == 2)
		loop_stop(bench->loop);
}

static void machines_are_added_up_by_name(void **state _unused_)
{
	struct bench bench = { .loop = loop_new() };
	struct memory_use small, large, none;

	bench.footprint = footprint_new(bench.loop, list, open_memory, &bench);
	footprint_measure(bench.footprint, on_measured, &bench);
	footprint_measure(bench.footprint, on_measured, &bench);
	loop_run(bench.loop);
	assert_int_equal(bench.listed, 1);

	footprint_of(bench.footprint, "small", &small);
	footprint_of(bench.footprint, "large", &large);
	footprint_of(bench.footprint, "none", &none);
	assert_int_equal(small.machines, 2);
	assert_int_equal(large.machines, 1);
	assert_int_equal(none.machines, 0);
	assert_true(small.private_bytes > 0 && small.pss_bytes >= small.private_bytes);

	/* It is still good: whoever asks is answered at once. */
	footprint_measure(bench.footprint, on_measured, &bench);
	assert_int_equal(bench.answered, 3);
	assert_int_equal(bench.listed, 1);
	footprint_free(bench.footprint);
	loop_free(bench.loop);
}

static void memory_is_read_from_smaps(void **state _unused_)
{
	struct memory_use use = {};

	memory_use_add(&use, "55d0-7ffe ---p 00000000 00:00 0    [rollup]\n"
			     "Rss:                2000 kB\nPss:                1000 kB\n"
			     "Pss_Anon:            900 kB\nPrivate_Clean:         3 kB\n"
			     "Private_Dirty:        40 kB\n");
	memory_use_add(&use, "nothing we know\n");
	assert_int_equal(use.pss_bytes, 1000 * 1024);
	assert_int_equal(use.private_bytes, 43 * 1024);
	assert_int_equal(use.machines, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(machines_are_added_up_by_name),
		cmocka_unit_test(memory_is_read_from_smaps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
