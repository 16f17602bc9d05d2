/* Manifests: what was stored comes back; what was cut, edited or put in its place does not. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/file.h"
#include "base/format.h"
#include "base/memory.h"
#include "factory/store/template.h"
#include "factory/store/template_priv.h"
#include "tests/unit/older.h"

#define ID            "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define MEMORY_BYTES  (4 * 1024 * 1024)
#define STATE         "device state"
#define IMAGE         "root image"
#define CARRIED_BYTES (2 * 1024 * 1024)

struct fixture {
	char store[32];
	char *dir, *json, *state, *memory, *image, *carried;
};

static struct template_manifest *manifest_make(const struct fixture *f)
{
	struct template_manifest *m = xnew(struct template_manifest);

	strcpy(m->id, ID);
	m->name = xstrdup("default");
	m->dir = xstrdup(f->dir);
	m->memory = xstrdup(f->memory);
	m->inputs.images = (struct carried){ .items = xnew(struct carried_image), .count = 1 };
	m->inputs.images.items[0].name = xstrdup("tools");
	m->inputs.images.items[0].bytes = CARRIED_BYTES;
	assert_int_equal(digest_file(f->carried, m->inputs.images.items[0].digest, NULL), 0);
	m->agent_version = xstrdup("0.1.0");
	m->qemu_binary = xstrdup("/usr/bin/qemu-system-x86_64");
	m->accelerator = ACCELERATOR_KVM;
	strv_add(&m->argv, "/usr/bin/qemu-system-x86_64");
	strv_add(&m->argv, "-name");
	strv_add(&m->argv, "{{id}} \"quoted\"");
	strv_add(&m->boot_argv, "qemu");
	strv_add(&m->boot_argv, "{{vcpus}}");
	m->boot_room_kib = 8192;
	m->vcpus = 2;
	m->spare_vcpus = 3;
	m->max_memory_mib = 12;
	m->memory_bytes = MEMORY_BYTES;
	for (int i = 0; i < TEMPLATE_INPUTS; i++)
		m->inputs.values[i] = xstrdup(template_input_is_file((enum template_input)i) ? ID
											     : "v");
	replace_string(&m->inputs.values[INPUT_MEMORY_DIR], "");
	m->generation = 1;
	m->memory_before_trim_bytes = 8192;
	m->memory_allocated_bytes = 4096;
	m->image_bytes = strlen(IMAGE);
	assert_int_equal(digest_file(f->memory, m->memory_digest, NULL), 0);
	assert_int_equal(digest_file(f->image, m->image_digest, NULL), 0);
	m->state_bytes = strlen(STATE);
	assert_int_equal(digest_file(f->state, m->state_digest, NULL), 0);
	m->baked_at = 1700000000;
	m->boot_ms = 1700;
	m->bake_ms = 2500;
	return m;
}

static int setup(void **state)
{
	struct fixture *f = xnew(struct fixture);

	strcpy(f->store, "/tmp/kiln-test-XXXXXX");
	assert_non_null(mkdtemp(f->store));
	f->dir = xasprintf("%s/templates/" ID, f->store);
	f->json = path_join(f->dir, "template.json");
	f->state = path_join(f->dir, "state");
	f->memory = path_join(f->dir, "memory");
	f->image = path_join(f->dir, "image");
	assert_int_equal(dir_make(f->dir, 0700, NULL), 0);
	assert_int_equal(file_write_atomic(f->state, STATE, strlen(STATE), 0600, NULL), 0);
	assert_int_equal(file_write_atomic(f->memory, "", 0, 0600, NULL), 0);
	assert_int_equal(truncate(f->memory, MEMORY_BYTES), 0);
	assert_int_equal(file_write_atomic(f->image, IMAGE, strlen(IMAGE), 0600, NULL), 0);

	_cleanup_free_ char *images = path_join(f->dir, "images");
	assert_int_equal(dir_make(images, 0700, NULL), 0);
	f->carried = path_join(images, "0");
	assert_int_equal(file_write_atomic(f->carried, IMAGE, strlen(IMAGE), 0600, NULL), 0);
	assert_int_equal(truncate(f->carried, CARRIED_BYTES), 0);
	_cleanup_(template_manifest_free_cleanup) struct template_manifest *m = manifest_make(f);
	assert_int_equal(template_manifest_store(m, NULL), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(path_remove(f->store, NULL), 0);
	free(f->dir);
	free(f->json);
	free(f->state);
	free(f->memory);
	free(f->image);
	free(f->carried);
	free(f);
	return 0;
}

static void expect_refused(const struct fixture *f, const char *says)
{
	_cleanup_(error_done) struct error err = {};
	struct template_manifest *m = NULL;

	assert_int_equal(template_manifest_load(f->store, ID, &m, &err), -EBADMSG);
	assert_null(m);
	assert_non_null(strstr(error_message(&err), ID));
	if (!strstr(error_message(&err), says))
		fail_msg("\"%s\" does not say \"%s\"", error_message(&err), says);
}

static void test_patience_follows_the_boot_of_the_bake(void **state _unused_)
{
	static const struct {
		uint64_t boot_ms;
		unsigned patience;
	} cases[] = {
		{ 0, 1 },       { 1700, 1 },    { 10000, 1 },
		{ 10001, 2 },   { 58000, 6 },   { 101000, 11 },
		{ 200000, 20 }, { 201000, 20 }, { INT64_MAX, TEMPLATE_PATIENCE_MAX },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct template_manifest m = { .boot_ms = cases[i].boot_ms };

		assert_int_equal(template_patience(&m), cases[i].patience);
	}
}

static void test_round_trip(void **state)
{
	struct fixture *f = *state;
	_cleanup_(template_manifest_free_cleanup) struct template_manifest *want = manifest_make(f);
	_cleanup_(template_manifest_free_cleanup) struct template_manifest *m = NULL;

	assert_int_equal(template_manifest_load(f->store, ID, &m, NULL), 0);
	assert_string_equal(m->id, ID);
	assert_string_equal(m->name, want->name);
	assert_string_equal(m->dir, want->dir);
	assert_string_equal(m->agent_version, want->agent_version);
	assert_string_equal(m->qemu_binary, want->qemu_binary);
	assert_int_equal(m->accelerator, want->accelerator);
	assert_int_equal(m->argv.count, want->argv.count);
	for (size_t i = 0; i < m->argv.count; i++)
		assert_string_equal(m->argv.items[i], want->argv.items[i]);
	assert_int_equal(m->boot_argv.count, 2);
	assert_string_equal(m->boot_argv.items[1], "{{vcpus}}");
	assert_int_equal(m->boot_room_kib, want->boot_room_kib);
	assert_int_equal(template_size(m).vcpus, 2);
	assert_int_equal(template_size(m).memory_mib, MEMORY_BYTES >> 20);
	assert_int_equal(template_max_size(m).vcpus, 5);
	assert_int_equal(template_max_size(m).memory_mib, 12);
	assert_string_equal(template_annotations(m), "v");
	assert_int_equal(m->inputs.images.count, 1);
	assert_true(carried_equal(&m->inputs.images, &want->inputs.images));
	assert_string_equal(m->memory, f->memory);
	assert_int_equal(m->vcpus, want->vcpus);
	assert_int_equal(m->memory_bytes, want->memory_bytes);
	assert_int_equal(m->memory_allocated_bytes, want->memory_allocated_bytes);
	assert_int_equal(m->memory_before_trim_bytes, want->memory_before_trim_bytes);
	assert_int_equal(m->generation, want->generation);
	assert_true(template_inputs_equal(&m->inputs, &want->inputs));
	assert_string_equal(m->memory_digest, want->memory_digest);
	assert_string_equal(m->image_digest, want->image_digest);
	assert_int_equal(m->image_bytes, want->image_bytes);
	assert_int_equal(m->state_bytes, want->state_bytes);
	assert_string_equal(m->state_digest, want->state_digest);
	assert_int_equal(m->baked_at, want->baked_at);
	assert_int_equal(m->boot_ms, want->boot_ms);
	assert_int_equal(m->bake_ms, want->bake_ms);
}

static void test_missing(void **state)
{
	struct fixture *f = *state;
	struct template_manifest *m = NULL;

	assert_int_equal(unlink(f->json), 0);
	assert_int_equal(template_manifest_load(f->store, ID, &m, NULL), -ENOENT);
}

static void test_ids_that_are_none(void **state)
{
	static const char *const ids[] = { "",
					   "default",
					   "../../etc",
					   "0011",
					   ID "00",
					   ("00112233445566778899AABBCCDDEEFF"
					    "00112233445566778899aabbccddeeff") };
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		struct template_manifest *m = NULL;

		assert_int_equal(template_manifest_load(f->store, ids[i], &m, NULL), -EINVAL);
		assert_int_equal(template_remove(f->store, ids[i], NULL), -EINVAL);
	}
}

static void test_files_that_changed(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(truncate(f->memory, MEMORY_BYTES - 4096), 0);
	expect_refused(f, "memory");
	assert_int_equal(truncate(f->memory, MEMORY_BYTES), 0);

	assert_int_equal(truncate(f->image, 3), 0);
	expect_refused(f, "image");
	assert_int_equal(file_write_atomic(f->image, IMAGE, strlen(IMAGE), 0600, NULL), 0);

	assert_int_equal(truncate(f->state, 3), 0);
	expect_refused(f, "state");
	assert_int_equal(file_write_atomic(f->state, "device statf", 12, 0600, NULL), 0);
	expect_refused(f, "state");

	assert_int_equal(unlink(f->state), 0);
	expect_refused(f, "state");
	assert_int_equal(symlink("memory", f->state), 0);
	expect_refused(f, "regular");
}

static void test_truncated_at_every_byte(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *text = NULL;
	size_t len;

	assert_int_equal(file_read(f->json, 1 << 20, &text, &len, NULL), 0);
	for (size_t cut = 0; cut < len; cut += 7) {
		assert_int_equal(truncate(f->json, (off_t)cut), 0);
		expect_refused(f, "template.json");
		assert_int_equal(file_write_atomic(f->json, text, len, 0600, NULL), 0);
	}
}

static json_t *read_json(const struct fixture *f)
{
	json_t *object = json_load_file(f->json, 0, NULL);

	assert_non_null(object);
	return object;
}

static void write_json(const struct fixture *f, json_t *object)
{
	assert_int_equal(json_dump_file(object, f->json, 0), 0);
	json_decref(object);
}

static void test_layout_does_not_matter(void **state)
{
	struct fixture *f = *state;
	_cleanup_(template_manifest_free_cleanup) struct template_manifest *m = NULL;

	write_json(f, read_json(f)); /* on one line now */
	assert_int_equal(template_manifest_load(f->store, ID, &m, NULL), 0);
}

