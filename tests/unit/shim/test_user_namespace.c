/* User namespaces: what a guest that maps no owners can have, and what it is told of the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "proto/pbjson.h"
#include "shim/user_namespace.h"

#define MAPPED(id)   "[{\"containerID\": 0, \"hostID\": " #id ", \"size\": 65536}]"
#define MAPPINGS(id) "\"uidMappings\": " MAPPED(id) ", \"gidMappings\": " MAPPED(id)
#define BIND         "{\"destination\": \"/v\", \"type\": \"bind\", \"source\": \"/etc\""
#define ROOT         "lowerdir=/a:/b", "uidmap=0:100000:65536", "gidmap=0:100000:65536"

enum { OPTIONS_MAX = 4 };

struct row {
	const char *linux;  /* members; with a user namespace unless `alone` */
	const char *mounts; /* NULL: none */
	const char *root[OPTIONS_MAX + 1];
	const char *why; /* NULL: it can be had */
	bool alone, is_mapped;
};

static struct spec *parse(const struct row *row)
{
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *text = xasprintf(
		"{\"process\": {\"args\": [\"a\"], \"cwd\": \"/\"}, \"root\": {\"path\": \"r\"},"
		" \"mounts\": [%s], \"linux\": {\"namespaces\": [{\"type\": \"pid\"}%s]%s%s}}",
		row->mounts ? row->mounts : "", row->alone ? "" : ", {\"type\": \"user\"}",
		*row->linux ? ", " : "", row->linux);
	struct spec *spec;

	if (spec_parse(text, strlen(text), "/b", &spec, &err) < 0)
		fail_msg("%s: %s", text, error_message(&err));
	return spec;
}

static Containerd__Types__Mount *mount_new(const char *const *options)
{
	Containerd__Types__Mount *mount = xnew(Containerd__Types__Mount);

	containerd__types__mount__init(mount);
	mount->type = xstrdup("overlay");
	mount->options = xnew_array(char *, OPTIONS_MAX);
	for (; options[mount->n_options]; mount->n_options++)
		mount->options[mount->n_options] = xstrdup(options[mount->n_options]);
	return mount;
}

/* Nothing is left of it that the agent would see. */
static void expect_taken(const struct spec *spec, const Containerd__Types__Mount *root)
{
	assert_null(spec_namespace(spec, "user"));
	assert_int_equal(spec->oci->linux->n_uidmappings + spec->oci->linux->n_gidmappings, 0);
	for (size_t i = 0; i < spec->oci->n_mounts; i++) {
		const Grpc__Mount *mount = spec->oci->mounts[i];
		assert_int_equal(mount->n_uidmappings + mount->n_gidmappings, 0);
		for (size_t j = 0; j < mount->n_options; j++)
			assert_string_equal(mount->options[j], "rbind");
	}
	for (size_t i = 0; i < root->n_options; i++)
		assert_null(strstr(root->options[i], "idmap"));
}

static void check_row(size_t index, const struct row *row)
{
	_cleanup_(spec_free_cleanup) struct spec *spec = parse(row);
	_cleanup_(error_done) struct error err = {};
	Containerd__Types__Mount *root = mount_new(row->root);
	size_t before = root->n_options;
	bool is_mapped = !row->is_mapped;
	int r = user_namespace_check(spec, &err);

	if (r == 0)
		r = user_namespace_take(spec, &root, 1, &is_mapped, &err);

	if ((r == 0) != !row->why || (r < 0 && !strstr(error_message(&err), row->why)))
		fail_msg("row %zu: %d, \"%s\"", index, r, error_message(&err));
	if (r == 0) {
		assert_int_equal(is_mapped, row->is_mapped);
		if (!row->alone)
			expect_taken(spec, root);
	} else {
		assert_int_equal(root->n_options, before);
	}
	containerd__types__mount__free_unpacked(root, NULL);
}

static void test_what_can_be_had(void **state _unused_)
{
	static const struct row rows[] = {
		{ MAPPINGS(100000), NULL, { ROOT }, .why = NULL, .is_mapped = true },
		{ MAPPINGS(100000),
		  BIND ", " MAPPINGS(100000) "}",
		  { ROOT },
		  .why = NULL,
		  .is_mapped = true },
		{ MAPPINGS(100000),
		  BIND ", \"options\": [\"rbind\", \"ridmap\"]}",
		  { ROOT },
		  .why = NULL,
		  .is_mapped = true },
		{ MAPPINGS(100000),
		  "{\"destination\": \"/p\", \"type\": \"bind\", \"source\": \"/proc\"},"
		  " {\"destination\": \"/dev/shm\", \"type\": \"bind\", \"source\": \"/dev/shm\"},"
		  " {\"destination\": \"/t\", \"type\": \"tmpfs\", \"source\": \"t\"}",
		  { ROOT },
		  .why = NULL,
		  .is_mapped = true },
		{ MAPPINGS(0), BIND "}", { "lowerdir=/a:/b" }, .why = NULL },
		{ MAPPINGS(0), BIND "}", { "lowerdir=/a", "uidmap=0:0:65536" }, .why = NULL },
		{ "", BIND "}", { "lowerdir=/a:/b" }, .why = NULL, .alone = true },
		{ MAPPINGS(100000), NULL, { "lowerdir=/a:/b" }, .why = NULL, .alone = true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		check_row(i, &rows[i]);
}

static void test_what_cannot(void **state _unused_)
{
	static const struct row rows[] = {
		{ "", NULL, { ROOT }, .why = "linux.uidMappings are missing" },
		{ "\"uidMappings\": " MAPPED(5),
		  NULL,
		  { ROOT },
		  .why = "linux.gidMappings are missing" },
		{ "\"uidMappings\": [{\"containerID\": 1, \"hostID\": 0, \"size\": 9}]",
		  NULL,
		  { ROOT },
		  .why = "linux.uidMappings have no containerID 0" },
		{ MAPPINGS(100000),
		  NULL,
		  { "lowerdir=/a" },
		  .why = "linux.uidMappings 0:100000:65536 are" },
		{ MAPPINGS(100000),
		  NULL,
		  { "uidmap=0:100000:65536" },
		  .why = "linux.gidMappings 0:100000:65536 are" },
		{ MAPPINGS(100001), NULL, { ROOT }, .why = "linux.uidMappings 0:100001:65536 are" },
		{ MAPPINGS(100000),
		  BIND "}",
		  { ROOT },
		  .why = "mounts[0].uidMappings (/v) are missing" },
		{ MAPPINGS(100000),
		  BIND ", \"options\": [\"rbind\"], " MAPPINGS(100001) "}",
		  { ROOT },
		  .why = "mounts[0].uidMappings and gidMappings (/v) are not those" },
		{ MAPPINGS(100000),
		  BIND ", \"uidMappings\": " MAPPED(100000) "}",
		  { ROOT },
		  .why = "mounts[0].uidMappings and gidMappings (/v) are not those" },
		{ MAPPINGS(100000),
		  NULL,
		  { ROOT, "upperdir=/etc" },
		  .why = "/etc has files already" },
		{ "",
		  NULL,
		  { ROOT },
		  .why = "option uidmap=0:100000:65536 is not supported",
		  .alone = true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		check_row(i, &rows[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_can_be_had),
		cmocka_unit_test(test_what_cannot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
