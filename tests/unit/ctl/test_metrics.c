/* What kiln-ctl metrics makes of what shims, guests and /proc say. */
#include "tests/unit/ctl/harness.h"

#include <math.h>

#include "base/strbuf.h"
#include "ctl/guest_metrics.h"
#include "ctl/metrics_page.h"
#include "ctl/process_usage.h"
#include "ctl/sandboxes.h"

/* ---------------------------------------------------------------- the guest's text */

static const char *const containers[] = { "c1", "c2" };

static struct guest_metrics *parse(const char *text)
{
	return guest_metrics_parse(text, strlen(text), containers, ARRAY_SIZE(containers));
}

/* -1: there is none. */
static double value_of(const struct guest_metrics *metrics, enum guest_family family,
		       const char *wanted)
{
	for (size_t i = 0; i < guest_metrics_count(metrics, family); i++) {
		const char *word;
		double value;
		if (guest_metrics_get(metrics, family, i, &word, &value) && str_equal(word, wanted))
			return value;
	}
	return -1;
}

static void test_what_the_agent_writes(void **state _unused_)
{
	_cleanup_(guest_metrics_free_cleanup) struct guest_metrics *metrics = parse(
		"# HELP kiln_guest_load Processes.\n# TYPE kiln_guest_load gauge\n"
		"kiln_guest_load{minutes=\"1\"} 0.25\nkiln_guest_load{minutes=\"15\"} 3\n"
		"kiln_guest_cpu_seconds_total{mode=\"user\"} 12.34\n"
		"kiln_guest_memory_bytes{item=\"MemTotal\"} 245760000\n"
		"kiln_guest_memory_bytes{item=\"Active(anon)\"} 1\n"
		"kiln_agent_open_files 17\nkiln_agent_resident_bytes 1.5e6\n"
		"kiln_container_memory_bytes{container=\"c2\"} 4096");

	assert_int_equal(guest_metrics_refused(metrics), 0);
	assert_true(value_of(metrics, GUEST_LOAD, "1") == 0.25);
	assert_true(value_of(metrics, GUEST_LOAD, "5") == -1);
	assert_true(value_of(metrics, GUEST_LOAD, "15") == 3);
	assert_true(value_of(metrics, GUEST_CPU, "user") == 12.34);
	assert_true(value_of(metrics, GUEST_MEMORY, "MemTotal") == 245760000);
	assert_true(value_of(metrics, GUEST_AGENT_FILES, NULL) == 17);
	assert_true(value_of(metrics, GUEST_AGENT_MEMORY, NULL) == 1500000);
	assert_true(value_of(metrics, GUEST_CONTAINER_MEMORY, "c2") == 4096);
	assert_true(value_of(metrics, GUEST_CONTAINER_MEMORY, "c1") == -1);
}

static void test_what_a_guest_may_not_say(void **state _unused_)
{
	static const char *const lines[] = {
		"kiln_guest_load{minutes=\"1\"} NaN",
		"kiln_guest_load{minutes=\"1\"} -1",
		"kiln_guest_load{minutes=\"1\"} +1",
		"kiln_guest_load{minutes=\"1\"} inf",
		"kiln_guest_load{minutes=\"1\"} 0x10",
		"kiln_guest_load{minutes=\"1\"} 1e300",
		"kiln_guest_load{minutes=\"1\"} 1 2",
		"kiln_guest_load{minutes=\"1\"} ",
		"kiln_guest_load{minutes=\"1\"}",
		"kiln_guest_load{minutes=\"1\"}1",
		"kiln_guest_load{minutes=\"1} 1",
		"kiln_guest_load{minutes=\"1\\\"\"} 1",
		"kiln_guest_load{minutes=\"1\",pod=\"x\"} 1",
		"kiln_guest_load{pod=\"1\"} 1",
		"kiln_guest_load 1",
		"kiln_agent_open_files{x=\"y\"} 1",
		"kiln_sandbox_up 0",
		"kiln_vmm_cpu_seconds_total{} 1",
		" kiln_agent_open_files 1",
		"kiln_agent_open_files 000000000000000000000000000000001",
		"\x01",
	};

	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		_cleanup_(guest_metrics_free_cleanup) struct guest_metrics *metrics = parse(
			lines[i]);
		if (guest_metrics_refused(metrics) != 1)
			fail_msg("not refused: %s", lines[i]);
		assert_true(value_of(metrics, GUEST_LOAD, "1") == -1);
		assert_true(value_of(metrics, GUEST_AGENT_FILES, NULL) == -1);
	}
}