static void test_every_edit_is_noticed(void **state)
{
	struct fixture *f = *state;
	json_t *original = read_json(f);
	const char *key;
	json_t *value;

	json_object_foreach (original, key, value) {
		if (str_equal(key,
			      "format")) /* it says how to read the rest: test_other_versions */
			continue;
		json_t *edited = json_deep_copy(original);

		json_object_set_new(edited, key,
				    json_is_integer(value)
					    ? json_integer(json_integer_value(value) + 1)
					    : json_string("other"));
		write_json(f, edited);
		expect_refused(f, "digest");

		edited = json_deep_copy(original);
		json_object_del(edited, key);
		write_json(f, edited);
		expect_refused(f, "digest");
	}
	json_decref(original);
}

/* Even with a digest that fits: wrong types, ranges and keys are refused by name. */
static void test_sealed_nonsense(void **state)
{
	static const struct {
		const char *key, *value;
	} cases[] = {
		{ "format", "\"7\"" },
		{ "format", NULL },
		{ "id", "\"ff\"" },
		{ "name", "\"a/b\"" },
		{ "qemu_binary", "\"qemu\"" },
		{ "accelerator", "\"xen\"" },
		{ "argv", "[]" },
		{ "argv", "[1]" },
		{ "argv", "\"-name\"" },
		{ "vcpus", "0" },
		{ "max_memory_mib", "3" },
		{ "boot_argv", "[]" },
		{ "memory_bytes", "-4194304" },
		{ "memory_bytes", "4e6" },
		{ "memory_allocated_bytes", "4194305" },
		{ "state_bytes", "0" },
		{ "state_digest", "\"00\"" },
		{ "memory_digest", "\"xy\"" },
		{ "image_digest", "3" },
		{ "image_bytes", "0" },
		{ "generation", "2" },
		{ "inputs", "[]" },
		{ "inputs", "{\"kernel\": \"x\"}" },
		{ "images", "{}" },
		{ "images", "[1]" },
		{ "images", "[{\"name\": \"../x\", \"digest\": \"" ID "\", \"bytes\": 2097152}]" },
		{ "images", "[{\"name\": \"x\", \"digest\": \"0\", \"bytes\": 2097152}]" },
		{ "images", "[{\"name\": \"x\", \"digest\": \"" ID "\", \"bytes\": 1}]" },
		{ "extra", "1" },
		{ "boot_ms", NULL },
	};
	struct fixture *f = *state;
	json_t *original = read_json(f);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		json_t *edited = json_deep_copy(original);

		if (cases[i].value)
			json_object_set_new(edited, cases[i].key,
					    json_loads(cases[i].value, JSON_DECODE_ANY, NULL));
		else
			json_object_del(edited, cases[i].key);
		template_manifest_seal(edited);
		write_json(f, edited);
		expect_refused(f, str_equal(cases[i].key, "id") ? "template ff" : cases[i].key);
	}
	json_decref(original);
}

