/* kiln-ctl check: verdicts on facts that this host need not have. */
#include "tests/unit/ctl/harness.h"

#include <jansson.h>
#include <sys/timex.h>

#include "ctl/check_run.h"
#include "tests/unit/folder.h"
#include "tests/unit/hidden_proc.h"

static struct check_result result;

static int clear(void **state _unused_)
{
	check_result_done(&result);
	return 0;
}

static void assert_verdict(enum check_verdict verdict)
{
	assert_non_null(result.found);
	assert_int_equal(result.verdict, verdict);
	/* What is lost is said, and what must be done. */
	assert_true(verdict != CHECK_WITHOUT || result.lost);
	assert_true(verdict != CHECK_MEND || result.command);
	assert_true(verdict > CHECK_UNSEEN || (!result.lost && !result.command));
	check_result_done(&result);
}

/* ---------------------------------------------------------------- verdicts */

static void test_worse_stays(void **state _unused_)
{
	check_without(&result, "a", NULL, "first");
	check_fine(&result, "second");
	check_without(&result, "b", NULL, "third");
	assert_string_equal(result.found, "first");
	check_mend(&result, "do", "fourth");
	assert_string_equal(result.found, "fourth");
	assert_null(result.lost);
	assert_verdict(CHECK_MEND);
}

static void test_kvm(void **state _unused_)
{
	struct kvm_facts facts = { .virtualization = true, .accelerator = "auto", .mode = 0660 };

	kvm_judge(&facts, &result);
	assert_verdict(CHECK_FINE);
	facts.open_error = EACCES; /* of somebody who is not in the group; machines are */
	kvm_judge(&facts, &result);
	assert_verdict(CHECK_FINE);
	facts.mode = 0600;
	kvm_judge(&facts, &result);
	assert_verdict(CHECK_WITHOUT);
	facts.mode = 0660;
	facts.open_error = ENODEV;
	kvm_judge(&facts, &result);
	assert_verdict(CHECK_WITHOUT);
	facts.stat_error = ENOENT;
	kvm_judge(&facts, &result);
	assert_verdict(CHECK_WITHOUT);
	facts.accelerator = "kvm";
	kvm_judge(&facts, &result);
	assert_verdict(CHECK_MEND);
	facts.accelerator = "tcg";
	kvm_judge(&facts, &result);
	assert_verdict(CHECK_FINE);
}

static void test_kvm_without_virtualization(void **state _unused_)
{
	struct kvm_facts facts = { .accelerator = "auto", .mode = 0666 };

	kvm_judge(&facts, &result);
	assert_verdict(CHECK_WITHOUT);
}

static void test_vhost(void **state _unused_)
{
	vhost_judge("auto", true, &result);
	assert_verdict(CHECK_FINE);
	vhost_judge("auto", false, &result);
	assert_verdict(CHECK_FINE);
	vhost_judge("serial", false, &result);
	assert_verdict(CHECK_FINE);
	vhost_judge("vsock", true, &result);
	assert_verdict(CHECK_FINE);
	vhost_judge("vsock", false, &result);
	assert_verdict(CHECK_MEND);
}

static void test_vhost_net(void **state _unused_)
{
	vhost_net_judge("auto", true, &result);
	assert_verdict(CHECK_FINE);
	vhost_net_judge("auto", false, &result);
	assert_verdict(CHECK_FINE);
	vhost_net_judge("no", false, &result);
	assert_verdict(CHECK_FINE);
	vhost_net_judge("yes", true, &result);
	assert_verdict(CHECK_FINE);
	vhost_net_judge("yes", false, &result);
	assert_verdict(CHECK_MEND);
}

static void test_kernel(void **state _unused_)
{
	kernel_judge("6.12.0-1-amd64", true, &result);
	assert_verdict(CHECK_FINE);
	kernel_judge("6.1.0-56-amd64", true, &result);
	assert_verdict(CHECK_WITHOUT);
	kernel_judge("5.19.0", true, &result);
	assert_verdict(CHECK_WITHOUT);
	kernel_judge("5.18.19", true, &result);
	assert_verdict(CHECK_MEND);
	kernel_judge("5.10.0", false, &result);
	assert_verdict(CHECK_FINE);
	kernel_judge("nonsense", true, &result);
	assert_verdict(CHECK_MEND);
}