static void test_a_guest_cannot_say_more(void **state _unused_)
{
	static const char zero[] = "kiln_agent_open_files 1\0\nkiln_agent_resident_bytes 2\n";
	_cleanup_free_ char *flood = xcalloc(1, 100001);
	_cleanup_(guest_metrics_free_cleanup) struct guest_metrics *metrics = parse(
		"kiln_guest_load{minutes=\"2\"} 1\n"
		"kiln_container_memory_bytes{container=\"c3\"} 1\n"
		"kiln_agent_open_files 1\nkiln_agent_open_files 2\n\n");

	assert_int_equal(guest_metrics_refused(metrics), 1); /* the second one */
	assert_true(value_of(metrics, GUEST_AGENT_FILES, NULL) == 1);
	assert_int_equal(guest_metrics_count(metrics, GUEST_LOAD), 3);
	assert_int_equal(guest_metrics_count(metrics, GUEST_CONTAINER_MEMORY), 2);

	guest_metrics_free(metrics);
	metrics = guest_metrics_parse(zero, sizeof(zero) - 1, NULL, 0);
	assert_int_equal(guest_metrics_refused(metrics), 1);
	assert_true(value_of(metrics, GUEST_AGENT_MEMORY, NULL) == 2);

	guest_metrics_free(metrics);
	memset(flood, 'a', 100000);
	metrics = parse(flood);
	assert_int_equal(guest_metrics_refused(metrics), 1);
}

/* ---------------------------------------------------------------- /proc */

static void test_a_process_is_measured(void **state _unused_)
{
	static const char stat[] = "7 (a ) b) S 1 7 7 0 -1 4194560 10 0 0 0 250 150 0 0 20 0 1 0";
	static const char status[] = "Name:\ta ) b\nVmRSS:\t 99 kB\nRssAnon:\t     164 kB\n"
				     "RssFile:\t 8 kB\nRssShmem:\t 4096 kB\n";
	struct process_usage usage;

	assert_int_equal(process_usage_parse(stat, status, &usage), 0);
	assert_true(usage.cpu_s == 400.0 / (double)sysconf(_SC_CLK_TCK));
	assert_int_equal(usage.anonymous, 164 * 1024);
	assert_int_equal(usage.file, 8 * 1024);
	assert_int_equal(usage.shared, 4096 * 1024);
	assert_int_equal(process_usage_parse("", status, &usage), -EINVAL);
	assert_int_equal(process_usage_parse("7 (x) S 1", status, &usage), -EINVAL);
	assert_int_equal(process_usage_read(getpid(), &usage), 0);
	assert_true(usage.anonymous > 0 && usage.open_files >= 3);
	assert_true(process_usage_read(-1, &usage) < 0);
}

/* ---------------------------------------------------------------- the page */

/* Of sandboxes whose containers have no bundles. */
static char *page_of(struct sandbox *items, size_t count)
{
	struct strbuf page = {};

	metrics_page_write(&(struct sandboxes){ items, count }, 0.5, &page);
	return strbuf_steal(&page);
}

static size_t occurrences(const char *text, const char *part)
{
	size_t count = 0;

	for (; (text = strstr(text, part)); text += strlen(part))
		count++;
	return count;
}

