/* What a factory's configuration is refused for before anything is started. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* After what it needs. */
#include <cmocka.h>

#include <fcntl.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "factory/base/config.h"

/* The status of loading a configuration of this text; err says why. */
static int load(const char *text, struct error *err)
{
	char path[] = "/tmp/kiln-config.XXXXXX";
	_cleanup_(factory_config_done) struct factory_config config = {};
	_cleanup_close_ int fd = mkostemp(path, O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, text, strlen(text)), 0);

	int r = factory_config_load(path, &config, err);

	unlink(path);
	return r;
}

/* With a run_dir of so many bytes and more keys. */
static int load_run_dir(size_t length, const char *more, struct error *err)
{
	_cleanup_free_ char *path = xcalloc(1, length + 1);

	memset(path, 'r', length);
	path[0] = '/';

	_cleanup_free_ char *text = xasprintf("{\"run_dir\": \"%s\"%s}", path, more);

	return load(text, err);
}

static void expect_too_long(size_t length, const char *more, const char *sentence)
{
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(load_run_dir(length, more, &err), -ENAMETOOLONG);
	if (!strstr(error_message(&err), sentence))
		fail_msg("\"%s\" does not say \"%s\"", error_message(&err), sentence);
}

static void expect_good(size_t length, const char *more)
{
	_cleanup_(error_done) struct error err = {};

	if (load_run_dir(length, more, &err) < 0)
		fail_msg("%s", error_message(&err));
}

/* The first of a factory's own sockets speaks as its start would. */
static void test_run_dir_too_long_for_its_sockets(void **state _unused_)
{
	expect_too_long(118, "",
			"/factory.sock has 131 bytes, more than the 107 a Unix socket can");
	expect_too_long(118, ", \"socket\": \"/s\"", "/http.sock has 128 bytes, more than the 107");
	expect_too_long(118, ", \"socket\": \"/s\", \"http_socket\": \"/h\"",
			"run_dir is too long: socket path ");
}

static void test_run_dir_too_long_for_a_bake(void **state _unused_)
{
	expect_good(47, "");
	expect_too_long(48, "", "/monitor.sock has 108 bytes, more than the 107");
}

/* With a libvirt of the host's the longest are the machines' own. */
static void test_run_dir_too_long_for_a_machine(void **state _unused_)
{
	expect_good(59, ", \"libvirt_uri\": \"qemu:///system\"");
	expect_too_long(60, ", \"libvirt_uri\": \"qemu:///system\"",
			"/agent.sock has 108 bytes, more than the 107");
}

static void test_long_sockets(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};
	char socket[109] = "/";

	memset(socket + 1, 's', 107);

	_cleanup_free_ char *text = xasprintf("{\"socket\": \"%s\"}", socket);

	assert_int_equal(load(text, &err), -ENAMETOOLONG);
	assert_non_null(strstr(error_message(&err), "has 108 bytes"));
}

static void test_channel(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(load("{\"channel\": \"serial\"}", &err), 0);
	assert_int_equal(load("{\"channel\": \"port\"}", &err), -EINVAL);
	assert_non_null(strstr(error_message(&err), "auto, vsock or serial"));
}

static void test_vhost_net(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(load("{\"vhost_net\": \"no\"}", &err), 0);
	assert_int_equal(load("{\"vhost_net\": \"maybe\"}", &err), -EINVAL);
	assert_non_null(strstr(error_message(&err), "auto, yes or no"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_run_dir_too_long_for_its_sockets),
		cmocka_unit_test(test_run_dir_too_long_for_a_bake),
		cmocka_unit_test(test_run_dir_too_long_for_a_machine),
		cmocka_unit_test(test_long_sockets),
		cmocka_unit_test(test_channel),
		cmocka_unit_test(test_vhost_net),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
