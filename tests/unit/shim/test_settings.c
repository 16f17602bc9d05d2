/* What the annotations and limits of a sandbox say of its machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/strings.h"
#include "runc_spec.h"
#include "shim/pod_network.h"
#include "shim/settings.h"
#include "shim/spec.h"

#define CRI "\"io.kubernetes.cri.sandbox-"
#define POD "\"io.kubernetes.cri.container-type\":\"sandbox\""

/* A container as Docker, nerdctl and ctr make one. */
#define LIMITED_JSON(annotations_, resources_)                                                     \
	"{\"process\":{\"args\":[\"true\"],\"cwd\":\"/\"},\"root\":{\"path\":\"rootfs\"},"         \
	"\"annotations\":{" annotations_ "},\"linux\":{\"resources\":{" resources_ "}}}"

static const char *enabled = "vcpus,memory_mib,template,annotations,images,rootfs,volumes,"
			     "internetworking_model";

static int annotate(const char *json, struct settings *settings, struct error *err)
{
	_cleanup_(spec_free_cleanup) struct spec *spec = NULL;

	assert_int_equal(spec_parse(json, strlen(json), "/bundle", &spec, NULL), 0);
	assert_int_equal(settings_load(NULL, settings, NULL), 0);
	settings->vcpus = 7; /* of the config file */
	settings->memory_mib = 700;
	replace_string(&settings->enable_annotations, enabled);
	return settings_annotate(settings, spec, err);
}

static void expect_size(const char *json, uint64_t vcpus, uint64_t memory_mib)
{
	struct settings settings;

	assert_int_equal(annotate(json, &settings, NULL), 0);
	assert_int_equal(settings.vcpus, vcpus);
	assert_int_equal(settings.memory_mib, memory_mib);
	settings_done(&settings);
}

static void expect_limited(const char *annotations, const char *resources, uint64_t vcpus,
			   uint64_t memory_mib)
{
	_cleanup_free_ char *json = xasprintf(LIMITED_JSON("%s", "%s"), annotations, resources);

	expect_size(json, vcpus, memory_mib);
}

static void the_first_that_says_it(void **state _unused_)
{
	static const char limits[] = "\"memory\":{\"limit\":268435456},"
				     "\"cpu\":{\"quota\":200000,\"period\":100000}";

	expect_size(LIMITED_JSON("", ""), 7, 700);
	expect_size(SPEC_JSON("\"io.kiln.vcpus\":\"3\",\"io.kiln.memory_mib\":\"512\"", "", ""), 3,
		    512);
	expect_size(SPEC_JSON("\"io.kiln.vcpus\":\"3\"," POD "," CRI "cpu-quota\":\"400000\"," CRI
			      "cpu-period\":\"100000\"",
			      "", ""),
		    3, 700);
	expect_limited("", limits, 2, 256);
	expect_limited(CRI "memory\":\"134217728\"", limits, 2, 128);
	expect_limited("\"io.kiln.vcpus\":\"3\"", limits, 3, 256);
}

static void limits_of_a_pod(void **state _unused_)
{
	expect_size(SPEC_JSON(CRI "cpu-quota\":\"150000\"," CRI "cpu-period\":\"100000\"," CRI
				  "memory\":\"134217729\"",
			      "", ""),
		    2, 129);
	/* none */
	expect_size(SPEC_JSON(POD "," CRI "cpu-quota\":\"-1\"," CRI "cpu-period\":\"100000\"," CRI
				  "memory\":\"0\"",
			      "", ""),
		    7, 700);
	expect_size(SPEC_JSON(POD "," CRI "cpu-quota\":\"0\"," CRI "cpu-period\":\"0\"", "", ""), 7,
		    700);
	/* Its containers have limits of their own, and its machine is made already. */
	expect_size(SPEC_JSON("\"io.kubernetes.cri-o.ContainerType\":\"container\"", "", ""), 7,
		    700);
}

