/* kiln-ctl env and bug-report: what is shown of a host, and what is not. */
#include "tests/unit/ctl/harness.h"

#include <jansson.h>
#include <sys/stat.h>

#include "base/format.h"
#include "base/spawn.h"
#include "base/strbuf.h"
#include "ctl/bug_files.h"
#include "ctl/env.h"
#include "ctl/page.h"
#include "ctl/toml.h"
#include "ctl/toml_write.h"
#include "tests/unit/folder.h"

/* ---------------------------------------------------------------- TOML */

static char *toml_of(const char *json)
{
	json_t *object = json_loads(json, 0, NULL);
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(object);
	toml_write(object, out);
	fclose(out);
	json_decref(object);
	return text;
}

#define assert_toml(json, wanted)                                                                  \
	do {                                                                                       \
		_cleanup_free_ char *got = toml_of(json);                                          \
		assert_string_equal(got, wanted);                                                  \
	} while (0)

static void test_toml(void **state _unused_)
{
	assert_toml("{}", "");
	assert_toml("{\"a\": 1, \"b c\": \"x\", \"n\": null, \"t\": true, \"l\": [1, \"y\"]}",
		    "a = 1\n\"b c\" = \"x\"\nt = true\nl = [1, \"y\"]\n");
	assert_toml("{\"t\": {\"a\": 1, \"u v\": {\"b\": 2}}, \"late\": 3}",
		    "late = 3\n\n[t]\na = 1\n\n[t.\"u v\"]\nb = 2\n");
	assert_toml("{\"t\": [{\"a\": 1}, {\"a\": 2, \"u\": {}}], \"e\": []}",
		    "e = []\n\n[[t]]\na = 1\n\n[[t]]\na = 2\n\n[t.u]\n");
}

static void on_value(const struct strv *path _unused_, const struct strv *values, void *userdata)
{
	assert_int_equal(values->count, 1);
	strbuf_adds(userdata, values->items[0]);
}

/* What is written is read again as what it was. */
static void test_toml_strings(void **state _unused_)
{
	_cleanup_free_ char *text = toml_of("{\"a\": \"q\\\"b\\\\s #=[ é\"}");
	struct strbuf out = {};

	assert_int_equal(toml_read(text, on_value, &out, NULL), 0);
	assert_string_equal(strbuf_text(&out), "q\"b\\s #=[ é");
	strbuf_done(&out);
	assert_toml("{\"a\": \"\\u001b\\n\"}", "a = \"\\u001B\\u000A\"\n");
}

/* ---------------------------------------------------------------- parts */

static void test_assignment(void **state _unused_)
{
	static const char text[] = "NAME=\"Debian GNU/Linux\"\nXNAME=no\nID=debian\nE=\nQ='\n";
	_cleanup_free_ char *name = env_assignment(text, "NAME");
	_cleanup_free_ char *id = env_assignment(text, "ID");
	_cleanup_free_ char *empty = env_assignment(text, "E");
	_cleanup_free_ char *quote = env_assignment(text, "Q");

	assert_string_equal(name, "Debian GNU/Linux");
	assert_string_equal(id, "debian");
	assert_string_equal(empty, "");
	assert_string_equal(quote, "'");
	assert_null(env_assignment(text, "VERSION"));
	assert_null(env_assignment("", "VERSION"));
}

static void test_address(void **state _unused_)
{
	_cleanup_free_ char *plain = env_address("qemu:///system");
	_cleanup_free_ char *user = env_address("qemu+ssh://root:secret@host/system");
	_cleanup_free_ char *path = env_address("/run/a@b");

	assert_string_equal(plain, "qemu:///system");
	assert_string_equal(user, "qemu+ssh://…@host/system");
	assert_string_equal(path, "/run/a@b");
}

static void test_page(void **state _unused_)
{
	assert_string_equal(page_body("HTTP/1.0 200 OK\r\nA: b\r\n\r\nbody\r\n\r\n"),
			    "body\r\n\r\n");
	assert_string_equal(page_body("HTTP/1.1 200 OK\r\n\r\n"), "");
	assert_null(page_body("HTTP/1.1 404 Not Found\r\n\r\nbody"));
	assert_null(page_body("HTTP/1.1 200 OK\r\nA: b\r\n"));
	assert_null(page_body("HTTP/1."));
	assert_null(page_body(""));
}

/* ---------------------------------------------------------------- where values are from */

static void put(const char *name, const char *text)
{
	_cleanup_free_ char *path = path_join(test_folder, name);

	assert_int_equal(file_write_atomic(path, text, strlen(text), 0644, NULL), 0);
}

static const char *string_at(const json_t *object, const char *table, const char *key)
{
	return json_string_value(json_object_get(json_object_get(object, table), key));
}

static void test_configuration(void **state _unused_)
{
	_cleanup_free_ char *path = path_join(test_folder, "factory.json");
	const struct check_options options = { .root = "", .config = path };
	struct check_host host;

	put("factory.json", "{\"run_dir\": \"/nonexistent\", \"log_level\": \"debug\", "
			    "\"libvirt_uri\": \"qemu+ssh://me:secret@there/system\"}");
	check_host_open(&options, &host);
	json_t *json = env_configuration(&host);
	assert_true(json_is_true(json_object_get(json, "valid")));
	assert_string_equal(string_at(json, "values", "run_dir"), "/nonexistent");
	assert_string_equal(string_at(json, "from", "run_dir"), path);
	assert_string_equal(string_at(json, "values", "log_level"), "debug");
	assert_string_equal(string_at(json, "values", "log_format"), "text");
	assert_string_equal(string_at(json, "from", "log_format"), "default");
	assert_string_equal(string_at(json, "values", "store"), "/nonexistent/store");
	assert_string_equal(string_at(json, "from", "store"), "default");
	assert_string_equal(string_at(json, "values", "libvirt_uri"), "qemu+ssh://…@there/system");
	json_decref(json);
	check_host_done(&host);
}

