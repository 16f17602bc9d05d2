/* What is read of the host and of others: smaps, traces. And the tables of names and counts. */

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
/* After what it needs. */
#include <cmocka.h>

#include "base/memory.h"
#include "base/traces.h"
#include "bench/bench.h"
#include "bench/plans.h"
#include "bench/processes.h"
#include "bench/scenarios.h"
#include "bench/smaps.h"

/* ---------------------------------------------------------------- smaps */

static const char smaps_text[] =
	"7f0000000000-7f0010000000 rw-p 00000000 00:1a 12      /dev/shm/s/templates/ab/memory\n"
	"Size:             262144 kB\n"
	"Pss:                5120 kB\n"
	"Private_Clean:      1024 kB\n"
	"Private_Dirty:      2048 kB\n"
	"Anonymous:          2048 kB\n"
	"VmFlags: rd wr\n"
	"7f0010000000-7f0011000000 r--s 00000000 00:1a 13      /dev/shm/s/templates/ab/image\n"
	"Pss:                1024 kB\n"
	"55d000000000-55d000100000 rw-p 00000000 00:00 0       [heap]\n"
	"Pss:                3072 kB\n"
	"Private_Dirty:      3072 kB\n"
	"Anonymous:          3072 kB\n"
	"7f0020000000-7f0020100000 rw-p 00000000 00:00 0 \n"
	"Pss:                1024 kB\n"
	"7f0030000000-7f0030100000 r-xp 00000000 fe:00 99      /usr/lib/libc.so.6\n"
	"Pss:                 512 kB\n"
	"Pss_Dirty:           512 kB\n";

static void mappings_are_told_apart(void **state _unused_)
{
	struct smaps smaps;

	smaps_parse(smaps_text, "/ab/memory", "/ab/image", &smaps);
	assert_true(smaps.ram_private == 2);
	assert_true(smaps.ram_shared == 3);
	assert_true(smaps.image == 1);
	assert_true(smaps.heap == 4);
	assert_true(smaps.libraries == 0.5);
	assert_true(smaps.pss == 10.5);
	assert_true(smaps.private_ == 6);
	assert_true(smaps.mapped == 4);
}

static void holes_of_guest_memory_are_guest_memory(void **state _unused_)
{
	static const char text[] =
		"7f0000000000-7f0010000000 rw-p 00000000 00:1a 12      /dev/shm/s/templates/ab/memory\n"
		"Pss:                1024 kB\n"
		"Private_Clean:      1024 kB\n"
		"Anonymous:             0 kB\n"
		"7f0010000000-7f0020000000 rw-p 00000000 00:00 0 \n"
		"Pss:                2048 kB\n"
		"Private_Dirty:      2048 kB\n"
		"Anonymous:          2048 kB\n"
		"7f0020000000-7f0030000000 rw-p 20000000 00:1a 12      /dev/shm/s/templates/ab/memory\n"
		"7f0030000000-7f0030001000 ---p 00000000 00:00 0 \n"
		"7f0030001000-7f0031000000 rw-p 00000000 00:00 0 \n"
		"Pss:                4096 kB\n";
	struct smaps smaps;

	smaps_parse(text, "/ab/memory", "/ab/image", &smaps);
	assert_true(smaps.ram_private == 2);
	assert_true(smaps.ram_shared == 1);
	assert_true(smaps.mapped == 1);
	assert_true(smaps.heap == 4);
	assert_true(smaps.private_ == 3);
}

/* An unshared clone's copies have no name. Nor has a library that was replaced, which is none. */
static void copies_of_its_own_are_told_apart(void **state _unused_)
{
	static const char text[] =
		"7f0000000000-7f0010000000 rw-s 00000000 00:1a 12   /dev/shm/s/ab/#12 (deleted)\n"
		"Pss:                8192 kB\n"
		"Private_Dirty:      8192 kB\n"
		"Anonymous:             0 kB\n"
		"7f0010000000-7f0011000000 r--s 00000000 00:1a 13   /dev/shm/s/ab/#13 (deleted)\n"
		"Pss:                1024 kB\n"
		"7f0020000000-7f0020100000 rw-p 00000000 fe:00 98   /usr/lib/libold.so (deleted)\n"
		"Pss:                2048 kB\n"
		"Anonymous:          1024 kB\n"
		"7f0030000000-7f0030100000 rw-s 00000000 00:1a 99   /dev/shm/s/shared\n"
		"Pss:                 512 kB\n";
	struct smaps smaps;

	smaps_parse(text, "/ab/memory", "/ab/image", &smaps);
	assert_true(smaps.ram_private == 8);
	assert_true(smaps.ram_shared == 0);
	assert_true(smaps.image == 1);
	assert_true(smaps.libraries == 2.5);
	assert_true(smaps.mapped == 9);
	assert_true(smaps.pss == 11.5);
}

