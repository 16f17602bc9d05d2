/* The facts of a host: acceleration by /proc/cpuinfo, QEMU by path and version. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"
#include "factory/store/template.h"
#include "factory/store/template_priv.h"

struct fixture {
	char dir[32];
	char *qemu; /* a program that answers --version */
};

static int setup(void **state)
{
	static const char script[] = "#!/bin/sh\n"
				     "echo 'QEMU emulator version 9.8.7 (made up)'\n"
				     "echo 'Copyright'\n";
	struct fixture *f = xnew(struct fixture);

	strcpy(f->dir, "/tmp/kiln-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->qemu = path_join(f->dir, "qemu");
	assert_int_equal(file_write_atomic(f->qemu, script, strlen(script), 0755, NULL), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(path_remove(f->dir, NULL), 0);
	free(f->qemu);
	free(f);
	return 0;
}

static void test_cpu_facts(void **state _unused_)
{
	static const struct {
		const char *cpuinfo, *name;
		bool virtualization;
	} cases[] = {
		{ "model name\t: Big CPU @ 3 GHz\nflags\t\t: fpu vmx sse\n", "Big CPU @ 3 GHz",
		  true },
		{ "model name\t: A\nflags\t\t: fpu svm\n\nmodel name\t: B\n", "A", true },
		{ "model name\t: A\nflags\t\t: vmx\n", "A", true },
		{ "model name\t: A\nflags\t\t: fpu svm_lock xvmx\n", "A", false },
		{ "model name\t: A\nflags\t\t: fpu\n\nflags\t\t: vmx\n", "A", false },
		{ "vmx flags\t: vmx\nmodel name : A", "A", false },
		{ "", "unknown processor", false },
		{ "flags", "unknown processor", false },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct cpu_facts facts;

		cpu_facts_parse(cases[i].cpuinfo, &facts);
		_cleanup_free_ char *model = facts.model;
		assert_int_equal(facts.virtualization, cases[i].virtualization);
		assert_non_null(str_after(model, cases[i].name));
	}
}

static void test_cpu_flags_make_another_model(void **state _unused_)
{
	struct cpu_facts a, b;
	cpu_facts_parse("model name\t: A\nflags\t\t: fpu avx\n", &a);
	cpu_facts_parse("model name\t: A\nflags\t\t: fpu avx avx512f\n", &b);
	assert_string_not_equal(a.model, b.model);
	free(a.model);
	free(b.model);
}

static const struct template_host_choice tcg = { "tcg", "serial", "no" },
					 any = { "auto", "auto", "auto" };

static void test_probe(void **state)
{
	struct fixture *f = *state;
	_cleanup_(template_host_done) struct template_host host = {};

	assert_int_equal(template_host_probe(f->qemu, &tcg, &host, NULL), 0);
	assert_int_equal(host.accelerator, ACCELERATOR_TCG);
	assert_string_equal(host.qemu_version, "QEMU emulator version 9.8.7 (made up)");
	assert_string_equal(host.qemu_binary, f->qemu);
	assert_false(str_empty(host.cpu_model));
}

static void test_probe_looks_on_path(void **state)
{
	struct fixture *f = *state;
	_cleanup_(template_host_done) struct template_host host = {};
	_cleanup_free_ char *before = xstrdup(getenv("PATH"));
	_cleanup_free_ char *path = xasprintf("/nowhere:%s:%s", f->dir, before);

	setenv("PATH", path, 1);
	int r = template_host_probe("qemu", &tcg, &host, NULL);
	setenv("PATH", before, 1);
	assert_int_equal(r, 0);
	assert_string_equal(host.qemu_binary, f->qemu);
}

/* A QEMU that says its version, and leaves a mark. */
static void write_qemu(const struct fixture *f, const char *name, const char *version)
{
	_cleanup_free_ char *path = path_join(f->dir, name);
	_cleanup_free_ char *script = xasprintf("#!/bin/sh\n: >%s/asked\necho 'QEMU %s'\n", f->dir,
						version);

	assert_int_equal(file_write_atomic(path, script, strlen(script), 0755, NULL), 0);
}

static void expect_version(const struct fixture *f, struct template_host *host, const char *link,
			   const char *version, bool asked)
{
	_cleanup_free_ char *mark = path_join(f->dir, "asked");
	_cleanup_free_ char *says = xasprintf("QEMU %s", version);

	assert_int_equal(template_host_refresh(host, link, &tcg, NULL), 0);
	assert_string_equal(host->qemu_version, says);
	assert_int_equal(unlink(mark), asked ? 0 : -1);
}

static void test_another_qemu_is_asked(void **state)
{
	struct fixture *f = *state;
	_cleanup_(template_host_done) struct template_host host = {};
	_cleanup_free_ char *link = path_join(f->dir, "link");
	_cleanup_free_ char *one = path_join(f->dir, "one");
	_cleanup_free_ char *mark = path_join(f->dir, "asked");

	write_qemu(f, "one", "1");
	write_qemu(f, "two", "2");
	assert_int_equal(symlink("one", link), 0);
	assert_int_equal(template_host_probe(link, &tcg, &host, NULL), 0);
	assert_int_equal(unlink(mark), 0);
	expect_version(f, &host, link, "1", false);
	assert_int_equal(unlink(link), 0);
	assert_int_equal(template_host_refresh(&host, link, &tcg, NULL), -ENOENT);
	assert_string_equal(host.qemu_version, "QEMU 1");
	assert_int_equal(symlink("two", link), 0);
	assert_int_equal(unlink(one), 0);
	expect_version(f, &host, link, "2", true);
	expect_version(f, &host, link, "2", false);
	write_qemu(f, "two", "3");
	expect_version(f, &host, link, "3", true);
}

static void test_probe_failures(void **state _unused_)
{
	static const struct {
		const char *qemu;
		struct template_host_choice choice;
		const char *says;
		int number;
	} cases[] = {
		{ "/nowhere/qemu", { "tcg", "serial", "no" }, "qemu-system-x86", -ENOENT },
		{ "kiln-no-such-qemu", { "tcg", "serial", "no" }, "qemu-system-x86", -ENOENT },
		{ "/bin/true", { "tcg", "serial", "no" }, "is not QEMU", -EPROTO },
		{ NULL, { "xen", "serial", "no" }, "auto, tcg, kvm", -EINVAL },
		{ NULL, { "", "serial", "no" }, "auto, tcg, kvm", -EINVAL },
		{ NULL, { "tcg", "port", "no" }, "auto, vsock, serial", -EINVAL },
		{ NULL, { "tcg", "serial", "maybe" }, "auto, yes, no", -EINVAL },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(error_done) struct error err = {};
		struct template_host host = {};

		assert_int_equal(template_host_probe(cases[i].qemu, &cases[i].choice, &host, &err),
				 cases[i].number);
		assert_non_null(strstr(error_message(&err), cases[i].says));
		assert_null(host.qemu_binary);
	}
}

static void test_auto_never_takes_kvm_without_virtualization(void **state)
{
	struct fixture *f = *state;
	_cleanup_(template_host_done) struct template_host host = {};
	_cleanup_free_ char *cpuinfo = NULL;
	struct cpu_facts facts;

	assert_int_equal(file_read("/proc/cpuinfo", 1 << 24, &cpuinfo, NULL, NULL), 0);
	cpu_facts_parse(cpuinfo, &facts);
	free(facts.model);
	assert_int_equal(template_host_probe(f->qemu, &any, &host, NULL), 0);
	if (!facts.virtualization)
		assert_int_equal(host.accelerator, ACCELERATOR_TCG);
}

/* Whether machines, which are users of their own in the device's group, can open it. */
static bool kvm_is_open(void)
{
	struct stat st;

	return access("/dev/kvm", R_OK | W_OK) == 0 && stat("/dev/kvm", &st) == 0 &&
	       ((st.st_mode & 060) == 060 || (st.st_mode & 06) == 06);
}

/* A processor that has what KVM needs: whether it is taken depends on the device alone. */
static void test_auto_says_why_it_does_not_take_kvm(void **state _unused_)
{
	struct template_host host = { .virtualization = true };
	bool usable = kvm_is_open();

	assert_int_equal(template_host_choose(&host, &any, NULL), 0);
	assert_int_equal(host.accelerator, usable ? ACCELERATOR_KVM : ACCELERATOR_TCG);
	assert_int_equal(host.kvm_obstacle == NULL, usable);
	if (!usable)
		assert_non_null(strstr(host.kvm_obstacle, "/dev/kvm"));
	/* Nobody is told of what was asked for, nor of a processor without it. */
	assert_int_equal(template_host_choose(&host, &tcg, NULL), 0);
	assert_int_equal(host.accelerator, ACCELERATOR_TCG);
	assert_null(host.kvm_obstacle);
	host.virtualization = false;
	assert_int_equal(template_host_choose(&host, &any, NULL), 0);
	assert_int_equal(host.accelerator, ACCELERATOR_TCG);
	assert_null(host.kvm_obstacle);
}

/* The device alone does not do: udev has it before the module is loaded. */
static void test_vsock_where_the_module_is_loaded(void **state _unused_)
{
	static const struct template_host_choice vsock = { "tcg", "vsock", "no" };
	_cleanup_(error_done) struct error err = {};
	struct template_host host = {};
	bool there = access("/sys/class/misc/vhost-vsock", F_OK) == 0 &&
		     access("/dev/vhost-vsock", F_OK) == 0;

	assert_int_equal(template_host_choose(&host, &any, NULL), 0);
	assert_int_equal(host.channel, there ? CHANNEL_VSOCK : CHANNEL_SERIAL);
	assert_int_equal(template_host_choose(&host, &tcg, NULL), 0);
	assert_int_equal(host.channel, CHANNEL_SERIAL);
	assert_int_equal(template_host_choose(&host, &vsock, &err), there ? 0 : -ENOENT);
	if (!there)
		assert_non_null(strstr(error_message(&err), "modprobe vhost_vsock"));
	template_host_done(&host);
}

static void test_vhost_net_where_the_module_is_loaded(void **state _unused_)
{
	static const struct template_host_choice yes = { "tcg", "serial", "yes" };
	_cleanup_(error_done) struct error err = {};
	struct template_host host = {};
	bool there = access("/sys/class/misc/vhost-net", F_OK) == 0 &&
		     access("/dev/vhost-net", F_OK) == 0;

	assert_int_equal(template_host_choose(&host, &any, NULL), 0);
	assert_int_equal(host.vhost_net, there && host.accelerator == ACCELERATOR_KVM);
	assert_int_equal(template_host_choose(&host, &tcg, NULL), 0);
	assert_false(host.vhost_net);
	assert_int_equal(template_host_choose(&host, &yes, &err), there ? -EOPNOTSUPP : -ENOENT);
	assert_non_null(strstr(error_message(&err), there ? "KVM alone" : "modprobe vhost_net"));
	assert_false(host.vhost_net);
	template_host_done(&host);
}

static void test_accelerator_names(void **state _unused_)
{
	for (enum accelerator a = ACCELERATOR_TCG; a <= ACCELERATOR_KVM; a++)
		assert_int_equal(accelerator_from_string(accelerator_to_string(a)), a);
	assert_int_equal(accelerator_from_string("auto"), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cpu_facts),
		cmocka_unit_test(test_cpu_flags_make_another_model),
		cmocka_unit_test_setup_teardown(test_probe, setup, teardown),
		cmocka_unit_test_setup_teardown(test_probe_looks_on_path, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_qemu_is_asked, setup, teardown),
		cmocka_unit_test(test_probe_failures),
		cmocka_unit_test_setup_teardown(test_auto_never_takes_kvm_without_virtualization,
						setup, teardown),
		cmocka_unit_test(test_auto_says_why_it_does_not_take_kvm),
		cmocka_unit_test(test_vsock_where_the_module_is_loaded),
		cmocka_unit_test(test_vhost_net_where_the_module_is_loaded),
		cmocka_unit_test(test_accelerator_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