/* It had other inputs, so no template of ours could have its id: it is named as what it is. */
static void test_of_an_older_kiln(void **state)
{
	static const char id[] = "4fd1d781b05f5ee594c59395acc82ffe0589a2851c1f7ea42b267de67b689030";
	struct fixture *f = *state;
	_cleanup_free_ char *dir = xasprintf("%s/templates/%s", f->store, id);
	_cleanup_free_ char *path = path_join(dir, "template.json");
	_cleanup_free_ char *text = older_read("template.json");
	struct template_manifest *loaded = NULL;
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(dir_make(dir, 0700, NULL), 0);
	assert_int_equal(file_write_atomic(path, text, strlen(text), 0600, NULL), 0);
	assert_int_equal(template_manifest_load(f->store, id, &loaded, &err), -EPROTONOSUPPORT);
	assert_non_null(strstr(error_message(&err), "it is of an earlier Kiln: version 7"));
}

/* Of another version nothing is believed, its digest neither. */
static void test_other_versions(void **state)
{
	struct fixture *f = *state;
	json_t *object = read_json(f);
	uint32_t ours = format_versions[FORMAT_TEMPLATE].version;

	for (int step = -1; step <= 1; step += 2) {
		struct template_manifest *loaded = NULL;
		_cleanup_(error_done) struct error err = {};

		json_object_set_new(object, "format", json_integer((json_int_t)ours + step));
		write_json(f, json_incref(object));
		assert_int_equal(template_manifest_load(f->store, ID, &loaded, &err),
				 -EPROTONOSUPPORT);
		assert_null(loaded);
		assert_non_null(strstr(error_message(&err),
				       step > 0 ? "of a later Kiln" : "of an earlier Kiln"));
	}
	json_decref(object);
	/* And yet it goes with its name, or it would stay in memory for ever. */
	assert_int_equal(template_remove_others(f->store, "other", NULL, NULL), 0);
	assert_true(path_exists(f->json));
	assert_int_equal(template_remove_others(f->store, "default", NULL, NULL), 0);
	assert_false(path_exists(f->dir));
}