/* A process and its child are two; a shim is told by an argument, not by a part of one. */
static void processes_are_found(void **state _unused_)
{
	struct smaps alone, both;
	pid_t pid = 0;
	int pipe_fds[2];

	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(tree_memory(getpid(), &alone, NULL), 0);
	pid_t child = fork();
	if (child == 0) {
		char byte;
		close(pipe_fds[1]);
		_exit(read(pipe_fds[0], &byte, 1) == 0 ? 0 : 1);
	}
	assert_int_equal(tree_memory(child, &both, NULL), 0);
	assert_true(both.pss > 0);
	double of_child = both.pss;
	assert_int_equal(tree_memory(getpid(), &both, NULL), 0);
	assert_true(alone.pss > 0 && both.pss > of_child);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_equal(shim_find("kiln-no-such-shim", "x", &pid, NULL), -ESRCH);
}

/* What a file of its own has in memory counts whole, also where it is mapped in part or in pieces.
 */
static void copies_count_whole(void **state _unused_)
{
	const size_t mib = 1 << 20;
	_cleanup_(error_done) struct error err = {};
	_cleanup_close_ int fd = memfd_create("kiln-test", MFD_CLOEXEC);
	struct smaps before, smaps;

	if (geteuid() != 0)
		skip(); /* the kernel shows files by mapping to root only */
	assert_int_equal(smaps_read(getpid(), NULL, NULL, &before, &err), 0);
	assert_int_equal(ftruncate(fd, (off_t)(8 * mib)), 0);
	assert_int_equal(fallocate(fd, 0, 0, (off_t)(4 * mib)), 0);
	char *at = mmap(NULL, 8 * mib, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	memset(at, 1, mib);
	assert_int_equal(mprotect(at + 2 * mib, mib, PROT_READ), 0);
	assert_int_equal(smaps_read(getpid(), NULL, NULL, &smaps, &err), 0);
	munmap(at, 8 * mib);
	assert_true(smaps.own_files - before.own_files == 4);
	assert_true(smaps.ram_private - before.ram_private >= 1);
	assert_true(smaps.mapped - before.mapped < 4);
}

static void other_text_is_nothing(void **state _unused_)
{
	static const char *const texts[] = {
		"", "\n\n", "Pss:", "Pss: x kB\nnonsense", "-", "ff-"
	};
	struct smaps smaps;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		smaps_parse(texts[i], NULL, NULL, &smaps);
		assert_true(smaps.pss == 0);
	}
}

static void this_process_has_memory(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};
	struct smaps smaps;

	assert_int_equal(smaps_read(getpid(), NULL, NULL, &smaps, &err), 0);
	assert_true(smaps.pss > 0 && smaps.kernel > 0 && smaps.libraries > 0);
	assert_true(smaps_read(INT32_MAX, NULL, NULL, &smaps, &err) < 0);
	assert_true(meminfo_read("MemTotal") > 0);
	assert_true(meminfo_read("Nothing") == 0);
}

/* ---------------------------------------------------------------- traces */

