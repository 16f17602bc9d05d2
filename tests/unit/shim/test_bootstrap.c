/* What `start` reads of stdin, and what it answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "base/memory.h"
#include "proto/bootstrap.pb-c.h"
#include "proto/containerd_mount.pb-c.h"
#include "shim/bootstrap.h"

#define TYPE "runtimeoptions.v1.Options"

static Google__Protobuf__Any options_any(void)
{
	static uint8_t value[] = { 0x12, 2, '/', 'x' }; /* config_path */
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;

	any.type_url = (char *)TYPE;
	any.value = (ProtobufCBinaryData){ sizeof(value), value };
	return any;
}

/* As 2.4.2 writes them, the options between extensions that others know. */
static size_t write_params(const char *id, const char *version, uint8_t *bytes)
{
	Containerd__Runtime__Bootstrap__V1__BootstrapParams params =
		CONTAINERD__RUNTIME__BOOTSTRAP__V1__BOOTSTRAP_PARAMS__INIT;
	Containerd__Runtime__Bootstrap__V1__Extension extensions[3], *list[3];
	Google__Protobuf__Any options = options_any(), other = GOOGLE__PROTOBUF__ANY__INIT;

	for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
		list[i] = &extensions[i];
		containerd__runtime__bootstrap__v1__extension__init(list[i]);
	}
	other.type_url = (char *)"example.Other";
	extensions[0].value = &other;
	extensions[1].value = &options;
	params.instance_id = (char *)id;
	params.namespace_ = (char *)"default";
	params.log_level = -4;
	params.containerd_version = (char *)version;
	params.containerd_grpc_address = (char *)"/run/containerd.sock";
	params.extensions = list;
	params.n_extensions = ARRAY_SIZE(list);
	return containerd__runtime__bootstrap__v1__bootstrap_params__pack(&params, bytes);
}

static void assert_options(const struct bootstrap *bootstrap)
{
	assert_non_null(bootstrap->options);
	assert_string_equal(bootstrap->options->type_url, TYPE);
	assert_int_equal(bootstrap->options->value.len, 4);
}

static void test_params_are_known_by_their_id(void **state _unused_)
{
	struct bootstrap bootstrap;
	uint8_t bytes[256];
	size_t len = write_params("c1", "", bytes);

	bootstrap_read(bytes, len, "c1", &bootstrap);
	assert_true(bootstrap.wants_result); /* others than containerd have no version */
	bootstrap_done(&bootstrap);
	len = write_params("c1", "2.4.2", bytes);
	bootstrap_read(bytes, len, "c1", &bootstrap);
	assert_true(bootstrap.wants_result);
	assert_options(&bootstrap);
	bootstrap_done(&bootstrap);
	bootstrap_read(bytes, len, "c2", &bootstrap);
	assert_false(bootstrap.wants_result);
	bootstrap_done(&bootstrap);
}

static void test_options_alone_are_an_older_containerd_s(void **state _unused_)
{
	Google__Protobuf__Any any = options_any();
	struct bootstrap bootstrap;
	uint8_t bytes[256];
	size_t len = google__protobuf__any__pack(&any, bytes);

	/* Even where the container is called so. */
	bootstrap_read(bytes, len, TYPE, &bootstrap);
	assert_false(bootstrap.wants_result);
	assert_options(&bootstrap);
	bootstrap_done(&bootstrap);
	for (size_t cut = 0; cut < len; cut++) {
		bootstrap_read(bytes, cut, "c1", &bootstrap);
		assert_false(bootstrap.wants_result);
		bootstrap_done(&bootstrap);
	}
}

static void test_older_containerd_is_given_a_line(void **state _unused_)
{
	_cleanup_(strbuf_done) struct strbuf bytes = {};

	bootstrap_answer(&(struct bootstrap){}, "unix:///run/s", &bytes);
	assert_string_equal(strbuf_text(&bytes), "unix:///run/s\n");
}

static void test_json_has_a_version_that_is_understood(void **state _unused_)
{
	static const struct {
		const char *max; /* MAX_SHIM_VERSION */
		const char *answer;
	} cases[] = {
		{ "2", "{\"version\":2,\"address\":\"unix:///s\",\"protocol\":\"ttrpc\"}\n" },
		{ "3", "{\"version\":3,\"address\":\"unix:///s\",\"protocol\":\"ttrpc\"}\n" },
		{ "9", "{\"version\":3,\"address\":\"unix:///s\",\"protocol\":\"ttrpc\"}\n" },
		{ "1", "unix:///s\n" },
		{ "x", "unix:///s\n" },
		{ NULL, "unix:///s\n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(strbuf_done) struct strbuf bytes = {};
		struct bootstrap bootstrap = {};
		bootstrap_read_version(cases[i].max, &bootstrap);
		bootstrap_answer(&bootstrap, "unix:///s", &bytes);
		assert_string_equal(strbuf_text(&bytes), cases[i].answer);
	}
}

static void test_result_names_what_is_mounted_here(void **state _unused_)
{
	_cleanup_(strbuf_done) struct strbuf bytes = {};
	Containerd__Runtime__Bootstrap__V1__BootstrapResult *result;
	Containerd__Types__MountCapabilities *capabilities;

	bootstrap_answer(&(struct bootstrap){ .wants_result = true }, "unix:///run/s", &bytes);
	result = containerd__runtime__bootstrap__v1__bootstrap_result__unpack(
		NULL, bytes.len, (const uint8_t *)bytes.text);
	assert_non_null(result);
	assert_int_equal(result->version, 3);
	assert_string_equal(result->protocol, "ttrpc");
	assert_string_equal(result->address, "unix:///run/s");
	assert_int_equal(result->n_extensions, 1);
	assert_string_equal(result->extensions[0]->value->type_url,
			    "containerd.types.MountCapabilities");
	capabilities = containerd__types__mount_capabilities__unpack(
		NULL, result->extensions[0]->value->value.len,
		result->extensions[0]->value->value.data);
	assert_non_null(capabilities);
	assert_string_equal(capabilities->types[0], "erofs");
	assert_int_equal(capabilities->n_transforms, 3);
	containerd__types__mount_capabilities__free_unpacked(capabilities, NULL);
	containerd__runtime__bootstrap__v1__bootstrap_result__free_unpacked(result, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_params_are_known_by_their_id),
		cmocka_unit_test(test_options_alone_are_an_older_containerd_s),
		cmocka_unit_test(test_older_containerd_is_given_a_line),
		cmocka_unit_test(test_json_has_a_version_that_is_understood),
		cmocka_unit_test(test_result_names_what_is_mounted_here),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