static void test_landlock(void **state _unused_)
{
	landlock_judge(-EOPNOTSUPP, &result);
	assert_verdict(CHECK_WITHOUT);
	landlock_judge(1, &result);
	assert_verdict(CHECK_WITHOUT);
	landlock_judge(2, &result);
	assert_verdict(CHECK_FINE);
}

static void test_qemu(void **state _unused_)
{
	qemu_judge("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)", &result);
	assert_verdict(CHECK_FINE);
	qemu_judge("QEMU emulator version 10.0.2", &result);
	assert_verdict(CHECK_FINE);
	qemu_judge("QEMU emulator version 7.1.0", &result);
	assert_verdict(CHECK_WITHOUT);
	qemu_judge("QEMU emulator", &result);
	assert_verdict(CHECK_WITHOUT);
}

static void test_store(void **state _unused_)
{
	struct room_facts facts = {
		.path = "/x", .memory = true, .free_mib = 600, .wanted_mib = 300, .largest_mib = 300
	};

	store_judge(&facts, &result);
	assert_verdict(CHECK_FINE);
	facts.free_mib = 599; /* serves, and has no room for another beside it */
	store_judge(&facts, &result);
	assert_verdict(CHECK_WITHOUT);
	facts.free_mib = 299;
	store_judge(&facts, &result);
	assert_verdict(CHECK_MEND);
	facts.free_mib = 600;
	facts.memory = false;
	store_judge(&facts, &result);
	assert_verdict(CHECK_WITHOUT);
}

static void test_scratch(void **state _unused_)
{
	struct room_facts facts = { .path = "/x", .free_mib = 4096, .largest_mib = 4096 };

	scratch_judge(&facts, &result);
	assert_verdict(CHECK_FINE);
	facts.free_mib = 4095;
	scratch_judge(&facts, &result);
	assert_verdict(CHECK_WITHOUT);
	facts.free_mib = 63;
	scratch_judge(&facts, &result);
	assert_verdict(CHECK_MEND);
	facts.free_mib = 4096;
	facts.memory = true;
	scratch_judge(&facts, &result);
	assert_verdict(CHECK_WITHOUT);
}

static void test_memory(void **state _unused_)
{
	static const char meminfo[] = "MemTotal:        1048576 kB\nMemFree:  1 kB\n"
				      "MemAvailable:     524288 kB\n";

	memory_judge(meminfo, 400, 112, &result);
	assert_verdict(CHECK_FINE);
	memory_judge(meminfo, 400, 113, &result);
	assert_verdict(CHECK_WITHOUT);
	memory_judge(meminfo, 1025, 0, &result);
	assert_verdict(CHECK_MEND);
	memory_judge("", 1, 1, &result);
	assert_verdict(CHECK_UNSEEN);
}

static void test_descriptors(void **state _unused_)
{
	descriptors_judge(524288, 4096, &result);
	assert_verdict(CHECK_FINE);
	descriptors_judge(1024, 256, &result);
	assert_verdict(CHECK_WITHOUT);
}

static void judge_ids(const char *text, bool subordinate, enum check_verdict verdict)
{
	user_ids_judge("/etc/x", text, subordinate, 0x70000000, &result);
	check_fine(&result, "nothing");
	assert_verdict(verdict);
}

static void test_processes(void **state _unused_)
{
	processes_judge(0, "somebody", &result);
	assert_verdict(CHECK_FINE);
	processes_judge(-EACCES, "somebody", &result);
	assert_verdict(CHECK_MEND);
	processes_judge(-EPERM, "somebody", &result); /* hidepid=1 */
	assert_verdict(CHECK_MEND);
	processes_judge(-ENOMEM, "somebody", &result);
	assert_verdict(CHECK_UNSEEN);
}

static bool check_tells_of_it(void *userdata _unused_)
{
	struct check_host host = { .config.user = (char *)"65534" };

	check_processes(&host, &result);
	return result.verdict == CHECK_MEND;
}