#define SPAN(who, id, step, begin, end)                                                            \
	"{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":{" \
	"\"stringValue\":\"kiln-" who "\"}}]},\"scopeSpans\":[{\"spans\":[{\"name\":\"" step       \
	"\",\"startTimeUnixNano\":\"" begin "\",\"endTimeUnixNano\":\"" end                        \
	"\",\"attributes\":[{\"key\":\"kiln.sandbox\",\"value\":{\"stringValue\":\"" id            \
	"\"}}]}]}]}]}\n"

static const char trace_text[] = SPAN("shim", "a", "claim", "1995000000", "2000000000") SPAN(
	"shim", "a", "rootfs", "2000000000",
	"2030000000") "\n"
		      "not a line\n" SPAN("shim", "b", "claim", "2", "1") SPAN("shim", "b", "claim",
									       "", "1")
			      SPAN("shim", "", "claim", "1", "2") "{\"resourceSpans\":[]}\n" SPAN(
				      "factory", "a", "anything.new", "1998000000", "1998000000")
				      SPAN("shim", "c", "claim", "8999999000",
					   "9000000000") "{\"resourceSpans\":[{";

static void lines_are_joined_by_id(void **state _unused_)
{
	_cleanup_(traces_done) struct traces traces = {};

	traces_add(&traces, trace_text, strlen(trace_text));
	traces_finish(&traces);
	assert_int_equal(traces.count, 2);
	assert_int_equal(traces.skipped, 6);
	const struct start *a = traces_find(&traces, "a");
	assert_int_equal(a->count, 3);
	assert_string_equal(a->spans[0].step, "claim");
	assert_string_equal(a->spans[1].step, "anything.new");
	assert_true(fabs(a->spans[1].begin_ms - 3) < 1e-3);
	assert_true(a->spans[1].begin_ms == a->spans[1].end_ms);
	assert_string_equal(a->spans[2].step, "rootfs");
	assert_true(fabs(start_length_ms(a) - 35) < 1e-3);
	assert_null(traces_find(&traces, "b"));
}

static void files_of_several_processes_are_one_trace(void **state _unused_)
{
	_cleanup_(traces_done) struct traces traces = {};
	static const char shim[] = SPAN("shim", "a", "x", "19999999", "20000000");
	static const char factory[] = SPAN("factory", "a", "y", "9999999", "10000000");

	traces_add(&traces, shim, strlen(shim));
	traces_add(&traces, factory, strlen(factory));
	traces_finish(&traces);
	assert_int_equal(traces.count, 1);
	assert_string_equal(traces.starts[0].spans[0].who, "factory");
}

/* The one with few spans is the shortest; it is no whole start. */
static void the_typical_start_is_whole_and_of_median_length(void **state _unused_)
{
	_cleanup_(traces_done) struct traces traces = {};

	assert_null(traces_typical(&traces));
	for (int id = 1; id <= 4; id++) {
		for (int span = 0; span < (id == 1 ? 1 : 5); span++) {
			int end = 1000000 * (span + 1) * id;
			_cleanup_free_ char *line = xasprintf(
				SPAN("s", "start-%d", "t", "%d", "%d"), end - 1000, end, id);
			traces_add(&traces, line, strlen(line));
		}
	}
	traces_finish(&traces);
	assert_string_equal(traces_typical(&traces)->id, "start-3");
}

/* ---------------------------------------------------------------- tables */

static void counts_have_names(void **state _unused_)
{
	for (int i = 0; i < COUNT_MAX_; i++)
		assert_int_equal(count_from_string(count_to_string((enum count)i)), i);
}

static void rounds_share_a_count(void **state _unused_)
{
	struct bench bench = { .options = { .rounds = 3 } };

	for (unsigned count = 0; count < 20; count++) {
		unsigned sum = 0;
		bench.options.counts[COUNT_CTRS] = count;
		for (bench.round = 0; bench.round < 3; bench.round++)
			sum += bench_share(&bench, COUNT_CTRS);
		assert_int_equal(sum, count);
	}
}

static void every_scenario_can_be_found(void **state _unused_)
{
	const struct scenario *scenario;
	struct bench_options nothing = {};
	unsigned possible = 0;

	for (size_t i = 0; (scenario = scenario_at(i)); i++) {
		assert_ptr_equal(scenario_find(scenario->name), scenario);
		possible += !scenario_obstacle(scenario, &nothing);
	}
	assert_true(possible > 0);
	assert_null(scenario_find("nothing"));
}

static void sets_are_there_by_name(void **state _unused_)
{
	static const char *const names[] = { "full", "quick", "node", "demo", "smoke" };
	struct bench_options options;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		assert_int_equal(plan_apply(names[i], &options), 0);
		assert_true(options.rounds > 0 && options.counts[COUNT_BOOTS] > 0);
	}
	assert_int_equal(plan_apply("nothing", &options), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mappings_are_told_apart),
		cmocka_unit_test(holes_of_guest_memory_are_guest_memory),
		cmocka_unit_test(copies_of_its_own_are_told_apart),
		cmocka_unit_test(copies_count_whole),
		cmocka_unit_test(other_text_is_nothing),
		cmocka_unit_test(this_process_has_memory),
		cmocka_unit_test(lines_are_joined_by_id),
		cmocka_unit_test(files_of_several_processes_are_one_trace),
		cmocka_unit_test(the_typical_start_is_whole_and_of_median_length),
		cmocka_unit_test(processes_are_found),
		cmocka_unit_test(counts_have_names),
		cmocka_unit_test(rounds_share_a_count),
		cmocka_unit_test(every_scenario_can_be_found),
		cmocka_unit_test(sets_are_there_by_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
