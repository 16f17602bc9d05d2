/* Definitions: what may stand in them, and which inputs make another template. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/file.h"
#include "base/memory.h"
#include "factory/store/template.h"

#define IMAGE_BYTES (2 * 1024 * 1024)

struct fixture {
	char dir[32];
	char *path; /* of the definition */
};

static void write_text(const struct fixture *f, const char *name, const char *text)
{
	_cleanup_free_ char *path = path_join(f->dir, name);

	assert_int_equal(file_write_atomic(path, text, strlen(text), 0644, NULL), 0);
}

static void resize(const struct fixture *f, const char *name, off_t size)
{
	_cleanup_free_ char *path = path_join(f->dir, name);

	assert_int_equal(truncate(path, size), 0);
}

static int setup(void **state)
{
	struct fixture *f = xnew(struct fixture);

	strcpy(f->dir, "/tmp/kiln-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->path = path_join(f->dir, "default.json");
	write_text(f, "vmlinux", "kernel");
	write_text(f, "initrd", "initrd");
	write_text(f, "root", "root");
	resize(f, "root", IMAGE_BYTES);
	write_text(f, "xml", "<domain/>");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(path_remove(f->dir, NULL), 0);
	free(f->path);
	free(f);
	return 0;
}

/* Writes the smallest definition with one key set to a JSON value (NULL: removed). */
static void write_definition(const struct fixture *f, const char *key, const char *value)
{
	json_t *object = json_pack("{ss ss ss ss ss}", "name", "default", "kernel", "vmlinux",
				   "initrd", "initrd", "image", "root", "machine", "xml");

	if (key && value)
		json_object_set_new(object, key, json_loads(value, JSON_DECODE_ANY, NULL));
	else if (key)
		json_object_del(object, key);
	char *text = json_dumps(object, 0);
	write_text(f, "default.json", text);
	free(text);
	json_decref(object);
}

static struct template_definition *load(const struct fixture *f)
{
	_cleanup_(error_done) struct error err = {};
	struct template_definition *d = NULL;

	if (template_definition_load(f->path, &d, &err) < 0)
		fail_msg("%s", error_message(&err));
	return d;
}

static void test_defaults_and_paths(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *real = realpath(f->dir, NULL);

	write_definition(f, NULL, NULL);
	_cleanup_(template_definition_free_cleanup) struct template_definition *d = load(f);
	assert_string_equal(d->name, "default");
	_cleanup_free_ char *kernel = path_join(real, "vmlinux");
	assert_string_equal(d->kernel, kernel);
	assert_string_equal(d->kernel_params, "");
	assert_int_equal(d->vcpus, 1);
	assert_int_equal(d->memory_mib, 256);
	assert_int_equal(d->spare_vcpus, 0);
	assert_int_equal(d->max_memory_mib, 256);
	assert_int_equal(d->dax_windows, 2);
	assert_int_equal(d->dax_window_mib, 512);
	assert_int_equal(d->network_cards, 1);
	assert_true(d->free_page_reporting);
	assert_string_equal(d->annotations, "");
	assert_int_equal(d->boot_timeout_s, 120);
	assert_int_equal(d->pool_size, 3);
}

static void test_windows_of_a_large_machine(void **state)
{
	struct fixture *f = *state;

	write_definition(f, "memory_mib", "6144");
	_cleanup_(template_definition_free_cleanup) struct template_definition *d = load(f);
	assert_int_equal(d->dax_window_mib, 2048);
}

/* Images in them would be shared. */
static void test_no_windows_where_nothing_is_shared(void **state)
{
	struct fixture *f = *state;

	write_definition(f, "share", "\"never\"");
	_cleanup_(template_definition_free_cleanup) struct template_definition *d = load(f);
	assert_int_equal(d->dax_windows, 0);
}

static void test_absolute_path_stays(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *xml = path_join(f->dir, "xml");
	_cleanup_free_ char *value = xasprintf("\"%s\"", xml);

	write_definition(f, "machine", value);
	_cleanup_(template_definition_free_cleanup) struct template_definition *d = load(f);
	assert_string_equal(d->machine, xml);
}

static void test_the_shipped_definition_is_understood(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *text = NULL;

	/* The file names of build/image, as templates/default.json has them. */
	assert_int_equal(file_read("templates/default.json", 1 << 16, &text, NULL, NULL), 0);
	write_text(f, "default.json", text);
	write_text(f, "initrd.img", "initrd");
	write_text(f, "rootfs.erofs", "root");
	resize(f, "rootfs.erofs", IMAGE_BYTES);
	write_text(f, "machine.xml", "<domain/>");
	_cleanup_(template_definition_free_cleanup) struct template_definition *d = load(f);
	assert_string_equal(d->name, "default");
	assert_non_null(strstr(d->kernel_params, "console="));
}

static void expect_refused(const struct fixture *f, int number, const char *says)
{
	_cleanup_(error_done) struct error err = {};
	struct template_definition *d = NULL;

	assert_int_equal(template_definition_load(f->path, &d, &err), number);
	assert_null(d);
	if (!strstr(error_message(&err), says))
		fail_msg("\"%s\" does not say \"%s\"", error_message(&err), says);
}

static void test_refused(void **state)
{
	static const struct {
		const char *key, *value;
		int number;
		const char *says;
	} cases[] = {
		{ "name", NULL, -EINVAL, "name" },
		{ "name", "\"../x\"", -EINVAL, "../x" },
		{ "kernel", NULL, -EINVAL, "kernel" },
		{ "kernel", "3", -EINVAL, "kernel" },
		{ "kernel", "\"nope\"", -ENOENT, "make image" },
		{ "image", "\"vmlinux\"", -EINVAL, "2 MiB" },
		{ "initrd", "\".\"", -EINVAL, "regular" },
		{ "vcpus", "0", -EINVAL, "vcpus" },
		{ "share", "\"some\"", -EINVAL, "share" },
		{ "memory_dir", "\"here\"", -EINVAL, "absolute" },
		{ "images", "{}", -EINVAL, "images" },
		{ "images", "[{\"name\": \"a,b\", \"file\": \"root\"}]", -EINVAL, "a,b" },
		{ "images", "[{\"name\": \"a\"}]", -EINVAL, "file is missing in images[0]" },
		{ "images", "[{\"name\": \"a\", \"file\": \"vmlinux\"}]", -EINVAL, "truncate" },
		{ "images", "[{\"name\": \"a\", \"file\": \"nothing\"}]", -ENOENT, "nothing" },
		{ "images",
		  "[{\"name\": \"a\", \"file\": \"root\"}, {\"name\": \"a\", \"file\": \"root\"}]",
		  -EINVAL, "two of the images" },
		{ "vcpus", "1.5", -EINVAL, "vcpus" },
		{ "memory_mib", "-1", -EINVAL, "memory_mib" },
		{ "spare_vcpus", "64", -EINVAL, "spare_vcpus" },
		{ "max_memory_mib", "128", -EINVAL, "max_memory_mib" },
		{ "max_memory_mib", "300", -EINVAL, "a multiple of 128 more" },
		{ "dax_windows", "5", -EINVAL, "dax_windows" },
		{ "network_cards", "9", -EINVAL, "network_cards" },
		{ "dax_window_mib", "511", -EINVAL, "must be even" },
		{ "dax_window_mib", "4096", -EINVAL, "more than 16 times memory_mib" },
		{ "annotations", "\"a, b\"", -EINVAL, "annotations" },
		{ "annotations", "\"a,\"", -EINVAL, "annotations" },
		{ "pool_size", "100000", -EINVAL, "pool_size" },
		{ "on_stale", "\"ignore\"", -EINVAL, "on_stale" },
		{ "kernle", "\"x\"", -EINVAL, "kernle" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		write_definition(f, cases[i].key, cases[i].value);
		expect_refused(f, cases[i].number, cases[i].says);
	}
}

static void test_refused_files(void **state)
{
	struct fixture *f = *state;

	expect_refused(f, -ENOENT, "make image"); /* no definition at all */
	write_text(f, "default.json", "{ \"name\": ");
	expect_refused(f, -EINVAL, "default.json");
	write_definition(f, NULL, NULL);
	resize(f, "vmlinux", 0);
	expect_refused(f, -EINVAL, "empty");
	resize(f, "vmlinux", (off_t)2 * 1024 * 1024 * 1024);
	expect_refused(f, -EFBIG, "vmlinux");
}

static void test_kernel_params_are_bounded(void **state)
{
	struct fixture *f = *state;
	char value[4096];

	memset(value, 'x', sizeof(value));
	value[0] = value[sizeof(value) - 2] = '"';
	value[sizeof(value) - 1] = '\0';
	write_definition(f, "kernel_params", value);
	expect_refused(f, -EINVAL, "kernel_params");
}

/* Off unless it is asked for. A word of the guest's kernel: nothing else says it to the agent. */
static void test_a_debug_console_is_a_kernel_parameter(void **state)
{
	struct fixture *f = *state;

	write_definition(f, "debug_console", "true");
	_cleanup_(template_definition_free_cleanup) struct template_definition *d = load(f);
	replace_string(&d->kernel_params, "quiet");
	_cleanup_free_ char *with = template_kernel_params(d);
	assert_string_equal(with, "quiet agent.debug_console");
	write_definition(f, NULL, NULL);
	_cleanup_(template_definition_free_cleanup) struct template_definition *plain = load(f);
	_cleanup_free_ char *without = template_kernel_params(plain);
	assert_string_equal(without, "");
}

/* ---------------------------------------------------------------- the id */

static struct template_host a_host(void)
{
	return (struct template_host){ .accelerator = ACCELERATOR_TCG,
				       .qemu_binary = (char *)"/usr/bin/qemu",
				       .qemu_version = (char *)"QEMU 1",
				       .cpu_model = (char *)"A",
				       .kernel_release = (char *)"6.1" };
}

static void id_of(const struct fixture *f, const struct template_host *host, char *ret_id)
{
	_cleanup_(template_definition_free_cleanup) struct template_definition *d = load(f);
	_cleanup_(template_inputs_done) struct template_inputs inputs = {};
	_cleanup_(known_digests_done) struct known_digests known = {};

	assert_int_equal(template_inputs_read(d, host, &known, &inputs, NULL), 0);
	template_inputs_id(d->name, &inputs, 0, ret_id);
	assert_int_equal(strlen(ret_id), 64);
}

static void test_id_changes_with_every_input(void **state)
{
	static const struct {
		const char *key, *value;
		bool same;
	} cases[] = {
		{ "name", "\"other\"", false },
		{ "pool_size", "9", true },
		{ "on_stale", "\"rebuild\"", true },
		{ "boot_timeout_s", "9", true },
		{ "vcpus", "2", false },
		{ "spare_vcpus", "2", false },
		{ "max_memory_mib", "512", false },
		{ "dax_windows", "1", false },
		{ "network_cards", "2", false },
		{ "free_page_reporting", "false", false },
		{ "free_page_reporting", "true", true },
		{ "dax_window_mib", "512", true }, /* as it is by itself */
		{ "dax_window_mib", "256", false },
		{ "annotations", "\"gpu,zone=a\"", false },
		{ "memory_mib", "257", false },
		{ "kernel_params", "\"quiet\"", false },
		{ "kernel", "\"initrd\"", false },
		{ "initrd", "\"vmlinux\"", false },
		{ "machine", "\"vmlinux\"", false },
		{ "share", "\"never\"", false },
		{ "memory_dir", "\"/tmp\"", false },
		{ "images", "[{\"name\": \"a\", \"file\": \"root\"}]", false },
		{ "images", "[]", true },
	};
	struct fixture *f = *state;
	struct template_host host = a_host();
	char first[DIGEST_HEX_SIZE], id[DIGEST_HEX_SIZE];

	write_definition(f, NULL, NULL);
	id_of(f, &host, first);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		write_definition(f, cases[i].key, cases[i].value);
		id_of(f, &host, id);
		assert_int_equal(str_equal(id, first), cases[i].same);
	}
}

static void test_id_changes_with_the_host(void **state)
{
	struct fixture *f = *state;
	struct template_host host = a_host();
	char first[DIGEST_HEX_SIZE], id[DIGEST_HEX_SIZE];

	write_definition(f, NULL, NULL);
	id_of(f, &host, first);
	host.accelerator = ACCELERATOR_KVM;
	id_of(f, &host, id);
	assert_string_not_equal(id, first);
	host = a_host();
	host.channel = CHANNEL_VSOCK;
	id_of(f, &host, id);
	assert_string_not_equal(id, first);
	host = a_host();
	host.vhost_net = true;
	id_of(f, &host, id);
	assert_string_not_equal(id, first);
	host = a_host();
	host.qemu_version = (char *)"QEMU 2";
	id_of(f, &host, id);
	assert_string_not_equal(id, first);
	host = a_host();
	host.cpu_model = (char *)"B";
	id_of(f, &host, id);
	assert_string_not_equal(id, first);
	host = a_host();
	host.kernel_release = (char *)"6.2";
	id_of(f, &host, id);
	assert_string_not_equal(id, first);
}

/* A file that looks the same is not read again; one of another size is. */
static void test_known_files_are_not_read_again(void **state)
{
	struct fixture *f = *state;
	struct template_host host = a_host();
	_cleanup_(template_inputs_done) struct template_inputs now = {};
	_cleanup_(known_digests_done) struct known_digests known = {};

	write_definition(f, "images", "[{\"name\": \"a\", \"file\": \"root\"}]");
	_cleanup_(template_definition_free_cleanup) struct template_definition *d = load(f);
	assert_int_equal(template_inputs_read(d, &host, &known, &now, NULL), 0);
	for (size_t i = 0; i < known.count; i++) {
		known.items[i].settled = true;
		memset(known.items[i].digest, 'f', DIGEST_HEX_SIZE - 1);
	}
	template_inputs_done(&now);
	assert_int_equal(template_inputs_read(d, &host, &known, &now, NULL), 0);
	assert_int_equal(strspn(now.values[INPUT_KERNEL], "f"), DIGEST_HEX_SIZE - 1);
	assert_int_equal(strspn(now.images.items[0].digest, "f"), DIGEST_HEX_SIZE - 1);
	resize(f, "vmlinux", 100);
	template_inputs_done(&now);
	assert_int_equal(template_inputs_read(d, &host, &known, &now, NULL), 0);
	assert_int_not_equal(strspn(now.values[INPUT_KERNEL], "f"), DIGEST_HEX_SIZE - 1);
	assert_int_equal(strspn(now.values[INPUT_INITRD], "f"), DIGEST_HEX_SIZE - 1);
}

static void test_id_names_a_vanished_input(void **state)
{
	struct fixture *f = *state;
	struct template_host host = a_host();
	_cleanup_(error_done) struct error err = {};
	_cleanup_(known_digests_done) struct known_digests known = {};
	struct template_inputs inputs = {};

	write_definition(f, NULL, NULL);
	_cleanup_(template_definition_free_cleanup) struct template_definition *d = load(f);
	assert_int_equal(unlink(d->initrd), 0);
	assert_int_equal(template_inputs_read(d, &host, &known, &inputs, &err), -ENOENT);
	assert_non_null(strstr(error_message(&err), "initrd"));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_defaults_and_paths),
		TEST(test_windows_of_a_large_machine),
		TEST(test_no_windows_where_nothing_is_shared),
		TEST(test_absolute_path_stays),
		TEST(test_the_shipped_definition_is_understood),
		TEST(test_refused),
		TEST(test_refused_files),
		TEST(test_kernel_params_are_bounded),
		TEST(test_a_debug_console_is_a_kernel_parameter),
		TEST(test_id_changes_with_every_input),
		TEST(test_id_changes_with_the_host),
		TEST(test_known_files_are_not_read_again),
		TEST(test_id_names_a_vanished_input),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