static void test_processes_that_are_hidden(void **state _unused_)
{
	run_with_proc_hidden(check_tells_of_it, NULL);
}

static void test_user_ids(void **state _unused_)
{
	judge_ids("", false, CHECK_FINE);
	judge_ids("root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:", false, CHECK_FINE);
	judge_ids("root:x:0:0\na:x:1879048192:5:", false, CHECK_MEND);
	judge_ids("a:x:1879048191:5:\n", false, CHECK_FINE);
	judge_ids("a:x:2147483647:5:\nno colon\n::\nb:x:word:\n", false, CHECK_MEND);
	judge_ids("a:x:2147483648:5:", false, CHECK_FINE);
	judge_ids("a:100000:65536\nb:165536:65536\n", true, CHECK_FINE);
	judge_ids("a:100000:65536\nb:1879048191:1\n", true, CHECK_FINE);
	judge_ids("b:1879048191:2\n", true, CHECK_MEND);
	judge_ids("b:0:4294967295\n", true, CHECK_MEND);
	judge_ids("b:1879048192\n", true, CHECK_FINE);
}

static void test_clock(void **state _unused_)
{
	clock_judge(TIME_OK, STA_PLL, "tsc", &result);
	assert_verdict(CHECK_FINE);
	clock_judge(TIME_OK, STA_UNSYNC, NULL, &result);
	assert_verdict(CHECK_WITHOUT);
	clock_judge(TIME_ERROR, 0, NULL, &result);
	assert_verdict(CHECK_WITHOUT);
	clock_judge(-1, 0, NULL, &result);
	assert_verdict(CHECK_UNSEEN);
}

/* ---------------------------------------------------------------- files of a host */

static struct check_host host;

static void put(const char *path, const char *text)
{
	_cleanup_free_ char *full = xasprintf("%s%s", test_folder, path);
	_cleanup_free_ char *dir = xstrdup(full);

	*strrchr(dir, '/') = '\0';
	assert_int_equal(dir_make(dir, 0755, NULL), 0);
	assert_int_equal(file_write_atomic(full, text, strlen(text), 0644, NULL), 0);
}

static int host_setup(void **state)
{
	size_t count;
	const struct config_key *keys = factory_config_keys(&count);

	if (folder_setup(state) < 0)
		return -1;
	host.options.root = test_folder;
	config_set_defaults(keys, count, &host.config);
	return 0;
}

static int host_teardown(void **state)
{
	check_host_done(&host);
	memset(&host, 0, sizeof(host));
	check_result_done(&result);
	return folder_teardown(state);
}

static void test_processor(void **state _unused_)
{
	check_processor(&host, &result);
	assert_verdict(CHECK_WITHOUT);
	put("/proc/cpuinfo", "model name\t: A\nflags\t\t: fpu svm lm\n\nmodel name\t: B\n");
	check_processor(&host, &result);
	assert_non_null(strstr(result.found, "A, flags"));
	assert_verdict(CHECK_FINE);
	put("/proc/cpuinfo", "model name\t: A\nflags\t\t: fpu svm_lock lm\n");
	check_processor(&host, &result);
	assert_verdict(CHECK_WITHOUT);
}

static void test_cgroups_v2(void **state _unused_)
{
	put("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n");
	check_cgroups(&host, &result);
	assert_string_equal(result.found, "version 2, memory, pids, cpu");
	assert_verdict(CHECK_FINE);
	put("/sys/fs/cgroup/cgroup.controllers", "cpuset io memory pids\n");
	check_cgroups(&host, &result);
	assert_verdict(CHECK_WITHOUT);
	put("/sys/fs/cgroup/cgroup.controllers", "hugetlb\n");
	check_cgroups(&host, &result);
	assert_verdict(CHECK_MEND);
	replace_string(&host.config.cgroup, "");
	check_cgroups(&host, &result);
	assert_verdict(CHECK_WITHOUT);
}