/* A configuration that is none still shows what would be, and why it is not. */
static void test_broken_configuration(void **state _unused_)
{
	_cleanup_free_ char *path = path_join(test_folder, "factory.json");
	const struct check_options options = { .root = "", .config = path };
	struct check_host host;

	put("factory.json", "{\"log_level\": 7, \"nonsense\": 1}");
	check_host_open(&options, &host);
	json_t *json = env_collect(&host);
	const json_t *configuration = json_object_get(json, "configuration");
	assert_true(json_is_false(json_object_get(configuration, "valid")));
	assert_non_null(json_string_value(json_object_get(configuration, "error")));
	json_decref(json);
	check_host_done(&host);
}

static void test_env_command(void **state _unused_)
{
	_cleanup_free_ char *path = path_join(test_folder, "out.json");
	struct stat st;

	setenv("KILN_TEST_SECRET", "hidden-in-the-environment", 1);
	struct outcome toml = RUN(&ctl_env, "--socket", "/nonexistent");
	assert_int_equal(toml.code, CTL_OK);
	assert_contains(toml.out, "\n[versions]\n");
	assert_contains(toml.out, "\n[configuration.values]\n");
	assert_null(strstr(toml.out, "hidden-in-the-environment"));
	outcome_done(&toml);

	struct outcome file = RUN(&ctl_env, "--json", "-f", path);
	assert_int_equal(file.code, CTL_OK);
	assert_string_equal(file.out, "");
	outcome_done(&file);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	json_t *json = json_load_file(path, 0, NULL);
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(json, "meta"), "version")),
		ENV_VERSION);
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(json, "formats"), "journal")),
		format_versions[FORMAT_JOURNAL].version);
	json_decref(json);

	struct outcome wrong = RUN(&ctl_env, "word");
	assert_int_equal(wrong.code, CTL_USAGE);
	outcome_done(&wrong);
}

/* ---------------------------------------------------------------- the archive's files */

static void test_bug_files(void **state _unused_)
{
	_cleanup_free_ char *archive = path_join(test_folder, "report.tar.gz");
	_cleanup_free_ char *log = path_join(test_folder, "log");
	_cleanup_free_ char *alias = path_join(test_folder, "link");
	_cleanup_free_ char *listed = NULL, *logged = NULL, *dir = NULL;
	struct bug_files files;
	struct stat st;

	put("log", "old line\nnew line\n");
	assert_int_equal(bug_files_open(&files, NULL), 0);
	dir = xstrdup(files.dir);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	bug_files_add(&files, "a/b.txt", "text", "about it");
	bug_files_add(&files, "empty.txt", "", "nothing");
	bug_files_add_end(&files, "log", log, strlen("new line\n"), "its end");
	bug_files_add_end(&files, "folder", test_folder, 10, "no file");
	assert_int_equal(symlink(log, alias), 0);
	bug_files_add_end(&files, "link", alias, 10, "somebody's link");
	bug_files_add_end(&files, "absent", "/nonexistent", 10, "no file");
	bug_files_add_output(&files, "said", SPAWN_ARGV("echo", "hello"), "a program");
	bug_files_add_output(&files, "failed", SPAWN_ARGV("false"), "a program");
	assert_int_equal(bug_files_pack(&files, archive, NULL), 0);
	assert_int_equal(bug_files_pack(&files, archive, NULL), -EEXIST);
	assert_contains(files.packed.text, "a/b.txt");
	assert_contains(files.left.text, "empty.txt");
	assert_contains(files.left.text, "absent");
	assert_contains(files.left.text, "  link ");
	assert_contains(files.left.text, "failed");
	bug_files_done(&files);
	assert_int_equal(stat(dir, &st), -1);

	assert_int_equal(stat(archive, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(spawn_and_wait(SPAWN_ARGV("tar", "-tzf", archive), &listed, NULL), 0);
	assert_contains(listed, "kiln-bug-report/a/b.txt\n");
	assert_contains(listed, "kiln-bug-report/said\n");
	assert_null(strstr(listed, "absent"));
	assert_int_equal(spawn_and_wait(SPAWN_ARGV("tar", "-xzOf", archive, "kiln-bug-report/log"),
					&logged, NULL),
			 0);
	assert_string_equal(logged, "new line\n");
}

/* An archive that cannot be written is not left behind. */
static void test_pack_fails(void **state _unused_)
{
	_cleanup_free_ char *archive = path_join(test_folder, "report.tar.gz");
	const char *path = getenv("PATH");
	_cleanup_free_ char *before = xstrdup(path);
	struct bug_files files;

	assert_int_equal(bug_files_open(&files, NULL), 0);
	setenv("PATH", "/nonexistent", 1);
	assert_true(bug_files_pack(&files, archive, NULL) < 0);
	setenv("PATH", before, 1);
	assert_false(path_exists(archive));
	bug_files_done(&files);
}

#define in_folder(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_toml),
		cmocka_unit_test(test_toml_strings),
		cmocka_unit_test(test_assignment),
		cmocka_unit_test(test_address),
		cmocka_unit_test(test_page),
		in_folder(test_configuration),
		in_folder(test_broken_configuration),
		in_folder(test_env_command),
		in_folder(test_bug_files),
		in_folder(test_pack_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