static void test_the_page(void **state _unused_)
{
	Kiln__Shim__V1__SandboxInfo info = KILN__SHIM__V1__SANDBOX_INFO__INIT;
	Kiln__Shim__V1__Machine machine = KILN__SHIM__V1__MACHINE__INIT;
	Kiln__Shim__V1__ContainerInfo one = KILN__SHIM__V1__CONTAINER_INFO__INIT, pause = one;
	Kiln__Shim__V1__ContainerInfo *list[] = { &one, &pause };
	Grpc__Metrics guest = GRPC__METRICS__INIT;
	struct sandbox items[] = {
		{ .socket = (char *)"/s/1",
		  .id = (char *)"a",
		  .ns = (char *)"k8s.io",
		  .info = &info,
		  .guest = &guest,
		  .pod = (char *)"web\"\\\n\x1b",
		  .pod_ns = (char *)"shop",
		  .pod_uid = (char *)"u1" },
		{ .socket = (char *)"/s/2",
		  .id = (char *)"a",
		  .ns = (char *)"default",
		  .info = &info },
		{ .socket = (char *)"/s/3", .id = (char *)"a", .ns = (char *)"default" },
		{ .socket = (char *)"/s/4" },
		{ .socket = (char *)"/s/5" },
	};

	machine.origin = (char *)"pooled";
	machine.vcpus = 2;
	machine.memory_mib = 256;
	machine.claim_us = 1800;
	machine.claimed_ms = 1700000000500;
	machine.vmm_pid = (uint32_t)getpid();
	one.id = (char *)"c1";
	one.state = pause.state = (char *)"running";
	pause.id = (char *)"a";
	pause.is_sandbox = true;
	info.machine = &machine;
	info.containers = list;
	info.n_containers = 2;
	info.execs = 3;
	guest.metrics = (char *)"kiln_container_memory_bytes{container=\"c1\"} 4096\nrubbish\n";

	_cleanup_free_ char *page = page_of(items, ARRAY_SIZE(items));
#define LABELS "{sandbox=\"a\",namespace=\"shop\",pod=\"web\\\"\\\\??\""
	assert_contains(page, "\nkiln_sandbox_up" LABELS "} 1\n");
	assert_contains(page, "\nkiln_sandbox_guest_up" LABELS "} 1\n");
	assert_contains(page,
			"\nkiln_sandbox_info" LABELS ",uid=\"u1\",containerd_namespace=\"k8s.io\","
			"template_id=\"\",origin=\"pooled\",version=\"\"} 1\n");
	assert_contains(page, "\nkiln_sandbox_start_time_seconds" LABELS "} 1700000000.5\n");
	assert_contains(page, "\nkiln_sandbox_claim_seconds" LABELS "} 0.0018\n");
	assert_contains(page, "\nkiln_sandbox_memory_bytes" LABELS "} 268435456\n");
	assert_contains(page, "\nkiln_sandbox_containers" LABELS ",state=\"running\"} 1\n");
	assert_contains(page, "\nkiln_sandbox_execs_total" LABELS "} 3\n");
	assert_contains(page, "\nkiln_sandbox_guest_refused_lines" LABELS "} 1\n");
	assert_contains(page, "\nkiln_container_memory_bytes" LABELS ",container=\"c1\"} 4096\n");
	assert_contains(page, "\nkiln_vmm_memory_bytes" LABELS ",kind=\"anonymous\"} ");
	/* The guest of the second does not answer, nor do the shims of the others. */
	assert_contains(
		page, "\nkiln_sandbox_guest_up{sandbox=\"a\",namespace=\"default\",pod=\"\"} 0\n");
	assert_contains(page, "\nkiln_sandbox_up{sandbox=\"4\",namespace=\"\",pod=\"\"} 0\n");
	assert_contains(page, "\nkiln_sandbox_up{sandbox=\"5\",namespace=\"\",pod=\"\"} 0\n");
	assert_contains(page, "\nkiln_sandboxes{answered=\"yes\"} 2\n");
	assert_contains(page,
			"\nkiln_sandboxes{answered=\"no\"} 2\n"); /* "a" of default is there */
	assert_int_equal(occurrences(page, "\nkiln_sandbox_up{sandbox=\"a\",namespace=\"default\""),
			 1);
	assert_int_equal(occurrences(page, "# TYPE kiln_container_memory_bytes gauge\n"), 1);
}

/* ---------------------------------------------------------------- the command */

static void test_words(void **state _unused_)
{
	struct outcome outcome = RUN(&ctl_metrics, "a", "b");
	assert_int_equal(outcome.code, CTL_USAGE);
	outcome_done(&outcome);
	outcome = RUN(&ctl_metrics, "--address", "127.0.0.1:1");
	assert_int_equal(outcome.code, CTL_USAGE);
	assert_contains(outcome.err, "--address is for serve");
	outcome_done(&outcome);
	static const char *const wrong[] = { "here",        "127.0.0.1",       "host:1",
					     "127.0.0.1:0", "127.0.0.1:70000", "./socket" };
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		outcome = RUN(&ctl_metrics, "serve", "--address", wrong[i]);
		assert_int_equal(outcome.code, CTL_FAILED);
		assert_contains(outcome.err, "is neither ADDRESS:PORT nor a socket's path");
		outcome_done(&outcome);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_the_agent_writes),
		cmocka_unit_test(test_what_a_guest_may_not_say),
		cmocka_unit_test(test_a_guest_cannot_say_more),
		cmocka_unit_test(test_a_process_is_measured),
		cmocka_unit_test(test_the_page),
		cmocka_unit_test(test_words),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