static void test_cgroups_v1(void **state _unused_)
{
	put("/sys/fs/cgroup/memory/tasks", "");
	check_cgroups(&host, &result);
	assert_verdict(CHECK_MEND);
	put("/sys/fs/cgroup/pids/tasks", "");
	put("/sys/fs/cgroup/cpu/tasks", "");
	check_cgroups(&host, &result);
	assert_string_equal(result.found, "the controller devices is missing");
	assert_verdict(CHECK_WITHOUT);
	put("/sys/fs/cgroup/devices/tasks", "");
	check_cgroups(&host, &result);
	assert_verdict(CHECK_FINE);
}

static void test_files(void **state _unused_)
{
	check_tap(&host, &result);
	assert_verdict(CHECK_MEND);
	put("/dev/net/tun", "");
	check_tap(&host, &result);
	assert_verdict(CHECK_FINE);

	check_seccomp(&host, &result);
	assert_verdict(CHECK_MEND);
	put("/proc/sys/kernel/seccomp/actions_avail", "kill_process trap errno allow\n");
	check_seccomp(&host, &result);
	assert_verdict(CHECK_FINE);

	check_page_merging(&host, &result);
	assert_verdict(CHECK_FINE);
	host.config.merge_pages = true;
	check_page_merging(&host, &result);
	assert_verdict(CHECK_WITHOUT);
	put("/sys/kernel/mm/ksm/run", "1\n");
	check_page_merging(&host, &result);
	assert_verdict(CHECK_FINE);

	check_virtiofsd(&host, &result);
	assert_verdict(CHECK_WITHOUT);
}

static void test_ids_in_files(void **state _unused_)
{
	put("/etc/passwd", "root:x:0:0:::\n");
	check_user_ids(&host, &result);
	assert_verdict(CHECK_FINE);
	put("/etc/subuid", "somebody:1879048192:65536\n");
	check_user_ids(&host, &result);
	assert_non_null(strstr(result.found, "somebody"));
	assert_verdict(CHECK_MEND);
	host.config.uid_first = 0;
	check_user_ids(&host, &result);
	assert_verdict(CHECK_WITHOUT);
}

/* Nothing but its errors is there of a configuration that cannot be read. */
static void test_broken_configuration(void **state _unused_)
{
	(void)error_set(&host.config_error, EINVAL, "there is no key 'x'");
	check_configuration(&host, &result);
	assert_verdict(CHECK_MEND);
	(void)error_set(&host.config_error, EACCES, "cannot read it");
	check_configuration(&host, &result);
	assert_verdict(CHECK_UNSEEN);
	host.is_root = true;
	check_configuration(&host, &result);
	assert_verdict(CHECK_MEND);
	check_store(&host, &result);
	assert_verdict(CHECK_UNSEEN);
}

/* ---------------------------------------------------------------- what the factory says */

static char *text(const char *literal)
{
	return (char *)(uintptr_t)literal;
}

static void test_templates(void **state _unused_)
{
	Kiln__Factory__V1__StatusResponse status = KILN__FACTORY__V1__STATUS_RESPONSE__INIT;
	Kiln__Factory__V1__TemplateStatus template = KILN__FACTORY__V1__TEMPLATE_STATUS__INIT;
	Kiln__Factory__V1__TemplateStatus *templates[] = { &template };

	check_templates(&host, &result);
	assert_verdict(CHECK_UNSEEN);
	host.status = &status;
	check_templates(&host, &result);
	assert_verdict(CHECK_MEND);
	status.templates = templates;
	status.n_templates = 1;
	template.name = text("default");
	template.state = text("ready");
	check_templates(&host, &result);
	assert_verdict(CHECK_FINE);
	template.stale = text("kernel changed");
	check_templates(&host, &result);
	assert_string_equal(result.command, "kiln-ctl factory rebuild default");
	assert_verdict(CHECK_WITHOUT);
	template.rebuilding = true;
	check_templates(&host, &result);
	assert_verdict(CHECK_FINE);
	template.state = text("baking");
	check_templates(&host, &result);
	assert_verdict(CHECK_WITHOUT);
	template.state = text("broken");
	check_templates(&host, &result);
	assert_string_equal(result.command, "kiln-ctl factory console default");
	assert_verdict(CHECK_MEND);
	host.status = NULL;
}