static void limits_of_a_container(void **state _unused_)
{
	expect_limited("", "\"memory\":{\"limit\":2147483649}", 7, 2049);
	expect_limited("", "\"cpu\":{\"quota\":350000,\"period\":100000}", 4, 700);
	expect_limited("", "\"cpu\":{\"quota\":50000}", 1, 700); /* the kernel's period */
	expect_limited("", "\"cpu\":{\"quota\":250000}", 3, 700);
	/* More than the host has is the factory's to refuse. */
	expect_limited("", "\"memory\":{\"limit\":549755813888}", 7, 524288);
}

static void no_limit_of_a_container(void **state _unused_)
{
	static const char *const none[] = {
		"\"memory\":{\"limit\":-1},\"cpu\":{\"quota\":-1,\"period\":100000}",
		"\"memory\":{\"limit\":0},\"cpu\":{\"quota\":0,\"period\":0}",
		"\"memory\":{\"limit\":9223372036854775807},"
		"\"cpu\":{\"quota\":9223372036854775807,\"period\":100000}",
		"\"memory\":{\"limit\":9223372036854771712},"
		"\"cpu\":{\"quota\":9223372036854775807,\"period\":1}",
		"\"memory\":{\"limit\":-9223372036854775808},\"cpu\":{\"shares\":512}",
		"\"memory\":{\"limit\":17592186044417}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(none); i++)
		expect_limited("", none[i], 7, 700);
}

static void words(void **state _unused_)
{
	struct settings settings;

	assert_int_equal(annotate(SPEC_JSON("\"io.kiln.template\":\"large\","
					    "\"io.kiln.annotations\":\"gpu,zone=a\","
					    "\"io.kiln.internetworking_model\":\"macvtap\","
					    "\"io.kiln.images\":\"tools,models:1\"",
					    "", ""),
				  &settings, NULL),
			 0);
	assert_string_equal(settings.template_name, "large");
	assert_string_equal(settings.annotations, "gpu,zone=a");
	assert_int_equal(settings.internetworking_model, NETWORK_MACVTAP);
	assert_int_equal(settings.images.count, 2);
	assert_string_equal(settings.images.items[1], "models:1");

	struct settings copy = {};
	settings_copy(&copy, &settings);
	assert_true(settings_equal(&copy, &settings));
	strv_add(&copy.images, "one more");
	assert_false(settings_equal(&copy, &settings));
	settings_done(&copy);
	settings_done(&settings);
}

static void nonsense_is_refused_by_name(void **state _unused_)
{
	static const char *const cases[][2] = {
		{ SPEC_JSON("\"io.kiln.vcpus\":\"many\"", "", ""), "io.kiln.vcpus is \"many\"" },
		{ SPEC_JSON("\"io.kiln.vcpus\":\"1025\"", "", ""), "io.kiln.vcpus" },
		{ SPEC_JSON("\"io.kiln.memory_mib\":\"-1\"", "", ""), "io.kiln.memory_mib" },
		{ SPEC_JSON(CRI "memory\":\"1Gi\"", "", ""), "sandbox-memory" },
		{ SPEC_JSON(CRI "cpu-quota\":\"x\"", "", ""), "sandbox-cpu-quota" },
		{ SPEC_JSON("\"io.kiln.volumes\":\"nfs\"", "", ""), "io.kiln.volumes is \"nfs\"" },
		{ SPEC_JSON("\"io.kiln.internetworking_model\":\"bridged\"", "", ""),
		  "must be tcfilter or macvtap" },
		{ SPEC_JSON("\"io.kiln.images\":\"../tools\"", "", ""), "\"../tools\"" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(error_done) struct error err = {};
		struct settings settings;
		assert_int_equal(annotate(cases[i][0], &settings, &err), -EINVAL);
		if (!strstr(error_message(&err), cases[i][1]))
			fail_msg("\"%s\" does not say \"%s\"", error_message(&err), cases[i][1]);
		settings_done(&settings);
	}
}

static void expect_refused(const char *json, const char *key)
{
	_cleanup_(error_done) struct error err = {};
	struct settings settings;

	assert_int_equal(annotate(json, &settings, &err), -EINVAL);
	if (!strstr(error_message(&err), key) || !strstr(error_message(&err), "enable_annotations"))
		fail_msg("\"%s\"", error_message(&err));
	settings_done(&settings);
}

/* A tenant takes no more of the host than the host's file allows. */
static void what_is_not_enabled_is_refused(void **state _unused_)
{
	const char *all = enabled;
	struct settings settings;

	assert_int_equal(settings_load(NULL, &settings, NULL), 0);
	enabled = settings.enable_annotations; /* the default */
	expect_refused(SPEC_JSON("\"io.kiln.vcpus\":\"3\"", "", ""), "io.kiln.vcpus");
	expect_refused(SPEC_JSON("\"io.kiln.memory_mib\":\"3\"", "", ""), "io.kiln.memory_mib");
	expect_refused(SPEC_JSON("\"io.kiln.internetworking_model\":\"macvtap\"", "", ""),
		       "io.kiln.internetworking_model");
	assert_int_equal(settings.internetworking_model, NETWORK_TCFILTER);
	expect_size(LIMITED_JSON("\"io.kiln.template\":\"t\",\"io.kiln.annotations\":\"a\","
				 "\"io.kiln.images\":\"i\",\"io.kiln.rootfs\":\"share\","
				 "\"io.kiln.volumes\":\"9p\"",
				 ""),
		    7, 700);
	/* containerd's words of a pod's limits are no tenant's. */
	expect_size(SPEC_JSON(CRI "memory\":\"134217728\"", "", ""), 7, 128);
	enabled = "vcpus, memory_mib";
	expect_size(SPEC_JSON("\"io.kiln.vcpus\":\"3\",\"io.kiln.memory_mib\":\"300\"", "", ""), 3,
		    300);
	expect_refused(SPEC_JSON("\"io.kiln.template\":\"t\"", "", ""), "io.kiln.template");
	enabled = "";
	expect_refused(SPEC_JSON("\"io.kiln.rootfs\":\"share\"", "", ""), "io.kiln.rootfs");
	enabled = all;
	settings_done(&settings);
}

static void expect_life(struct settings *settings, const char *json, uint64_t ttl_s,
			uint64_t idle_s)
{
	struct spec *spec = NULL;

	assert_int_equal(spec_parse(json, strlen(json), "/bundle", &spec, NULL), 0);
	assert_int_equal(settings_annotate(settings, spec, NULL), 0);
	assert_true(settings->ttl_s == ttl_s);
	assert_true(settings->idle_s == idle_s);
	spec_free(spec);
}

static void a_life_can_be_made_shorter_only(void **state _unused_)
{
	struct settings settings;

	assert_int_equal(settings_load(NULL, &settings, NULL), 0);
	expect_life(&settings, SPEC_JSON("\"a\":\"b\"", "", ""), 0, 0);
	expect_life(&settings, SPEC_JSON("\"io.kiln.ttl_s\":\"60\"", "", ""), 60, 0);
	expect_life(&settings,
		    SPEC_JSON("\"io.kiln.ttl_s\":\"70\",\"io.kiln.idle_s\":\"5\"", "", ""), 60, 5);
	expect_life(&settings,
		    SPEC_JSON("\"io.kiln.ttl_s\":\"0\",\"io.kiln.idle_s\":\"4\"", "", ""), 60, 4);
	settings_done(&settings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_that_says_it),
		cmocka_unit_test(limits_of_a_pod),
		cmocka_unit_test(limits_of_a_container),
		cmocka_unit_test(no_limit_of_a_container),
		cmocka_unit_test(words),
		cmocka_unit_test(nonsense_is_refused_by_name),
		cmocka_unit_test(what_is_not_enabled_is_refused),
		cmocka_unit_test(a_life_can_be_made_shorter_only),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
