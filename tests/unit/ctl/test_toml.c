/* containerd's configuration, in the forms of its versions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "ctl/containerd_config.h"
#include "ctl/toml.h"

static void on_value(const struct strv *path, const struct strv *values, void *userdata)
{
	struct strbuf *out = userdata;
	_cleanup_free_ char *name = strv_join(path, "/"), *value = strv_join(values, "|");

	strbuf_addf(out, "%s=%s\n", name, value);
}

static char *read_all(const char *text)
{
	struct strbuf out = {};

	if (toml_read(text, on_value, &out, NULL) < 0)
		strbuf_adds(&out, "bad");
	char *result = xstrdup(strbuf_text(&out));
	strbuf_done(&out);
	return result;
}

#define assert_toml(text, wanted)                                                                  \
	do {                                                                                       \
		_cleanup_free_ char *got = read_all(text);                                         \
		assert_string_equal(got, wanted);                                                  \
	} while (0)

static void test_values(void **state _unused_)
{
	assert_toml("a = 1\n b=\"x y\" # why\nc = 'd\\e'\n", "a=1\nb=x y\nc=d\\e\n");
	assert_toml("a = \"\\\"\\\\\\n\\u00e9\"", "a=\"\\\n?\n");
	assert_toml("a = []\nb = [ 1, 'x',\n # no\n \"y\", ]\n", "a=\nb=1|x|y\n");
	assert_toml("a = [[1, 2], []]", "a=1|2\n");
	assert_toml("a = { b = 1, c.d = 'x' }\n", "a/b=1\na/c/d=x\na=\n");
	assert_toml("", "");
	assert_toml("# nothing\n\n\r\n", "");
}

static void test_tables(void **state _unused_)
{
	assert_toml("[a.\"b.c\".'d']\ne = true\n[f]\ng.h = 1\n", "a/b.c/d/e=true\nf/g/h=1\n");
	assert_toml("[[a]]\nb = 1\n[[a]]\nb = 2", "a/b=1\na/b=2\n");
}

static void test_refused(void **state _unused_)
{
	static const char *const texts[] = {
		"a",
		"a =",
		"a = \"x",
		"a = \"x\ny\"",
		"a = 1 2",
		"= 1",
		"[a",
		"[a] b",
		"[[a]",
		"[]",
		"a = [1",
		"a = [1 2]",
		"a = { b }",
		"a = { b = 1",
		"a = \"\"\"x\"\"\"",
		"a = \"\\x41\"",
		"a = \"\\u12\"",
		"a. = 1",
		"a.b",
		"\"a\"b = 1",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct strbuf out = {};
		assert_int_equal(toml_read(texts[i], on_value, &out, NULL), -EBADMSG);
		strbuf_done(&out);
	}
}

/* What nests without an end is refused before the stack is. */
static void test_depth(void **state _unused_)
{
	struct strbuf text = {}, out = {};

	strbuf_adds(&text, "a = ");
	for (int i = 0; i < 100000; i++)
		strbuf_adds(&text, "[");
	assert_int_equal(toml_read(strbuf_text(&text), on_value, &out, NULL), -EBADMSG);
	strbuf_done(&text);
	for (int i = 0; i < TOML_DEPTH_MAX; i++)
		strbuf_adds(&text, "a.");
	strbuf_adds(&text, "a = 1");
	assert_int_equal(toml_read(strbuf_text(&text), on_value, &out, NULL), -EBADMSG);
	strbuf_done(&text);
	strbuf_done(&out);
}

static void check_config(const char *text, const char *name, bool passes)
{
	struct containerd_config config;

	assert_int_equal(containerd_config_parse(text, &config, NULL), 0);
	const struct containerd_runtime *runtime = containerd_config_kiln(&config);
	if (name) {
		assert_non_null(runtime);
		assert_string_equal(runtime->name, name);
		assert_int_equal(containerd_runtime_passes(runtime), passes);
	} else {
		assert_null(runtime);
	}
	containerd_config_done(&config);
}

static void test_runtimes(void **state _unused_)
{
#define V2  "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes."
#define V3  "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes."
#define OUR "runtime_type = \"io.containerd.kiln.v2\"\n"
	check_config("", NULL, false);
	check_config(V2 "runc]\nruntime_type = \"io.containerd.runc.v2\"\n", NULL, false);
	check_config(V2 "runc]\n" V2 "kiln]\n" OUR, "kiln", false);
	check_config(V2 "vm]\n" OUR "pod_annotations = [\"x\", \"io.kiln.*\"]\n", "vm", true);
	check_config(V3 "vm]\n" OUR "pod_annotations = ['io.*']\n", "vm", true);
	check_config(V3 "vm]\n" OUR "pod_annotations = ['io.katacontainers.*']\n", "vm", false);
	check_config(V3 "vm.options]\n" OUR, NULL, false);
	check_config(V3 "vm.runtime_type]\nx = 'io.containerd.kiln.v2'\n", NULL, false);
	check_config("[a.b.containerd.runtimes.c]\n" OUR, NULL, false);
}

static void test_cri_disabled(void **state _unused_)
{
	struct containerd_config config;

	assert_int_equal(containerd_config_parse("disabled_plugins = [\"cri\"]", &config, NULL), 0);
	assert_true(config.cri_disabled);
	containerd_config_done(&config);
	assert_int_equal(containerd_config_parse("disabled_plugins = [\"aufs\"]", &config, NULL),
			 0);
	assert_false(config.cri_disabled);
	containerd_config_done(&config);
}

static void check_missing(const char *text, const char *wanted)
{
	struct containerd_config config;

	assert_int_equal(containerd_config_parse(text, &config, NULL), 0);
	const char *missing = containerd_config_missing(&config);
	if (wanted)
		assert_string_equal(missing, wanted);
	else
		assert_null(missing);
	containerd_config_done(&config);
}

static void test_default_runtime(void **state _unused_)
{
#define DEFAULT                                                                                    \
	"[plugins.'io.containerd.cri.v1.runtime'.containerd]\ndefault_runtime_name = 'runc'\n"
	check_missing("", NULL);
	check_missing(V3 "kiln]\n" OUR, NULL);
	check_missing(DEFAULT V3 "kiln]\n" OUR, "runc");
	check_missing(DEFAULT V3 "kiln]\n" OUR V3 "runc]\nruntime_type = ''\n", NULL);
	check_missing("default_runtime_name = 'runc'\n" V3 "kiln]\n" OUR, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),          cmocka_unit_test(test_tables),
		cmocka_unit_test(test_refused),         cmocka_unit_test(test_depth),
		cmocka_unit_test(test_runtimes),        cmocka_unit_test(test_cri_disabled),
		cmocka_unit_test(test_default_runtime),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