static void test_argv_is_bounded(void **state)
{
	struct fixture *f = *state;
	json_t *object = read_json(f);

	for (int i = 0; i < 1100; i++)
		json_array_append_new(json_object_get(object, "argv"), json_string("x"));
	template_manifest_seal(object);
	write_json(f, object);
	expect_refused(f, "argv");
}

static void test_store_refuses_what_is_no_text(void **state)
{
	struct fixture *f = *state;
	_cleanup_(template_manifest_free_cleanup) struct template_manifest *m = manifest_make(f);

	strv_add(&m->argv, "\xff\xfe");
	assert_int_equal(template_manifest_store(m, NULL), -EINVAL);
}

static void expect_intact(const struct template_manifest *m)
{
	struct template_check checks[TEMPLATE_CHECKS_MAX];
	size_t count = template_verify(m, checks);

	assert_int_equal(count, 4);
	for (size_t i = 0; i < count; i++)
		assert_null(checks[i].problem);
	template_checks_done(checks, count);
}

static void flip_byte(const char *path, off_t offset)
{
	_cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
	char byte;

	assert_int_equal(pread(fd, &byte, 1, offset), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
}

static void test_verify(void **state)
{
	struct fixture *f = *state;
	_cleanup_(template_manifest_free_cleanup) struct template_manifest *m = manifest_make(f);
	struct template_check checks[TEMPLATE_CHECKS_MAX];

	expect_intact(m);
	flip_byte(f->memory, 70000);
	flip_byte(f->image, 3);
	flip_byte(f->carried, 5);
	assert_int_equal(template_verify(m, checks), 4);
	assert_non_null(strstr(checks[0].problem, "has changed"));
	assert_string_not_equal(checks[0].expected, checks[0].found);
	assert_null(checks[1].problem);
	assert_non_null(strstr(checks[2].problem, "image has changed"));
	assert_string_equal(checks[3].file, "image tools");
	assert_non_null(strstr(checks[3].problem, "images/0 has changed"));
	template_checks_done(checks, 4);

	flip_byte(f->memory, 70000);
	flip_byte(f->carried, 5);
	flip_byte(f->image, 3);
	expect_intact(m);
	assert_int_equal(truncate(f->memory, MEMORY_BYTES - 1), 0);
	assert_int_equal(template_verify(m, checks), 4);
	assert_non_null(strstr(checks[0].problem, "bytes, not"));
	template_checks_done(checks, 4);
}

/* Kept elsewhere it goes with the template; the link is only followed to a file of ours. */
static void test_memory_elsewhere(void **state)
{
	struct fixture *f = *state;
	_cleanup_(template_manifest_free_cleanup) struct template_manifest *m = manifest_make(f);
	_cleanup_(template_manifest_free_cleanup) struct template_manifest *loaded = NULL;
	_cleanup_free_ char *other = path_join(f->store, "other");
	_cleanup_free_ char *elsewhere = template_memory_path(f->dir, f->store, ID);

	replace_string(&m->inputs.values[INPUT_MEMORY_DIR], f->store);
	assert_int_equal(template_manifest_store(m, NULL), 0);
	expect_refused(f, "kiln-" ID ".memory"); /* it is still in the folder */
	assert_int_equal(rename(f->memory, elsewhere), 0);
	assert_int_equal(symlink(elsewhere, f->memory), 0);
	assert_int_equal(template_manifest_load(f->store, ID, &loaded, NULL), 0);
	assert_string_equal(loaded->memory, elsewhere);
	assert_int_equal(template_remove(f->store, ID, NULL), 0);
	assert_false(path_exists(elsewhere));

	assert_int_equal(dir_make(f->dir, 0700, NULL), 0);
	assert_int_equal(file_write_atomic(other, "x", 1, 0600, NULL), 0);
	assert_int_equal(symlink(other, f->memory), 0);
	assert_int_equal(template_remove(f->store, ID, NULL), 0);
	assert_true(path_exists(other));
	assert_false(path_exists(f->dir));
}

static void test_remove_others(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(template_remove_others(f->store, "other", NULL, NULL), 0);
	assert_int_equal(template_remove_others(f->store, "default", ID, NULL), 0);
	assert_true(path_exists(f->json));
	assert_int_equal(template_remove_others(f->store, "default", NULL, NULL), 0);
	assert_false(path_exists(f->dir));
}

static void test_remove(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(template_remove(f->store, ID, NULL), 0);
	assert_false(path_exists(f->dir));
	assert_int_equal(template_remove(f->store, ID, NULL), 0);
}

static int remove_left(const char *store)
{
	return template_remove_left(store, NULL);
}

static int remove_another(const char *store)
{
	return template_remove_others(store, "other", NULL, NULL);
}

static int remove_again(const char *store)
{
	return template_remove(store, ID, NULL);
}

/* One step fails, once (base/fault.h). */
static void arm(const struct fixture *f, const char *fault)
{
	_cleanup_free_ char *path = path_join(f->store, "fault");
	_cleanup_free_ char *variable = xasprintf("@%s", path);

	assert_int_equal(file_write_atomic(path, fault, strlen(fault), 0600, NULL), 0);
	setenv("KILN_FAULT", variable, 1);
}

/* Whoever removes something next removes the rest, whatever its name is. */
static void test_remove_fails_half_way(void **state)
{
	static int (*const next[])(const char *store) = { remove_left, remove_another,
							  remove_again };
	_cleanup_free_ char *removed = NULL;
	struct fixture *f = *state;

	removed = xasprintf("%s.removed", f->dir);
	for (size_t i = 0; i < ARRAY_SIZE(next); i++) {
		_cleanup_(error_done) struct error err = {};
		_cleanup_(template_manifest_free_cleanup) struct template_manifest *m = NULL;

		assert_int_equal(dir_make(f->dir, 0700, NULL), 0);
		arm(f, "template.removing=EIO");
		assert_int_equal(template_remove(f->store, ID, &err), -EIO);
		assert_non_null(strstr(error_message(&err), "template.removing"));
		assert_int_equal(template_manifest_load(f->store, ID, &m, NULL), -ENOENT);
		assert_true(path_exists(removed));
		assert_int_equal(next[i](f->store), 0);
		assert_false(path_exists(removed));
		assert_false(path_exists(f->dir));
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_patience_follows_the_boot_of_the_bake),
		TEST(test_round_trip),
		TEST(test_missing),
		TEST(test_ids_that_are_none),
		TEST(test_files_that_changed),
		TEST(test_truncated_at_every_byte),
		TEST(test_layout_does_not_matter),
		TEST(test_every_edit_is_noticed),
		TEST(test_sealed_nonsense),
		TEST(test_of_an_older_kiln),
		TEST(test_other_versions),
		TEST(test_argv_is_bounded),
		TEST(test_store_refuses_what_is_no_text),
		TEST(test_verify),
		TEST(test_memory_elsewhere),
		TEST(test_remove_others),
		TEST(test_remove),
		TEST(test_remove_fails_half_way),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