static void test_factory(void **state _unused_)
{
	Kiln__Factory__V1__StatusResponse status = KILN__FACTORY__V1__STATUS_RESPONSE__INIT;

	host.address = xstrdup("unix:///x");
	host.status = &status;
	status.version = text(KILN_VERSION);
	check_factory(&host, &result);
	assert_verdict(CHECK_FINE);
	status.version = text("0.0.1");
	check_factory(&host, &result);
	assert_verdict(CHECK_WITHOUT);
	host.status = NULL;
	(void)error_set(&host.status_error, ECONNREFUSED, "nobody is there");
	check_factory(&host, &result);
	assert_verdict(CHECK_WITHOUT);
	(void)error_set(&host.status_error, EACCES, "not for you");
	check_factory(&host, &result);
	assert_verdict(CHECK_UNSEEN);
	(void)error_set(&host.status_error, ETIMEDOUT, "it does not answer");
	check_factory(&host, &result);
	assert_verdict(CHECK_MEND);
}

/* ---------------------------------------------------------------- the command */

static void test_command_line(void **state _unused_)
{
	struct outcome list = RUN(&ctl_check, "list");
	assert_int_equal(list.code, CTL_OK);
	assert_non_null(strstr(list.out, "idmapped-mounts"));
	outcome_done(&list);

	struct outcome unknown = RUN(&ctl_check, "nonsense");
	assert_int_equal(unknown.code, CTL_USAGE);
	assert_string_equal(unknown.out, "");
	assert_non_null(strstr(unknown.err, "no check 'nonsense'"));
	outcome_done(&unknown);

	struct outcome option = RUN(&ctl_check, "--nonsense");
	assert_int_equal(option.code, CTL_USAGE);
	outcome_done(&option);
}

static void test_exit_codes(void **state _unused_)
{
	_cleanup_free_ char *path = path_join(test_folder, "factory.json");

	put("/factory.json", "{\"run_dir\": \"/nonexistent\", \"uid_first\": 0}");
	struct outcome fine = RUN(&ctl_check, "configuration", "vhost", "--config", path, "--json");
	json_t *json = json_loads(fine.out, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(json, "verdict")), "fine");
	assert_int_equal(json_array_size(json_object_get(json, "checks")), 2);
	assert_int_equal(json_integer_value(json_object_get(json, "fine")), 2);
	json_decref(json);
	assert_int_equal(fine.code, 0);
	outcome_done(&fine);

	struct outcome without = RUN(&ctl_check, "user-ids", "--config", path);
	assert_int_equal(without.code, 1);
	assert_non_null(strstr(without.out, "lost: the jail"));
	outcome_done(&without);

	put("/factory.json", "{\"nonsense\": 1}");
	struct outcome mend = RUN(&ctl_check, "configuration", "--config", path);
	assert_int_equal(mend.code, 2);
	assert_non_null(strstr(mend.out, "do:   kiln-factory --check"));
	outcome_done(&mend);
}

#define on_facts(test) cmocka_unit_test_teardown(test, clear)
#define on_host(test)  cmocka_unit_test_setup_teardown(test, host_setup, host_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		on_facts(test_worse_stays),
		on_facts(test_kvm),
		on_facts(test_kvm_without_virtualization),
		on_facts(test_vhost),
		on_facts(test_vhost_net),
		on_facts(test_kernel),
		on_facts(test_landlock),
		on_facts(test_qemu),
		on_facts(test_store),
		on_facts(test_scratch),
		on_facts(test_memory),
		on_facts(test_descriptors),
		on_facts(test_processes),
		on_facts(test_processes_that_are_hidden),
		on_facts(test_user_ids),
		on_facts(test_clock),
		on_host(test_processor),
		on_host(test_cgroups_v2),
		on_host(test_cgroups_v1),
		on_host(test_files),
		on_host(test_ids_in_files),
		on_host(test_broken_configuration),
		on_host(test_templates),
		on_host(test_factory),
		on_host(test_command_line),
		on_host(test_exit_codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
